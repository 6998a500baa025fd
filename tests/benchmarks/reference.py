"""The reference flow, measured on each store beside the raw rate of that store.

Six node runs an execution (TRIGGER, CONDITION, three parallel no-ops, END) with full history, for
one worker process and for two. Raw is what the same store takes in the same durability mode, in
the same run, from one client that does nothing else:

- SQLite: the same rows into an empty file of the same schema, one transaction an execution.
- MongoDB: the calls that the store makes for them, of which the documents are known beforehand:
  one insert a document as a trigger makes it (`rawInserts`); then, by batches of a worker's claim,
  one update that claims them, one find that reads them back, and one bulk write of an update for
  each that sets branches, node runs and counts.
"""

from __future__ import annotations

import re
import sqlite3
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pymongo import MongoClient, UpdateOne
from pymongo.write_concern import WriteConcern

from service.settings import Settings
from service.store.sqlite.rows import MIGRATIONS
from tests.benchmarks.stage import (
    TABLES,
    ended,
    installation,
    on_each_store,
    payload,
    reference_flow,
    run,
    store_of,
    wait_for_all,
    workers,
)
from tests.processes import Installation, peak_memory

NUMBERS = {"sqlite": 5_000, "mongodb": 2_000}
CLAIMED = Settings().claim_batch
GROWN = ("branches", "executedNodes", "status", "open", "endedAt", "updatedAt", "revision", "bytes")
"""The fields of a document that a worker writes after the trigger has."""


def throughput(kind: str, processes: int, number: int) -> dict[str, Any]:
    """Let workers run executions that were accepted beforehand, then repeat the raw writes."""
    with installation(kind) as here, store_of(here) as store:
        api = here.start_api()
        here.client.post("/api/flows", json=reference_flow()).raise_for_status()
        began = time.monotonic()
        here.trigger([payload(i) for i in range(number)], "reference")
        accepted = number / (time.monotonic() - began)
        here.stop(api)
        started = workers(here, processes)
        wait_for_all(store, 60 + number / 10)
        last = datetime.now(UTC)
        peaks = [peak_memory(process.pid) for process in started]
        commits = 0
        for process in started:
            here.stop(process)
            commits += int(re.findall(r"after (\d+) commits", here.said(process))[0])
        done = list(ended(store))
        runs = [node_run for execution in done for node_run in execution.executed_nodes]
        if {e.status for e in done} != {"completed"} or len(runs) != 6 * number:
            raise AssertionError(f"{len(done)} executions ended with {len(runs)} runs")
        first = min(node_run.start_time for node_run in runs)
        raw = raw_sqlite(here) if kind == "sqlite" else raw_mongodb(here)
    rate = number / (last - first).total_seconds()
    return {
        "workers": processes,
        "executions": number,
        "executionsPerSecond": round(rate),
        "nodeRunsPerSecond": round(6 * rate),
        **raw,
        "ratioToRaw": round(rate / raw["rawExecutionsPerSecond"], 3),
        "workerCommitsPerExecution": round(commits / number, 4),
        "triggersAcceptedPerSecond": round(accepted),
        "workerPeakMemoryMiB": peaks,
    }


def raw_sqlite(here: Installation) -> dict[str, Any]:
    """Return how many executions a second SQLite takes, in both of its durability modes."""
    grouped: dict[str, dict[str, list[Any]]] = {}
    for table in TABLES:
        for record in here.rows(f"SELECT * FROM {table}"):
            grouped.setdefault(record[0], {}).setdefault(table, []).append(record)
    rates = {mode: round(_raw_sqlite(grouped, mode)) for mode in ("NORMAL", "FULL")}
    return {"rawExecutionsPerSecond": rates["NORMAL"], "rawFull": rates["FULL"]}


def _raw_sqlite(grouped: dict[str, dict[str, list[Any]]], synchronous: str) -> float:
    with tempfile.TemporaryDirectory() as directory:
        connection = sqlite3.connect(Path(directory) / "raw.db", isolation_level=None)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.executescript(";".join(MIGRATIONS))
        connection.execute(f"PRAGMA synchronous={synchronous}")
        began = time.perf_counter()
        for parts in grouped.values():
            connection.execute("BEGIN IMMEDIATE")
            for table, records in parts.items():
                values = ",".join("?" * len(records[0]))
                connection.executemany(f"INSERT INTO {table} VALUES ({values})", records)
            connection.execute("COMMIT")
        seconds = time.perf_counter() - began
        connection.close()
    return len(grouped) / seconds


def raw_mongodb(here: Installation) -> dict[str, Any]:
    """Return how many executions a second the server takes: inserts, and what workers write."""
    with MongoClient[dict[str, Any]](here.environment["FLOWKIT_MONGODB_URL"]) as client:
        database = client.get_default_database()
        documents = list(database.executions.find())
        raw = database.get_collection("raw", write_concern=WriteConcern(w="majority", j=True))
        for keys in database.executions.index_information().values():
            raw.create_index(keys["key"])
        began = time.perf_counter()
        for document in documents:
            raw.insert_one({k: v for k, v in document.items() if k not in GROWN[1:]})
        inserted = time.perf_counter()
        for first in range(0, len(documents), CLAIMED):
            batch = documents[first : first + CLAIMED]
            ids = {"_id": {"$in": [document["_id"] for document in batch]}}
            raw.update_many(ids, {"$set": {"branches.0.owner": "raw"}})
            list(raw.find(ids))
            raw.bulk_write(
                [
                    UpdateOne({"_id": d["_id"]}, {"$set": {n: d[n] for n in GROWN if n in d}})
                    for d in batch
                ],
                ordered=False,
            )
        updated = time.perf_counter()
    return {
        "rawExecutionsPerSecond": round(len(documents) / (updated - inserted)),
        "rawInserts": round(len(documents) / (inserted - began)),
    }


def measure(short: bool) -> dict[str, Any]:
    """Measure each store."""
    return on_each_store(
        lambda kind: {
            "throughput": [
                throughput(kind, n, NUMBERS[kind] // (10 if short else 1)) for n in (1, 2)
            ]
        }
    )


if __name__ == "__main__":
    run(__doc__, measure)
