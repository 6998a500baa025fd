"""A million executions in a delay: what they cost a worker that has nothing to do.

On SQLite, with the bells on SQLite and on Redis. A worker has started when an execution that was
due before has ended, counted from the start of its process.
"""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from flowkit.wire import cut
from tests.benchmarks.stage import (
    begin,
    cpu_seconds,
    installation,
    multiply,
    publish,
    run,
    store_of,
    waiting_flow,
)
from tests.processes import Installation, peak_memory, until
from tests.servers.redis import RedisServer

DELAY = timedelta(days=30)


def delayed(number: int, seconds: int, *, redis: bool) -> dict[str, Any]:
    """Return what a worker and Redis take while `number` executions wait."""
    with installation("sqlite") as here:
        server = RedisServer(here.directory) if redis else None
        if server is not None:
            here.environment["FLOWKIT_REDIS_URL"] = server.url
        try:
            return {"executions": number, "bells": "redis" if server else "sqlite"} | _idle(
                here, server, number, seconds
            )
        finally:
            if server is not None:
                server.kill()


def _idle(
    here: Installation, server: RedisServer | None, number: int, seconds: int
) -> dict[str, Any]:
    now = cut(datetime.now(UTC))
    with store_of(here) as store:
        flow = publish(store, waiting_flow(DELAY.total_seconds()), now - DELAY)
        (template,) = begin(store, flow, 1, now=now - timedelta(days=1))
    if number:
        multiply(here.database, template, number, since=now - timedelta(days=1), until=now)
    with store_of(here) as store:
        (due,) = begin(store, flow, 1, now=now - DELAY - timedelta(seconds=1))
        at = time.monotonic()
        api = here.start_api()
        api_seconds = time.monotonic() - at
        at = time.monotonic()
        worker = here.start("worker")
        until(lambda: store.get_execution(due).status == "completed", what="the due execution ends")
        worker_seconds = time.monotonic() - at
        counted = time.monotonic()
        open_now = store.count_open()
        counted = time.monotonic() - counted
        time.sleep(3)
        before, at = cpu_seconds(worker.pid), time.monotonic()
        time.sleep(seconds)
        idle = (cpu_seconds(worker.pid) - before) / (time.monotonic() - at)
        found = {
            "delayed": open_now["delayed"],
            "apiStartSeconds": round(api_seconds, 2),
            "workerStartSeconds": round(worker_seconds, 2),
            "countOpenMs": round(1000 * counted),
            "idleCpuPercent": round(100 * idle, 2),
            "workerMemoryMiB": memory(worker.pid),
            "workerPeakMemoryMiB": peak_memory(worker.pid),
            "apiPeakMemoryMiB": peak_memory(api.pid),
            "fileMiB": round(here.database.stat().st_size / 2**20),
        }
        if server is not None:
            info = server.client.info("memory")
            found["redisMemoryKiB"] = round(info["used_memory"] / 1024)
            found["redisKeys"] = server.client.dbsize()
        here.stop(worker)
    return found


def memory(pid: int) -> int:
    """Return the resident memory of a process, in MiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return round(int(re.findall(r"VmRSS:\s+(\d+)", status)[0]) / 1024)


def measure(short: bool) -> dict[str, Any]:
    """Measure with none and with many."""
    many, seconds = (10_000, 5) if short else (1_000_000, 60)
    return {
        "idle": [delayed(n, seconds, redis=redis) for redis in (False, True) for n in (0, many)]
    }


if __name__ == "__main__":
    run(__doc__, measure)
