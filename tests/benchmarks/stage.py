"""What the benchmarks share: flows that do nothing, installations, many executions, measures.

Each benchmark is run by hand, ``python -m tests.benchmarks.NAME [--short]``, and prints JSON. None
asserts a time: machines differ, and ratios within one run are what travels.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest

from flowkit import engine
from flowkit.engine import Resume
from flowkit.execution import Execution, PageKey, new_id
from flowkit.flow import Flow
from flowkit.wire import iso
from service.settings import Settings
from service.store.base import Store
from service.store.open import open_store
from tests.benchmarks import noop
from tests.processes import Installation, until
from tests.servers.mongo import MongoServer
from tests.servers.redis import RedisServer

DURABILITY = {
    "sqlite": "progress: WAL, synchronous=NORMAL; acceptance of triggers: FULL",
    "mongodb": "w=majority, j=true, of a JVM server that keeps its data in memory; Redis likewise",
}
"""The stores that are measured, and what surviving a power cut means there."""
TABLES = ("executions", "contexts", "branches", "node_runs")
BATCH = 1_000


def reference_flow() -> dict[str, Any]:
    """Return the flow of six node runs: TRIGGER, CONDITION, three parallel no-ops, END."""
    steps = [f"step{i}" for i in range(3)]
    condition = {"expression": {">": [{"var": "trigger.total"}, 10]}}
    nodes = [
        {"id": "start", "type": "TRIGGER", "config": {}},
        {"id": "check", "type": "CONDITION", "config": condition},
        *({"id": step, "type": "NO_OP", "config": {}} for step in steps),
        {"id": "end", "type": "END", "config": {}},
    ]
    ways = [
        ("start", None, "check"),
        *(("check", "true", step) for step in steps),
        ("check", "false", "end"),
        *((step, None, "end") for step in steps),
    ]
    return flow("reference", nodes, ways)


def waiting_flow(seconds: float) -> dict[str, Any]:
    """Return a flow that waits, and then runs the node ``after``."""
    nodes = [
        {"id": "start", "type": "TRIGGER", "config": {}},
        {"id": "wait", "type": "DELAY", "config": {"amount": seconds, "unit": "seconds"}},
        {"id": "after", "type": "NO_OP", "config": {}},
        {"id": "end", "type": "END", "config": {}},
    ]
    ids = [node["id"] for node in nodes]
    return flow("waiting", nodes, [(a, None, b) for a, b in pairwise(ids)])


def flow(
    name: str, nodes: list[dict[str, Any]], ways: Sequence[tuple[str, str | None, str]]
) -> dict[str, Any]:
    """Return an active flow that is triggered by its name."""
    edges = [
        {"id": f"e{i}", "source": source, "sourceHandle": handle, "target": target}
        for i, (source, handle, target) in enumerate(ways)
    ]
    return {
        **{"id": name, "name": name, "triggerType": name, "isActive": True, "version": 1},
        **{"nodes": nodes, "edges": edges},
    }


def payload(i: int) -> dict[str, Any]:
    """Return the body of a trigger."""
    return {"contact": {"id": f"c{i}"}, "total": 20 + i % 50}


# ---------------------------------------------------------------------------- installations


@contextlib.contextmanager
def installation(kind: str, **settings: str) -> Iterator[Installation]:
    """Yield an installation on one of the stores, with servers of its own."""
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as stack:
        place = Path(directory)
        if kind == "mongodb":
            redis, mongo = RedisServer(place), MongoServer(place)
            stack.callback(redis.kill)
            stack.callback(mongo.kill)
            settings = {"mongodb_url": mongo.url, "redis_url": redis.url} | settings
        here = Installation(place, **settings)
        stack.callback(here.close)
        plugin = place / "plugin"
        metadata = plugin / "flowkit_benchmark-0.dist-info"
        metadata.mkdir(parents=True)
        (metadata / "METADATA").write_text(
            "Metadata-Version: 2.1\nName: flowkit-benchmark\nVersion: 0\n"
        )
        (metadata / "entry_points.txt").write_text(f"[flowkit.node_types]\nb = {noop.__name__}\n")
        here.environment["PYTHONPATH"] += os.pathsep + str(plugin)
        yield here


@contextlib.contextmanager
def store_of(here: Installation) -> Iterator[Store]:
    """Yield a client of an installation's store."""
    own = {k: v for k, v in here.environment.items() if k.startswith("FLOWKIT_")}
    with contextlib.closing(open_store(Settings.from_environment(own).prepared())) as store:
        yield store


def workers(here: Installation, number: int) -> list[Popen[str]]:
    """Start workers, and wait until they look for work."""
    started = [here.start("worker") for _ in range(number)]
    for process in started:
        until(lambda p=process: "is ready" in here.said(p), what="a worker is ready")
    return started


def wait_for_all(store: Store, seconds: float) -> None:
    """Wait until no execution is open."""
    until(
        lambda: time.sleep(0.1) or not any(store.count_open().values()),
        seconds=seconds,
        what="all executions end",
    )


def ended(store: Store) -> Iterator[Execution]:
    """Yield the executions that have ended."""
    after = None
    while page := store.list_ended(before=datetime.max.replace(tzinfo=UTC), after=after, limit=500):
        yield from page
        last = page[-1]
        assert last.ended_at is not None
        after = PageKey(last.ended_at, last.id)


