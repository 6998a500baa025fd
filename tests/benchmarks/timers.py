"""How late timers are that are due in the same millisecond, for two workers that wait for them.

A timer has started when its branch is claimed and the next node's start is recorded.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

from flowkit.wire import cut
from tests.benchmarks.stage import (
    begin,
    ended,
    installation,
    on_each_store,
    publish,
    run,
    spread,
    store_of,
    wait_for_all,
    waiting_flow,
    workers,
)

WORKERS = 2
EACH_SECOND = {"sqlite": 800, "mongodb": 200}
"""How many executions are made in a second, before they are due."""
READY_SECONDS = 6


def lateness(kind: str, number: int, patience: int = 1) -> dict[str, Any]:
    """Return how late `number` timers were; a machine that is slow to make them gets longer."""
    delay = patience * (READY_SECONDS + number / EACH_SECOND[kind])
    with installation(kind) as here, store_of(here) as store:
        now = cut(datetime.now(UTC))
        due = now + timedelta(seconds=delay)
        begin(store, publish(store, waiting_flow(delay), now), number, now=now)
        processes = workers(here, WORKERS)
        early = due.timestamp() - time.time()
        if early < 1:
            return lateness(kind, number, 3 * patience)
        time.sleep(early)
        wait_for_all(store, 60 + number / 50)
        recorded = time.time() - due.timestamp()
        starts = [
            node_run.start_time
            for execution in ended(store)
            for node_run in execution.executed_nodes
            if node_run.node_id == "after"
        ]
        for process in processes:
            here.stop(process)
    if len(starts) != number or min(starts) < due:
        raise AssertionError(f"{len(starts)} of {number} timers ran, the first at {min(starts)}")
    late = [(start - due).total_seconds() for start in starts]
    return {"timers": number, **spread(late), "allRecordedMs": round(1000 * recorded)}


def measure(short: bool) -> dict[str, Any]:
    """Measure every store with what it bears."""
    numbers = {"sqlite": [1_000, 10_000, 100_000], "mongodb": [1_000, 10_000]}
    return {"workers": WORKERS} | on_each_store(
        lambda kind: {"late": [lateness(kind, n) for n in (numbers[kind][: 1 if short else None])]}
    )


if __name__ == "__main__":
    run(__doc__, measure)
