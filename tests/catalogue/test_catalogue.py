"""Every node type, by its example, through SDK, engine, simulator, service and every store.

A new type needs nothing here but the example of its docstring; one whose nodes wait for events
adds them to `EVENTS`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import mongomock
import pandas as pd
import pytest

import flowkit as fk
from flowkit import history
from flowkit.engine import Performance
from flowkit.execution import Execution
from flowkit.flow import Flow
from flowkit.nodes.flows import START, STOP
from flowkit.nodetype import NodeType, Outcome
from flowkit.problems import errors
from flowkit.sharing import KINDS, outcome_of, sharing
from flowkit.simulation import After, Behaviour, Reaction, simulate
from flowkit.testing import EPOCH, MemoryStore, example_of
from flowkit.wire import to_wire
from service.store.sqlite import SqliteStore
from tests.catalogue.live import Event, Live
from tests.channels.server import System
from tests.engine.driver import World
from tests.sdk.strategies import builtin_types
from tests.store.test_mongo import FOR_EVER, Sorting, mock

TYPES = pytest.mark.parametrize("cls", builtin_types(), ids=lambda cls: cls.type)
ANA = {
    "id": "c1",
    "phone": "+5511999990000",
    "first_name": "Ana",
    "country": "BR",
    "birthday": "1990-05-17",
    "time_zone": "America/Sao_Paulo",
}
PAYLOAD = {"contact": ANA, "total": 120, "status": "paid", "starts_at": "2026-02-01T20:00"}
EVENTS: dict[str, list[Event]] = {
    "WAIT_FOR_EVENT": [(2, "whatsapp.message", {"contact": ANA, "text": {"body": "Fine"}})],
}
"""What comes while an example runs, besides nothing at all."""
CASES = [(cls, []) for cls in builtin_types()] + [
    (cls, EVENTS[cls.type]) for cls in builtin_types() if cls.type in EVENTS
]
EACH = pytest.mark.parametrize(
    ("cls", "events"), CASES, ids=[cls.type + "+events" * bool(events) for cls, events in CASES]
)
FACTS = ("messageId", "waId", "messageStatus", "executionId", "eventId")
"""What a result says that is another one each time."""


def test_each_that_waits_for_events_has_some() -> None:
    listening = {cls.type for cls in builtin_types() if example_of(cls).listens}
    assert set(EVENTS) == listening


class Outside:
    """Answers effects as the service's channels and its store do."""

    def __init__(self) -> None:
        self.cells: dict[str, Any] = {}
        self.now = EPOCH

    def __call__(self, performance: Performance) -> Outcome:
        effect = performance.effect
        if effect.kind in KINDS:
            asked = sharing(effect, self.now, self._unknown)
            self.cells[asked.cell_id], answer = asked.change(self.cells.get(asked.cell_id))
            return outcome_of(effect, answer)
        results: dict[str, Any] = {
            "whatsapp.message": {"messageId": "wamid.1"},
            "http.request": {"status": 200, "body": {"ok": True}},
            START: {"executionId": "y"},
            STOP: {"stopped": 0, "executionIds": []},
        }
        return Outcome("completed", result=results[effect.kind])

    def _unknown(self, contact_id: str) -> Any:
        raise fk.NotFound(contact_id)


def driven(flow: Flow, payload: Any, events: list[Event], store: Any = None) -> Execution:
    """Return an execution that the engine has taken to its end, over a store."""
    world = World(flow, payload, outcomes=Outside(), store=store or MemoryStore())
    coming = [(EPOCH + timedelta(hours=hours), *event) for hours, *event in events]
    while world.run().ended_at is None:
        due = world.execution.resume_at
        if coming and (due is None or coming[0][0] < due):
            world.now, type_, body = coming.pop(0)
            assert world.receive(type_, body) == "ok"
        else:
            assert due is not None
            world.now = due
    return world.execution


def aside(own: str, value: Any) -> Any:
    """Return JSON data without ids: those of the execution, of messages and of events."""
    if isinstance(value, dict):
        return {k: aside(own, v) for k, v in value.items() if k not in FACTS}
    if isinstance(value, list):
        return [aside(own, item) for item in value]
    return value.replace(own, "x") if isinstance(value, str) else value