# ------------------------------------------------------------------------- many executions


def publish(store: Store, document: dict[str, Any], now: datetime) -> Flow:
    """Store a flow as the API does, and return it."""
    made = Flow.from_dict(document | {"createdAt": iso(now), "updatedAt": iso(now)})
    store.insert_flow(made, publish=True)
    return made


def begin(store: Store, of: Flow, number: int, *, now: datetime, run: bool = True) -> list[str]:
    """Start executions; run them, as a worker would at `now`, until they wait or end."""
    ids = [new_id(now) for _ in range(number)]
    for first in range(0, number, BATCH):
        found = [
            engine.start(of, payload(i), execution_id=id, now=now)
            for i, id in enumerate(ids[first : first + BATCH], start=first)
        ]
        store.create([execution for execution in found if execution is not None])
        while run and (claims := store.claim("benchmark", now=now, lease_ms=600_000, limit=BATCH)):
            turns = [
                engine.advance(of, claim, [Resume(b) for b in claim.branches], now=now)
                for claim in claims
            ]
            store.commit([turn.patch for turn in turns], now=now)
    return ids


def multiply(path: Path, template: str, number: int, *, since: datetime, until: datetime) -> None:
    """Copy an execution in a SQLite file under new ids, with its times spread over a period.

    No process may have the file open. Contacts are drawn from a million.
    """
    c = sqlite3.connect(path, isolation_level=None)
    for pragma in ("journal_mode=OFF", "synchronous=OFF", "cache_size=-400000"):
        c.execute(f"PRAGMA {pragma}")
    indexes = c.execute(
        "SELECT name, sql FROM sqlite_master WHERE type='index' AND sql IS NOT NULL "
        f"AND tbl_name IN {TABLES}"
    ).fetchall()
    c.execute("BEGIN")
    for name, _ in indexes:  # an index is made faster than it is kept up
        c.execute(f"DROP INDEX {name}")
    (created,) = c.execute("SELECT created_at FROM executions WHERE id=?", (template,)).fetchone()
    first, last = (int(moment.timestamp() * 1000) for moment in (since, until))
    c.execute(
        """
        CREATE TEMP TABLE copies AS
        WITH RECURSIVE numbers (i) AS (
            VALUES (0) UNION ALL SELECT i + 1 FROM numbers WHERE i + 1 < :number
        ), moments AS (SELECT :first + i * (:last - :first) / :number AS at FROM numbers)
        SELECT printf('%012x', at) || lower(hex(randomblob(10))) AS id, at - :created AS shift,
            'c' || abs(random() % 1000000) AS contact
        FROM moments
        """,
        {"number": number, "first": first, "last": last, "created": created},
    )
    for table in TABLES:
        columns = [row[1] for row in c.execute(f"PRAGMA table_info({table})")]
        key = columns[0]
        values = [_copied(column, key) for column in columns]
        c.execute(
            f"INSERT INTO {table} ({','.join(columns)}) SELECT {','.join(values)} "
            f"FROM copies CROSS JOIN {table} AS t WHERE t.{key} = ?",
            (template,),
        )
    for _, statement in indexes:
        c.execute(statement)
    c.execute("COMMIT")
    c.close()


def _copied(column: str, key: str) -> str:
    if column == key:
        return "copies.id"
    if column == "contact_id":
        return "copies.contact"
    return f"t.{column} + copies.shift" if column.endswith(("_at", "_time")) else f"t.{column}"


# ---------------------------------------------------------------------------------- measures


def cpu_seconds(pid: int) -> float:
    """Return how long a process has computed."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def spread(seconds: Sequence[float]) -> dict[str, float]:
    """Return median, 99th percentile and greatest of some times, in ms."""
    ordered = sorted(seconds)
    at = {"p50Ms": 0.5, "p99Ms": 0.99}
    found = {name: ordered[int(len(ordered) * part)] for name, part in at.items()}
    return {name: round(1000 * s, 1) for name, s in (found | {"lastMs": ordered[-1]}).items()}


def run(what: str | None, measure: Callable[[bool], dict[str, Any]]) -> None:
    """Measure, and print what was found and where; `measure` is told whether to be short."""
    parser = argparse.ArgumentParser(description=what)
    parser.add_argument("--short", action="store_true", help="a small part of the load")
    parser.add_argument("--only", choices=DURABILITY, help="one of the stores")
    chosen = parser.parse_args()
    if chosen.only:
        for kind in set(DURABILITY) - {chosen.only}:
            del DURABILITY[kind]
    load = os.getloadavg()[0]
    report = {
        "at": datetime.now().astimezone().isoformat(timespec="seconds"),
        "versions": {
            "python": sys.version.split()[0],
            "sqlite": sqlite3.sqlite_version,
            "pymongo": version("pymongo"),
        },
        "cores": os.cpu_count(),
        "loadBefore": round(load, 1),
    }
    print(json.dumps(report | measure(chosen.short), indent=2))


def on_each_store(measure: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
    """Measure on every store whose servers are here."""
    found: dict[str, Any] = {}
    for kind, durability in DURABILITY.items():
        try:
            found[kind] = {"durability": durability} | measure(kind)
        except pytest.skip.Exception as missing:
            found[kind] = {"skipped": str(missing)}
    return found
