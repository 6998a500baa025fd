"""A simulation is what production would have made of the same, row for row."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime, timedelta
from heapq import heappop, heappush
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pandas as pd
from hypothesis import event, given, settings
from hypothesis import strategies as st

from flowkit import engine, history
from flowkit.clock import ManualClock
from flowkit.engine import Performance
from flowkit.flow import Flow
from flowkit.nodetype import Outcome
from flowkit.simulation import After, Behaviour, Reaction, crowd, simulate
from flowkit.simulation.behaviour import draws, outcome
from flowkit.testing import EPOCH, flows
from flowkit.wire import to_wire
from service.store.sqlite import SqliteStore
from service.worker.runner import Runner

SEED = 7
COINS = [True, False]
BEHAVIOURS = st.builds(
    lambda failed, unknown, transient, spread: Behaviour(
        reactions=[
            Reaction(
                failed=failed,
                unknown=unknown,
                error={"code": "whatsapp_2", "message": "later", "transient": transient},
                latency=After(20, spread),
            )
        ]
    ),
    st.sampled_from([0.0, 0.4]),
    st.sampled_from([0.0, 0.3]),
    st.booleans(),
    st.sampled_from([1.0, 3.0]),
)


def contacts(number: int) -> list[dict[str, Any]]:
    return [
        {"id": f"c{i}", "phone": f"+551199999000{i}", "coin": COINS[i % 2]} for i in range(number)
    ]


def payload(contact: dict[str, Any]) -> dict[str, Any]:
    return {"contact": contact, "coin": contact["coin"]}


class Later:
    """In place of a thread pool: performs an effect when its modelled latency has passed."""

    def __init__(self, latency: Callable[[Performance], int]) -> None:
        self.latency = latency
        self.due: list[tuple[datetime, int, Callable[[], None]]] = []
        self.clock = ManualClock(EPOCH)
        self.begun = 0

    def submit(self, work: Any, ref: Any, performance: Performance) -> None:
        self.begun += 1
        at = self.clock.now() + timedelta(milliseconds=self.latency(performance))
        heappush(self.due, (at, self.begun, lambda: work(ref, performance)))


def production(
    directory: Path, flow: Flow, people: list[dict[str, Any]], behaviour: Behaviour
) -> Iterator[Any]:
    """Yield each contact's execution after a worker with a SQLite store has run it."""
    reaction = behaviour.reactions[0]

    def chances(performance: Performance) -> list[float]:
        number, _, visit = performance.key.partition("_")
        return draws(SEED, people[int(number[1:])]["id"], visit, performance.attempt)

    def perform(performance: Performance) -> Outcome:
        return outcome(reaction, chances(performance)[0], performance.key, performance.attempt)

    pool = Later(lambda performance: reaction.latency.ms(chances(performance)[1]))
    clock = pool.clock
    with closing(SqliteStore(directory / "flowkit.db")) as store:
        runner = Runner(
            store, perform, clock=clock, owner="a", lease_seconds=1e7, sweep_seconds=0.0,
            concurrency=1_000,
        )  # fmt: skip
        store.insert_flow(flow.replace(created_at=EPOCH, updated_at=EPOCH), publish=True)
        for number, person in enumerate(people):
            execution = engine.start(
                flow, payload(person), execution_id=f"x{number}", now=EPOCH, contact=person
            )
            assert execution is not None
            store.create([execution])
        while True:
            runner.wake()
            runner._collect(0.0)
            runner.step(pool)  # type: ignore[arg-type]
            now = clock.now()
            moments = [pool.due[0][0]] if pool.due else []
            sleeping = store.next_due(now=now)
            if sleeping is not None and sleeping < now + timedelta(days=100):  # no lease
                moments.append(sleeping)
            if not moments:
                break
            clock.advance(max(min(moments) - now, timedelta(0)))
            while pool.due and pool.due[0][0] <= clock.now():
                heappop(pool.due)[2]()
        for number in range(len(people)):
            yield to_wire(store.get_execution(f"x{number}"))


def told_apart(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame whose ids are those of the contacts."""
    frame = frame.copy()
    owns, whose = frame["execution_id"], frame["contact_id"]
    if "idempotency_key" in frame:
        for name in ("idempotency_key", "result"):
            frame[name] = [
                value if value is None else str(value).replace(own, contact)
                for value, own, contact in zip(frame[name], owns, whose, strict=True)
            ]
    frame["execution_id"] = whose
    return frame.sort_values("execution_id", kind="stable", ignore_index=True)


def same(left: tuple[pd.DataFrame, ...], right: tuple[pd.DataFrame, ...]) -> None:
    for one, other in zip(left, right, strict=True):
        pd.testing.assert_frame_equal(told_apart(one), told_apart(other))


@settings(max_examples=15, deadline=None)
@given(flow=flows(), behaviour=BEHAVIOURS, number=st.integers(1, 3))
def test_production_makes_the_same_rows(flow: Flow, behaviour: Behaviour, number: int) -> None:
    people = contacts(number)
    simulated = simulate(flow, people, behaviour, at=EPOCH, seed=SEED, payload=payload)
    with tempfile.TemporaryDirectory() as directory:
        documents = list(production(Path(directory), flow, people, behaviour))
    for status in simulated.executions["status"]:
        event(status)
    same(
        (simulated.executions, simulated.node_runs),
        (history.executions(documents), history.node_runs(documents)),
    )


@settings(max_examples=40, deadline=None)
@given(flow=flows(), behaviour=BEHAVIOURS, number=st.integers(2, 12), days=st.none() | st.just(0.6))
def test_shared_turns_make_the_same_rows(
    flow: Flow, behaviour: Behaviour, number: int, days: float | None
) -> None:
    with patch.object(crowd, "FEW", 1):
        results = [
            simulate(
                flow, contacts(number), behaviour, at=EPOCH, seed=SEED, payload=payload,
                share=share, until=None if days is None else EPOCH + timedelta(days=days),
            )
            for share in (True, False)
        ]  # fmt: skip
    for name in ("executions", "node_runs"):
        left, right = (getattr(result, name) for result in results)
        pd.testing.assert_frame_equal(left, right)
