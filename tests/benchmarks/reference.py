"""The reference flow on the embedded store, measured; prints JSON.

Run it by hand: ``python -m tests.benchmarks.reference [--short]``. Six node runs an execution
(TRIGGER, CONDITION, three parallel no-ops, END) with full history. The no-op is an effect-free
node type that the processes load through the public entry point, as any third party's would be.
Beside the engine's rates stands the raw rate at which this machine commits the same rows to
SQLite, one transaction an execution, in the same durability mode and in the same run.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sqlite3
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

from service.store.sqlite.rows import MIGRATIONS
from tests.processes import Installation

NODE_TYPE = '''
from flowkit.nodetype import Next, NodeType

class NoOp(NodeType, type="NO_OP", category="ACTION", verb="no_op"):
    """Do nothing."""

    def run(self, ctx):
        """Go on."""
        return Next()
'''
FLOW = {
    "id": "reference",
    "name": "Reference",
    "triggerType": "reference",
    "isActive": True,
    "nodes": [
        {"id": "start", "type": "TRIGGER", "config": {}},
        {
            "id": "check",
            "type": "CONDITION",
            "config": {"expression": {">": [{"var": "trigger.total"}, 10]}},
        },
        *({"id": f"step{i}", "type": "NO_OP", "config": {}} for i in range(3)),
        {"id": "end", "type": "END", "config": {}},
    ],
    "edges": [
        {"id": "e0", "source": "start", "target": "check"},
        *(
            {"id": f"t{i}", "source": "check", "sourceHandle": "true", "target": f"step{i}"}
            for i in range(3)
        ),
        {"id": "f", "source": "check", "sourceHandle": "false", "target": "end"},
        *({"id": f"x{i}", "source": f"step{i}", "target": "end"} for i in range(3)),
    ],
}
TABLES = ("executions", "contexts", "branches", "node_runs")


def install(directory: str) -> Installation:
    """Return an installation that loads the no-op through its entry point."""
    here = Installation(Path(directory))
    plugin = here.directory / "plugin"
    metadata = plugin / "flowkit_benchmark-0.dist-info"
    metadata.mkdir(parents=True)
    (plugin / "flowkit_benchmark.py").write_text(NODE_TYPE)
    (metadata / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: flowkit-benchmark\nVersion: 0\n"
    )
    (metadata / "entry_points.txt").write_text("[flowkit.node_types]\nb = flowkit_benchmark\n")
    here.environment["PYTHONPATH"] += os.pathsep + str(plugin)
    return here


def peak_memory(pid: int) -> int:
    """Return the peak resident memory of a process and its children, in bytes."""
    total = 0
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        except OSError:
            continue
        if status.parent.name == str(pid) or fields.get("PPid", "").strip() == str(pid):
            total += int(fields.get("VmHWM", "0 kB").split()[0]) * 1024
    return total


def throughput(workers: int, number: int) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """Let workers run executions that were accepted beforehand."""
    with tempfile.TemporaryDirectory() as directory:
        here = install(directory)
        api = here.start_api()
        here.client.post("/api/flows", json=FLOW).raise_for_status()
        began = time.monotonic()
        here.trigger([payload(i) for i in range(number)], "reference")
        accepted = number / (time.monotonic() - began)
        here.stop(api)
        processes = [here.start("worker") for _ in range(workers)]
        here.wait_for_all(60 + number / 20)
        peaks = [peak_memory(process.pid) for process in processes]
        commits = 0
        for process in processes:
            here.stop(process)
            commits += int(re.findall(r"after (\d+) commits", here.said(process))[0])
        [(first,)] = here.rows("SELECT min(start_time) FROM node_runs")
        [(last, done)] = here.rows(
            "SELECT max(ended_at), count(*) FROM executions WHERE status='completed'"
        )
        rows = {table: here.rows(f"SELECT * FROM {table}") for table in TABLES}
        here.close()
    runs = len(rows["node_runs"])
    if (done, runs) != (number, 6 * number):
        raise AssertionError(f"{done} executions completed with {runs} runs")
    seconds = (last - first) / 1000
    return {
        "workers": workers,
        "executions": number,
        "executionsPerSecond": round(number / seconds),
        "nodeRunsPerSecond": round(runs / seconds),
        "workerCommitsPerExecution": round(commits / number, 4),
        # One at the most for the acceptance of each trigger: concurrent ones share.
        "commitsPerExecution": round(1 + commits / number, 4),
        "triggersAcceptedPerSecond": round(accepted),
        "workerPeakMemoryMiB": [round(peak / 2**20) for peak in peaks],
    }, rows


def payload(i: int) -> dict[str, Any]:
    """Return the body of a trigger."""
    return {"contact": {"id": f"c{i}"}, "total": 20 + i % 50}


def raw_rate(rows: dict[str, list[Any]], synchronous: str) -> float:
    """Commit the same rows to an empty file of the same schema, an execution a transaction."""
    grouped: dict[str, dict[str, list[Any]]] = {}
    for table, records in rows.items():
        for record in records:
            grouped.setdefault(record[0], {}).setdefault(table, []).append(record)
    insert = {
        table: f"INSERT INTO {table} VALUES ({','.join('?' * len(records[0]))})"
        for table, records in rows.items()
    }
    with tempfile.TemporaryDirectory() as directory:
        connection = sqlite3.connect(Path(directory) / "raw.db", isolation_level=None)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.executescript(";".join(MIGRATIONS))
        connection.execute(f"PRAGMA synchronous={synchronous}")
        began = time.perf_counter()
        for parts in grouped.values():
            connection.execute("BEGIN IMMEDIATE")
            for table, records in parts.items():
                connection.executemany(insert[table], records)
            connection.execute("COMMIT")
        seconds = time.perf_counter() - began
        connection.close()
    return len(grouped) / seconds


def paced(rate: int, seconds: float) -> dict[str, Any]:
    """Post triggers at a steady rate and measure from sending to completion."""
    with tempfile.TemporaryDirectory() as directory:
        here = install(directory)
        api, worker = here.start_api(), here.start("worker")
        here.client.post("/api/flows", json=FLOW).raise_for_status()
        here.trigger([payload(i) for i in range(20)], "reference")
        here.wait_for_all()
        number = int(rate * seconds)
        sent: dict[str, float] = {}

        def one(i: int) -> None:
            at = time.time()
            answer = here.client.post("/api/flows/trigger/reference", json=payload(i))
            sent[answer.json()["executions"][0]["executionId"]] = at

        began = time.monotonic()
        with ThreadPoolExecutor(16) as pool:
            for i in range(number):
                time.sleep(max(0.0, began + i / rate - time.monotonic()))
                pool.submit(one, i)
        here.wait_for_all()
        ended = dict(here.rows("SELECT id, ended_at FROM executions"))
        memory = peak_memory(api.pid)
        here.stop(worker)
        here.close()
    latencies = sorted(ended[k] - at * 1000 for k, at in sent.items())
    return {
        "triggersPerSecond": rate,
        "triggers": number,
        "p50Ms": round(statistics.median(latencies), 1),
        "p99Ms": round(latencies[int(len(latencies) * 0.99)], 1),
        "apiPeakMemoryMiB": round(memory / 2**20),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--short", action="store_true", help="a tenth of the load")
    number = 500 if parser.parse_args().short else 5000
    one, rows = throughput(1, number)
    raw = {mode: round(raw_rate(rows, mode)) for mode in ("NORMAL", "FULL")}
    two, _ = throughput(2, number)
    for result in (one, two):
        result["ratioToRaw"] = round(result["executionsPerSecond"] / raw["NORMAL"], 3)
    report = {
        "at": datetime.now().astimezone().isoformat(timespec="seconds"),
        "python": sys.version.split()[0],
        "sqlite": sqlite3.sqlite_version,
        "cores": os.cpu_count(),
        "durability": "progress: WAL, synchronous=NORMAL; acceptance of triggers: FULL",
        "rawExecutionsPerSecond": raw,
        "throughput": [one, two],
        "pacedLoad": paced(50, number / 250),
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
