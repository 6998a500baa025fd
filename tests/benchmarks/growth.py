"""Whether work gets dearer with history: node runs a second beside executions that have ended.

A file for each size of history; the same load is run on them in turn, again and again, so that what
else goes on in the machine meets all of them alike. On SQLite.
"""

from __future__ import annotations

import contextlib
import os
import time
from datetime import UTC, datetime
from statistics import median
from typing import Any

from flowkit.flow import Flow
from flowkit.wire import cut
from service.counting import beginning
from tests.benchmarks.stage import (
    begin,
    cpu_seconds,
    installation,
    multiply,
    publish,
    reference_flow,
    run,
    store_of,
    wait_for_all,
    workers,
)
from tests.processes import Installation

WORKERS = 1
ROUNDS = 9
"""How often the load is run at each size; the medians are reported."""


def rates(history: list[int], number: int) -> list[dict[str, Any]]:
    """Return the rate of a load at each size of history."""
    with contextlib.ExitStack() as stack:
        there = {size: stack.enter_context(installation("sqlite")) for size in history}
        flows = {size: _grown(here, size) for size, here in there.items()}
        os.sync()  # history was written long ago: its way to the disk is not what counts
        rounds: dict[int, list[dict[str, float]]] = {size: [] for size in history}
        for _ in range(ROUNDS):
            for size, here in there.items():
                rounds[size].append(_round(here, flows[size], number))
        rate = {size: [one["nodeRunsPerSecond"] for one in found] for size, found in rounds.items()}
        return [
            {
                "history": size,
                **{name: median(one[name] for one in rounds[size]) for name in rounds[size][0]},
                "rounds": rate[size],
                "ratioToEmpty": round(
                    median(a / b for a, b in zip(rate[size], rate[history[0]], strict=True)), 3
                ),
                "fileMiB": round(here.database.stat().st_size / 2**20),
            }
            for size, here in there.items()
        ]


def _grown(here: Installation, size: int) -> Flow:
    """Give an installation its history; return the flow."""
    with store_of(here) as store:
        flow = publish(store, reference_flow(), cut(datetime.now(UTC)))
        (template,) = begin(store, flow, 1, now=cut(datetime.now(UTC)))
    if size:
        now = cut(datetime.now(UTC))
        # All on this day, which is not over: another would have to be counted first.
        multiply(here.database, template, size, since=beginning(now.date()), until=now)
    return flow


def _round(here: Installation, flow: Flow, number: int) -> dict[str, float]:
    """Run the load once."""
    with store_of(here) as store:
        at = time.monotonic()
        begin(store, flow, number, now=cut(datetime.now(UTC)), run=False)
        created = time.monotonic() - at
        at = time.monotonic()
        processes = workers(here, WORKERS)
        ready = time.monotonic() - at
        wait_for_all(store, 60 + number / 20)
        computed = sum(cpu_seconds(process.pid) for process in processes)
        for process in processes:
            here.stop(process)
    # The worker began before it was seen to be ready: its own times tell more exactly.
    ((first, last),) = here.rows(
        "SELECT min(start_time), max(end_time) FROM node_runs WHERE execution_id IN "
        f"(SELECT id FROM executions ORDER BY created_at DESC, id DESC LIMIT {number})"
    )
    return {
        "nodeRunsPerSecond": round(6 * number / ((last - first) / 1000)),
        "processorSeconds": round(computed, 2),
        "createdPerSecond": round(number / created),
        "workerStartSeconds": round(ready, 2),
    }


def measure(short: bool) -> dict[str, Any]:
    """Measure."""
    sizes, number = ([0, 10_000], 500) if short else ([0, 1_000_000, 5_000_000], 5_000)
    return {"workers": WORKERS, "executions": number, "growth": rates(sizes, number)}


if __name__ == "__main__":
    run(__doc__, measure)
