"""A real installation for tests and benchmarks: real processes over one data directory."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx

from flowkit.execution import TERMINAL, Execution, ExecutionFilter, NodeRun, PageKey
from service.server import free_port
from service.settings import Settings
from service.store.open import open_store

HOST = "127.0.0.1"
KEY = "test-key-of-the-installation"
ROOT = Path(__file__).parents[1]
PAGE = 500


def until(condition: Callable[[], Any], *, seconds: float = 30.0, what: str = "") -> Any:
    """Return what `condition` returns once it is true; fail after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not in {seconds} s: {what or condition}")
        time.sleep(0.02)
    return result


class Installation:
    """Starts the program's processes and kills them, and asks their store, whichever it is.

    Parameters
    ----------
    directory : Path
        Empty; holds the data.
    settings : str
        ``FLOWKIT_*`` variables, by name in lower case; `mongodb_url` and `redis_url` move it
        from SQLite onto servers.
    """

    def __init__(self, directory: Path, **settings: str) -> None:
        self.directory = directory
        self.database = directory / "data" / "flowkit.db"
        self.port = free_port()
        self.url = f"http://{HOST}:{self.port}"
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("FLOWKIT_")},
            "PYTHONPATH": str(ROOT),
            "FLOWKIT_DATA_DIR": str(directory / "data"),
            "FLOWKIT_API_KEY": KEY,
            **{f"FLOWKIT_{name.upper()}": value for name, value in settings.items()},
        }
        self.client = httpx.Client(
            base_url=self.url, headers={"Authorization": f"Bearer {KEY}"}, timeout=20
        )
        self.processes: list[subprocess.Popen[str]] = []
        self.simulator = ""

    def start(self, *arguments: str, **variables: str) -> subprocess.Popen[str]:
        """Start ``python -m service`` in a process group of its own."""
        number = len(self.processes)
        with (self.directory / f"{number}-{arguments[0]}.log").open("w") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "service", *arguments],
                env={**self.environment, **variables},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
        self.processes.append(process)
        return process

    def said(self, process: subprocess.Popen[str]) -> str:
        """Return what a process has printed so far."""
        number = self.processes.index(process)
        return next(self.directory.glob(f"{number}-*.log")).read_text()

    def start_api(self, port: int | None = None, **variables: str) -> subprocess.Popen[str]:
        """Start the API, or another beside it at `port`, and wait until it answers."""
        port = port or self.port
        process = self.start("api", "--port", str(port), **variables)

        def ready() -> bool:
            assert process.poll() is None, self.said(process)
            try:
                return self.client.get(f"http://{HOST}:{port}/readyz").status_code == 200
            except httpx.TransportError:
                return False

        until(ready, what="the API answers")
        return process

    def start_simulator(self) -> str:
        """Start the WhatsApp simulator, let the workers use it, and return its address."""
        port = free_port()
        address = f"http://{HOST}:{port}"
        self.start("simulator", "--port", str(port), "--token", "t")
        self.environment |= {
            "FLOWKIT_WHATSAPP_BASE_URL": address,
            "FLOWKIT_WHATSAPP_TOKEN": "t",
            "FLOWKIT_WHATSAPP_PHONE_NUMBER_ID": "1065",
        }

        def ready() -> bool:
            try:
                return httpx.get(f"{address}/_simulator/rules").status_code == 200
            except httpx.TransportError:
                return False

        until(ready, what="the simulator answers")
        self.simulator = address
        return address

    def trigger(self, payloads: list[Any], trigger_type: str = "test") -> list[str]:
        """Post triggers concurrently; return the ids of the executions that were accepted."""

        def post(payload: Any) -> list[str]:
            answer = self.client.post(f"/api/flows/trigger/{trigger_type}", json=payload)
            answer.raise_for_status()
            return [e["executionId"] for e in answer.json()["executions"]]

        with ThreadPoolExecutor(8) as pool:
            return [execution_id for ids in pool.map(post, payloads) for execution_id in ids]

    @cached_property
    def store(self) -> Any:
        """A client of the store, opened as the program opens it."""
        return open_store(Settings.from_environment(self.environment).prepared())

    def executions(self, ids: Iterable[str] | None = None) -> list[Execution]:
        """Return executions whole: those with these ids, else all."""
        if ids is not None:
            return [self.store.get_execution(execution_id) for execution_id in ids]
        found: list[Execution] = []
        while True:
            after = PageKey(found[-1].created_at, found[-1].id) if found else None
            page = self.store.list_executions(
                ExecutionFilter(),
                after=after,
                limit=PAGE,
                include=("context", "branches", "executed_nodes"),
            )
            found += page
            if len(page) < PAGE:
                return found

    def runs(self, ids: Iterable[str] | None = None, status: str | None = None) -> list[NodeRun]:
        """Return the node runs of executions, those in `status` where one is given."""
        return [
            run
            for execution in self.executions(ids)
            for run in execution.executed_nodes
            if status in (None, run.status)
        ]

    def rows(self, statement: str) -> list[Any]:
        """Return what a statement reads from SQLite's database file."""
        connection = sqlite3.connect(self.database)
        try:
            return connection.execute(statement).fetchall()
        finally:
            connection.close()

    def ended(self, ids: Iterable[str]) -> bool:
        """Return whether all these executions have ended."""
        return all(self.store.get_execution(i).status in TERMINAL for i in ids)

    def wait_for(self, ids: Iterable[str], seconds: float = 90.0) -> None:
        """Wait until these executions have ended."""
        wanted = list(ids)
        until(lambda: self.ended(wanted), seconds=seconds, what="these executions end")

    def wait_for_all(self, seconds: float = 30.0) -> None:
        """Wait until no execution is open."""
        until(
            lambda: not any(self.store.count_open().values()),
            seconds=seconds,
            what="all executions end",
        )

    def stop(self, process: subprocess.Popen[str]) -> int:
        """Stop a process in good order and return its exit status."""
        process.send_signal(signal.SIGTERM)
        return process.wait(60)

    @staticmethod
    def kill(process: subprocess.Popen[str]) -> None:
        """Kill a process and its children, as a crash of the machine would."""
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def kill_all(self, since: int = 0) -> None:
        """Kill whatever still runs of the processes started from number `since` on."""
        for process in self.processes[since:]:
            if process.poll() is None:
                self.kill(process)

    def close(self) -> None:
        """Kill whatever still runs."""
        self.client.close()
        self.kill_all()
        if "store" in vars(self):
            self.store.close()


def installation(directory: Path, **settings: str) -> Iterator[Installation]:
    """Yield an installation for a fixture, and clear it away."""
    here = Installation(directory, **settings)
    try:
        yield here
    finally:
        here.close()


def peak_memory(pid: int) -> int:
    """Return the peak resident memory of a process and its children, in MiB."""
    total = 0
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        except OSError:
            continue
        if status.parent.name == str(pid) or fields.get("PPid", "").strip() == str(pid):
            total += int(fields.get("VmHWM", "0 kB").split()[0])
    return round(total / 1024)
