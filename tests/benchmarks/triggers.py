"""How soon a trigger is answered over HTTP, and done, at a steady rate of requests.

Once while the workers are at rest, and once while they work off a backlog. Latency counts from
the moment at which a request was due to be sent, whether or not the sender came to it in time.
On SQLite; the sender shares the machine's cores with all it measures.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

from flowkit.execution import ExecutionFilter
from flowkit.wire import cut
from tests.benchmarks.stage import (
    begin,
    installation,
    multiply,
    payload,
    publish,
    reference_flow,
    run,
    spread,
    store_of,
    wait_for_all,
    workers,
)
from tests.processes import peak_memory

RATE = 50
WORKERS = 2
SENDERS = 16


def paced(seconds: int, backlog: int) -> dict[str, Any]:
    """Return the latencies of triggers that are posted at a steady rate."""
    with installation("sqlite") as here:
        now = cut(datetime.now(UTC))
        with store_of(here) as store:
            flow = publish(store, reference_flow() | {"id": "backlog", "triggerType": "none"}, now)
            (template,) = begin(store, flow, 1, now=now, run=False)
        if backlog:
            multiply(here.database, template, backlog, since=now - timedelta(hours=1), until=now)
        api = here.start_api()
        here.client.post("/api/flows", json=reference_flow()).raise_for_status()
        workers(here, WORKERS)
        time.sleep(1)
        sent: dict[str, float] = {}
        answered: list[float] = []

        def one(i: int, due: float) -> None:
            answer = here.client.post("/api/flows/trigger/reference", json=payload(i))
            answered.append(time.time() - due)
            sent[answer.json()["executions"][0]["executionId"]] = due

        began = time.time()
        with ThreadPoolExecutor(SENDERS) as pool:
            for i in range(RATE * seconds):
                due = began + i / RATE
                time.sleep(max(0.0, due - time.time()))
                pool.submit(one, i, due)
        with store_of(here) as store:
            left = sum(store.count_open().values())
            found: dict[str, Any] = {"openAtTheEnd": left, "answered": spread(answered)}
            if not backlog:
                wait_for_all(store, 30)
                done = store.list_executions(ExecutionFilter(flow_id="reference"), limit=len(sent))
                times = [e.ended_at.timestamp() - sent[e.id] for e in done if e.ended_at]
                found["completed"] = spread(times)
        found["apiPeakMemoryMiB"] = peak_memory(api.pid)
    if len(answered) != RATE * seconds:
        raise AssertionError(f"{len(answered)} of {RATE * seconds} triggers were answered")
    return {"triggersPerSecond": RATE, "triggers": len(answered), "backlog": backlog, **found}


def measure(short: bool) -> dict[str, Any]:
    """Measure with workers at rest and with busy ones."""
    seconds, backlog = (4, 20_000) if short else (20, 100_000)
    return {"workers": WORKERS, "paced": [paced(seconds, n) for n in (0, backlog)]}


if __name__ == "__main__":
    run(__doc__, measure)
