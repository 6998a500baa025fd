"""Every node type, by its example, through SDK, engine, simulator, service and every store.

A new type needs nothing here but the example of its docstring; one whose nodes wait for events
adds them to `EVENTS`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import mongomock
import pytest

import flowkit as fk
from flowkit.flow import Flow
from flowkit.nodetype import NodeType, Outcome
from flowkit.testing import EPOCH, example_of
from service.store.sqlite import SqliteStore
from tests.catalogue.live import Event, Live
from tests.catalogue.ways import driven, same_everywhere
from tests.channels.server import System
from tests.sdk.strategies import builtin_types
from tests.store.test_mongo import FOR_EVER, Sorting, mock

ANA = {
    "id": "c1",
    "phone": "+5511999990000",
    "first_name": "Ana",
    "country": "BR",
    "birthday": "1990-05-17",
    "time_zone": "America/Sao_Paulo",
}
PAYLOAD = {
    "contact": ANA,
    "total": 120,
    "status": "paid",
    "starts_at": "2026-02-01T20:00",
    "crm": "https://crm.example",
}
"""What the examples look at."""
EVENTS: dict[str, list[Event]] = {
    "SUBFLOW": [],
    "WAIT_FOR_EVENT": [(2, "whatsapp.message", {"contact": ANA, "text": {"body": "Fine"}})],
}
"""What comes while the example of a type runs, which runs without as well; empty where what it
waits for comes from the service itself."""

ENDINGS = {"SUBFLOW": Outcome("completed", handle="completed", result={"vars": {}})}
"""How effects end in a trial that have to be told."""

TYPES = builtin_types()
CASES = [(cls, []) for cls in TYPES] + [
    (cls, EVENTS[cls.type]) for cls in TYPES if EVENTS.get(cls.type)
]
EACH_TYPE = pytest.mark.parametrize("cls", TYPES, ids=lambda cls: cls.type)
EACH_CASE = pytest.mark.parametrize(
    ("cls", "events"),
    CASES,
    ids=[cls.type + ("+events" if events else "") for cls, events in CASES],
)


@EACH_TYPE
def test_it_has_an_example_that_the_sdk_can_handle(cls: type[NodeType]) -> None:
    flow = example_of(cls)
    assert flow.validate() == []
    assert bool(flow.listens) is (cls.type in EVENTS), "EVENTS says what it waits for"
    assert Flow.from_dict(flow.to_dict()) == flow
    assert Flow.from_json(flow.to_json()).to_dict() == flow.to_dict()
    names: dict[str, Any] = {}
    exec(flow.to_python(), names)
    assert names["flow"] == flow
    assert not flow.diff(flow)
    assert flow.to_svg().startswith("<svg")
    executed = {node.id for node in flow.nodes if fk.node_types()[node.type].executed}
    assert {timing.node_id for timing in flow.timing()} == executed
    trial = fk.test(flow).with_contact(ANA).with_payload(PAYLOAD).at(EPOCH)
    for node in flow.nodes:
        if node.type in ENDINGS:
            trial = trial.ending(node.id, ENDINGS[node.type])
    journey = trial.run()
    assert journey.status == "completed", str(journey)
    assert (cls.type in {decision.type for decision in journey.decisions}) is cls.executed


@EACH_CASE
def test_service_engine_and_simulator_make_the_same_node_runs(
    cls: type[NodeType], events: list[Event], live: Live, other_system: System
) -> None:
    live.add(Flow("Another", trigger="another", id="welcome").delay(days=1).end())
    flow = example_of(cls)
    document = same_everywhere(flow, PAYLOAD | {"crm": other_system.url}, events, live)
    assert document["status"] == "completed", document
    types = {node.id: node.type for node in flow.nodes}
    ran = {types[run["nodeId"]] for run in document["executedNodes"]}
    assert (cls.type in ran) is cls.executed


@pytest.fixture(params=["sqlite", "mongomock", "mongodb"])
def make_store(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Any]:
    """Return what makes an empty store."""
    if request.param == "sqlite":
        return lambda: SqliteStore(tmp_path / "flowkit.db")
    if request.param == "mongomock":
        return lambda: mock(mongomock.MongoClient(tz_aware=True))
    url = request.getfixturevalue("mongodb_url")
    return lambda: Sorting(url, **FOR_EVER)


@EACH_CASE
def test_every_store_keeps_the_same_record(
    cls: type[NodeType], events: list[Event], make_store: Callable[[], Any]
) -> None:
    flow = example_of(cls).replace(id="flow", version=1, is_active=True)
    with closing(make_store()) as store:
        assert driven(flow, PAYLOAD, events, store) == driven(flow, PAYLOAD, events)


@pytest.mark.parametrize("doc", [None, "Nothing.", ">>> flow = fk.Flow('A', trigger='a').end()"])
def test_an_example_is_asked_for(doc: str | None) -> None:
    with pytest.raises(ValueError, match="shows no `flow` with a DELAY"):
        example_of(type("Other", (), {"type": "DELAY", "__doc__": doc}))