def told(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the node runs of an execution's document, ids aside."""
    runs = [aside(document["id"], run) for run in document["executedNodes"]]
    assert runs
    return runs


def published(flow: Flow) -> Flow:
    return flow.replace(id=flow.id or "flow", version=1, is_active=True)


@TYPES
def test_it_has_an_example_that_stands_every_test_of_the_sdk(cls: type[NodeType]) -> None:
    flow = example_of(cls)
    assert flow.validate() == []
    assert Flow.from_dict(flow.to_dict()) == flow
    assert Flow.from_json(flow.to_json()).to_dict() == flow.to_dict()
    names: dict[str, Any] = {}
    exec(flow.to_python(), names)
    assert names["flow"] == flow
    assert not flow.diff(flow)
    assert flow.to_svg().startswith("<svg")
    assert {timing.node_id for timing in flow.timing()} == {
        node.id for node in flow.nodes if fk.node_types()[node.type].executed
    }


@TYPES
def test_it_is_explained(cls: type[NodeType]) -> None:
    journey = example_of(cls).explain(ANA, at=EPOCH, payload=PAYLOAD | {"crm": "https://a.example"})
    assert journey.status == "completed", str(journey)
    types = {decision.type for decision in journey.decisions}
    assert (cls.type in types) is cls.executed


@EACH
def test_engine_and_service_make_the_same_node_runs(
    cls: type[NodeType], events: list[Event], live: Live, other_system: System
) -> None:
    flow, payload = example_of(cls), PAYLOAD | {"crm": other_system.url}
    live.add(Flow("Welcome", trigger="other", id="welcome").delay(days=1).end())
    stored = live.add(flow)
    document = live.run(stored, payload, events)
    assert document["status"] == "completed", document
    types = {node.id: node.type for node in flow.nodes}
    ran = {types[run["nodeId"]] for run in document["executedNodes"]}
    assert (cls.type in ran) is cls.executed
    engine = to_wire(driven(stored, payload, events))
    assert told(document) == told(engine)
    if not events:
        assert_simulated(stored, payload, document)


def assert_simulated(flow: Flow, payload: Any, document: dict[str, Any]) -> None:
    """Assert that a simulation makes the frames of a service's execution, ids aside."""
    outside = Outside()
    behaviour = Behaviour(
        reactions=[Reaction(latency=After(0))],
        answers={
            kind: lambda performance, contact: outside(performance)
            for kind in ("http.request", START, STOP, *KINDS)
        },
    )
    made = simulate(flow, [ANA], behaviour, at=EPOCH, payload=lambda contact: payload)
    for name, real in (
        ("executions", history.executions([document])),
        ("node_runs", history.node_runs([document])),
    ):
        pd.testing.assert_frame_equal(
            same_ids(getattr(made, name)), same_ids(real), obj=f"{name} of {flow.name}"
        )


def same_ids(frame: pd.DataFrame) -> pd.DataFrame:
    frame = frame.copy()
    own = frame["execution_id"].iloc[0]
    frame["execution_id"] = "x"
    if "idempotency_key" in frame:
        for name in ("idempotency_key", "result"):
            frame[name] = [aside(own, value) for value in frame[name]]
    return frame


@pytest.fixture(params=["sqlite", "mongomock", "mongodb"])
def fresh(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Any]:
    """Makes empty stores."""
    if request.param == "sqlite":
        return lambda: SqliteStore(tmp_path / "flowkit.db")
    if request.param == "mongomock":
        return lambda: mock(mongomock.MongoClient(tz_aware=True))
    url = request.getfixturevalue("mongodb_url")
    return lambda: Sorting(url, **FOR_EVER)


@EACH
def test_every_store_keeps_the_same_record(
    cls: type[NodeType], events: list[Event], fresh: Callable[[], Any]
) -> None:
    flow, payload = published(example_of(cls)), PAYLOAD | {"crm": "https://a.example"}
    with closing(fresh()) as store:
        assert driven(flow, payload, events, store) == driven(flow, payload, events)
