"""Clocks that jump, and many timers at once: each fires once, and not before its time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

import flowkit as fk
from flowkit import engine
from flowkit.engine import Resume
from flowkit.execution import Execution
from flowkit.flow import Flow
from tests.crash.flows import FLOWS, payloads
from tests.crash.guarantees import check, ledger
from tests.processes import Installation, until
from tests.servers.runtime import need, unavailable

pytestmark = [pytest.mark.crash, pytest.mark.timeout(600)]

HOUR = timedelta(hours=1)


# -------------------------------------------------------------------------- jumps


class FakeTime:
    """The wall clock of processes, moved while they run; their monotonic clock goes on."""

    def __init__(self, directory: Path) -> None:
        need(programs=("faketime",))
        library = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
        if library is None:
            unavailable("missing: libfaketime for programs with threads")
        self._file = directory / "time"
        self.jump(0)
        self.environment = {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }

    def jump(self, seconds: int) -> None:
        """Put the clock so far from the true time."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{seconds:+d}\n")
        new.rename(self._file)


@pytest.fixture
def fake_time(tmp_path: Path) -> FakeTime:
    return FakeTime(tmp_path)


def test_a_clock_that_jumps_both_ways(alone: Installation, fake_time: FakeTime) -> None:
    """The machine's clock, so that of API and workers; a server of MongoDB keeps its own.

    SQLite's time is the machine's: what was due in a moment that passed twice waits until the
    clock has passed it again, so it ends ahead of all that it has shown.
    """
    alone.environment |= fake_time.environment | {"FLOWKIT_LEASE_SECONDS": "6"}
    alone.start_simulator()
    alone.start_api()
    kinds = ("fail", "resend", "delay", "few")
    for kind in kinds:
        alone.client.post("/api/flows", json=FLOWS[kind]).raise_for_status()
    slow = {"latencyMs": 300}
    httpx.post(f"{alone.simulator}/_simulator/rules", json=slow).raise_for_status()
    workers = [alone.start("worker") for _ in range(2)]
    until(lambda: all("is ready" in alone.said(worker) for worker in workers), seconds=60)
    accepted: list[str] = []
    for seconds in (3600, 0, -3600, 0):
        accepted += [id_ for kind in kinds for id_ in alone.trigger(payloads(3), kind)]
        time.sleep(0.5)  # in the middle of effects and delays, wherever that is
        fake_time.jump(seconds)
    accepted += [id_ for kind in kinds for id_ in alone.trigger(payloads(3), kind)]
    if "FLOWKIT_MONGODB_URL" not in alone.environment:
        fake_time.jump(2 * 3600)
    alone.wait_for(accepted, 180)
    assert all(worker.poll() is None for worker in workers)
    assert "clock" in alone.said(workers[0]), "it says so"
    found = check(alone, accepted, crashes=0)
    assert {execution.status for execution in found} == {"completed"}


# ------------------------------------------------------------------------- timers

TIMERS = {"sqlite": 10_000, "mongodb": 300}
"""How many are due at once; the test server of MongoDB's protocol reads everything each time."""
FLOW = (
    fk.Flow("Timers", trigger="timers")
    .delay(hours=1, id="wait")
    .when(
        fk.trigger.loud == True,  # noqa: E712
        then=lambda b: b.send(text="due", id="due"),
        otherwise=lambda b: b,
        id="check",
    )
    .end()
)
LOUD = 50
"""Every so many-th sends a message."""


def starts(flow: Flow, number: int, now: datetime) -> Iterator[list[Execution]]:
    """Yield new executions in batches."""
    for first in range(0, number, 500):
        batch = []
        for n in range(first, min(first + 500, number)):
            payload = payloads(1)[0] | {"loud": n % LOUD == 0}
            execution = engine.start(flow, payload, execution_id=f"t{n:06}", now=now)
            assert execution is not None
            batch.append(execution)
        yield batch


def put_to_wait(store: Any, flow: Flow, executions: list[Execution], now: datetime) -> None:
    """Store executions, and let them arrive at their delay at `now`."""
    store.create(executions)
    claims = store.claim("arrivals", now=now, lease_ms=60_000, limit=len(executions))
    turns = [engine.advance(flow, claim, [Resume("root")], now=now) for claim in claims]
    answers = store.commit([turn.patch for turn in turns], now=now, lease_ms=60_000)
    assert [answer.status for answer in answers] == ["delayed"] * len(executions)


def test_many_timers_due_in_the_same_second(
    alone: Installation, request: pytest.FixtureRequest
) -> None:
    number = TIMERS[request.node.callspec.params["store_settings"]]
    alone.environment["FLOWKIT_LEASE_SECONDS"] = "30"
    alone.start_simulator()
    alone.start_api()
    answer = alone.client.post("/api/flows", json=FLOW.to_dict() | {"isActive": True})
    flow = alone.store.get_version(answer.json()["id"], 1)
    due = (datetime.now(UTC) + timedelta(seconds=30)).replace(microsecond=0)
    for batch in starts(flow, number, due - HOUR):
        put_to_wait(alone.store, flow, batch, due - HOUR)
    for _ in range(2):
        alone.start("worker")
    alone.wait_for_all(300)
    found = alone.executions()
    assert len(found) == number
    loud = [f"t{n:06}" for n in range(0, number, LOUD)]
    for execution in check(alone, [execution.id for execution in found], crashes=0):
        assert execution.status == "completed"
        after = [run for run in execution.executed_nodes if run.node_id == "check"]
        assert [run.start_time >= due for run in after] == [True], "once, and not early"
    assert dict(ledger(alone.simulator)) == {f"{id_}_due": 1 for id_ in loud}
