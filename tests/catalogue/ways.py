"""One flow through service, engine and simulator: the node runs are the same, ids aside."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pandas as pd

import flowkit as fk
from flowkit import history
from flowkit.engine import Performance
from flowkit.execution import Execution
from flowkit.flow import Flow
from flowkit.kin import CALL
from flowkit.nodes.flows import START, STOP
from flowkit.nodetype import Outcome
from flowkit.sharing import KINDS, outcome_of, sharing
from flowkit.simulation import After, Behaviour, Reaction, simulate
from flowkit.testing import EPOCH, MemoryStore
from flowkit.wire import to_wire
from tests.catalogue.live import Event, Live, coming
from tests.engine.driver import World

DONE: dict[str, dict[str, Any]] = {
    "whatsapp.message": {"messageId": "wamid.1"},
    "http.request": {"status": 200, "body": {"ok": True}},
    START: {"executionId": "y"},
    STOP: {"stopped": 0, "executionIds": []},
    CALL: {"executionId": "y"},
}
"""What the service's channels and its store make of effects of each kind."""
FACTS = ("messageId", "waId", "messageStatus", "executionId", "eventId")
"""What a result says that is another one each time."""


class Outside:
    """Answers effects as the service does; what executions share is its own."""

    def __init__(self) -> None:
        self._cells: dict[str, Any] = {}

    def __call__(self, performance: Performance, now: datetime = EPOCH) -> Outcome:
        effect = performance.effect
        if effect.kind not in KINDS:
            return Outcome("completed", result=DONE[effect.kind], awaits=effect.then is not None)
        asked = sharing(effect, now, _unknown)
        self._cells[asked.cell_id], answer = asked.change(self._cells.get(asked.cell_id))
        return outcome_of(effect, answer)


def _unknown(contact_id: str) -> Any:
    raise fk.NotFound(contact_id)


def same_everywhere(
    flow: Flow, payload: Any, events: Sequence[Event], live: Live
) -> dict[str, Any]:
    """Run a flow in the service, compare it with the others, and return its document."""
    stored = live.add(flow)
    document = live.run(stored, payload, events)
    execution = driven(stored, payload, events)
    assert _runs(document) == _runs(to_wire(execution))
    if not events:  # none come in a simulation
        made = simulated(stored, payload, execution.context["contact"])
        real = history.executions([document]), history.node_runs([document])
        for one, other in zip((made.executions, made.node_runs), real, strict=True):
            pd.testing.assert_frame_equal(_frame(one), _frame(other))
    return document


def driven(flow: Flow, payload: Any, events: Sequence[Event] = (), store: Any = None) -> Execution:
    """Return an execution that the engine has taken to its end, over a store."""
    outside = Outside()
    world = World(
        flow,
        payload,
        outcomes=lambda performance: outside(performance, world.now),
        store=MemoryStore() if store is None else store,
    )
    to_come = coming(EPOCH, events)
    while world.run().ended_at is None:
        due = world.execution.resume_at
        if to_come and (due is None or to_come[0][0] < due):
            world.now, type_, body = to_come.pop(0)
            world.receive(type_, body)
        else:
            assert due is not None, "nothing is due, and it has not ended"
            world.now = due
    return world.execution


def simulated(flow: Flow, payload: Any, contact: dict[str, Any]) -> Any:
    """Return the simulation of one contact, whose effects take no time."""
    outside = Outside()
    answers = {
        kind: lambda performance, _: outside(performance)
        for kind in {*DONE, *KINDS} - {"whatsapp.message"}
    }
    behaviour = Behaviour(reactions=[Reaction(latency=After(0))], answers=answers)
    return simulate(flow, [contact], behaviour, at=EPOCH, payload=lambda _: payload)


def aside(own: str, value: Any) -> Any:
    """Return JSON data without ids: those of the execution, of messages and of events."""
    if isinstance(value, dict):
        return {k: aside(own, v) for k, v in value.items() if k not in FACTS}
    if isinstance(value, list):
        return [aside(own, item) for item in value]
    return value.replace(own, "x") if isinstance(value, str) else value


def _runs(document: dict[str, Any]) -> Any:
    return aside(document["id"], document["executedNodes"])


def _frame(frame: pd.DataFrame) -> pd.DataFrame:
    own = frame["execution_id"].iloc[0]
    changed = {
        name: [aside(own, value) for value in frame[name]]
        for name in ("execution_id", "idempotency_key", "result")
        if name in frame
    }
    return frame.assign(**changed)
