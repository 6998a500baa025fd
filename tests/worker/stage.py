"""What a worker works with, for tests: a real store, a clock moved by hand, effects on command."""

from __future__ import annotations

import copy
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import flowkit as fk
from flowkit import engine
from flowkit.clock import Clock, ManualClock
from flowkit.engine import Performance
from flowkit.execution import Execution
from flowkit.flow import Flow
from flowkit.nodetype import Outcome
from flowkit.testing import EPOCH
from service.store.sqlite import SqliteStore
from service.worker.runner import Runner
from tests.processes import until

DONE = Outcome("completed", result={"messageId": "wamid.1"})
PAYLOAD = {"contact": {"id": "c1", "phone": "+5511999990000"}}
PATIENCE = 20.0
"""Seconds after which something that should happen counts as not happening."""


def published(flow: Flow, name: str = "flow") -> Flow:
    """Return a flow as the service stores it: active, with id, version and times."""
    stored = {"id": name, "version": 1, "isActive": True}
    times = {"createdAt": "2026-01-05T09:00:00.000Z", "updatedAt": "2026-01-05T09:00:00.000Z"}
    return Flow.from_dict(flow.to_dict() | stored | times)


def messages(*names: str) -> Flow:
    """Return a flow that sends messages one after the other; each node is named."""
    flow = fk.Flow("Messages", trigger="test")
    for name in names:
        flow = flow.send(text=name, id=name)
    return published(flow.end(), "-".join(names))


def fork(number: int) -> Flow:
    """Return a flow of `number` parallel messages, named m0, m1, ..."""

    def arm(i: int) -> Callable[[Any], Any]:
        return lambda b: b.send(text=f"m{i}", id=f"m{i}")

    flow = fk.Flow("Fork", trigger="test").parallel(*map(arm, range(number)))
    return published(flow.end(), f"fork{number}")


class Effects:
    """Performs effects as the test says, and remembers them."""

    def __init__(self) -> None:
        self.performed: list[str] = []
        self.active: set[str] = set()
        self.most = 0
        self.answer: Callable[[Performance], Outcome] = lambda performance: DONE
        self._gates: dict[str, threading.Event] = {}
        self._lock = threading.Lock()

    def hold(self, name: str) -> threading.Event:
        """Keep effects from ending until the event is set: a node's, or an execution's."""
        self._gates[name] = threading.Event()
        return self._gates[name]

    def __call__(self, performance: Performance) -> Outcome:
        """Perform."""
        with self._lock:
            self.performed.append(performance.key)
            self.active.add(performance.key)
            self.most = max(self.most, len(self.active))
        try:
            for name in performance.key.split("_"):
                if name in self._gates:
                    assert self._gates[name].wait(3 * PATIENCE)
            return self.answer(performance)
        finally:
            with self._lock:
                self.active.discard(performance.key)

    def release(self) -> None:
        """Let everything go."""
        for gate in self._gates.values():
            gate.set()


class Watched:
    """A store between which and its worker the test stands.

    `before` and `after` hold a function by verb; verbs in `failing` raise, as on a full disk.
    """

    def __init__(self, store: SqliteStore) -> None:
        self._store = store
        self.calls: Counter[str] = Counter()
        self.failures = 0
        self.failing: set[str] = set()
        self.before: dict[str, Callable[[], Any]] = {}
        self.after: dict[str, Callable[[Any], Any]] = {}

    def __getattr__(self, verb: str) -> Any:
        method = getattr(self._store, verb)

        def call(*args: Any, **kwargs: Any) -> Any:
            self.before.get(verb, lambda: None)()
            self.calls[verb] += 1
            if verb in self.failing:
                self.failures += 1
                raise sqlite3.OperationalError("database or disk is full")
            result = method(*args, **kwargs)
            self.after.get(verb, lambda result: None)(result)
            return result

        return call


class CountingClock:
    """A clock that counts how often it is read: a worker that spins reads it all the time."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.reads = 0

    def now(self) -> Any:
        """Return the present moment."""
        self.reads += 1
        return self._clock.now()


class Pool:
    """In place of a thread pool: keeps what is submitted until the test runs it."""

    def __init__(self) -> None:
        self.kept: list[Callable[[], Any]] = []

    def submit(self, work: Callable[..., Any], *args: Any) -> None:
        """Keep."""
        self.kept.append(lambda: work(*args))


class Stage:
    """A store in `directory`, executions, and any number of workers."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "flowkit.db"
        self.clock = ManualClock(EPOCH)
        self.effects = Effects()
        self.store = SqliteStore(self.path)
        self._stores = [self.store]
        self._runners: list[tuple[Runner, threading.Thread]] = []
        self._published: set[str] = set()
        self.payload: dict[str, Any] = copy.deepcopy(PAYLOAD)

    def watched(self) -> Watched:
        """Return another client of the store, with the test in between."""
        self._stores.append(SqliteStore(self.path))
        return Watched(self._stores[-1])

    def runner(self, owner: str = "a", **options: Any) -> Runner:
        """Return a worker that is not running yet."""
        options = {"clock": self.clock, "sweep_seconds": 0.05} | options
        store = options.pop("store", None) or self.watched()
        effects = options.pop("effects", self.effects)
        return Runner(store, effects, owner=owner, **options)

    def run(self, runner: Runner) -> Runner:
        """Run a worker until the test ends."""
        thread = threading.Thread(target=runner.run, daemon=True)
        thread.start()
        self._runners.append((runner, thread))
        return runner

    def stopped(self, runner: Runner) -> None:
        """Wait until a worker that was told to stop has done so."""
        (thread,) = [thread for known, thread in self._runners if known is runner]
        thread.join(PATIENCE)
        assert not thread.is_alive(), "the worker does not stop"

    def start(self, flow: Flow, number: int = 1, *, prefix: str = "x") -> list[str]:
        """Start executions of a flow that is published with the first of them."""
        if flow.id not in self._published:
            self.store.insert_flow(flow, publish=True)
            self._published.add(flow.id or "")
        return self.start_unpublished(flow, number, prefix=prefix)

    def start_unpublished(self, flow: Flow, number: int = 1, *, prefix: str = "x") -> list[str]:
        """Start executions of a flow of which nobody knows the version."""
        now = self.clock.now()
        ids = [f"{prefix}{i}" for i in range(number)]
        found = [engine.start(flow, self.payload, execution_id=name, now=now) for name in ids]
        self.store.create([execution for execution in found if execution is not None])
        return ids

    def execution(self, name: str = "x0") -> Execution:
        """Return an execution as stored."""
        return self.store.get_execution(name)

    def statuses(self) -> Counter[str]:
        """Return how many executions have which status."""
        return Counter(status for (status,) in self.rows("SELECT status FROM executions"))

    def rows(self, statement: str) -> list[Any]:
        """Return what a statement reads from the database file."""
        connection = sqlite3.connect(self.path)
        try:
            return connection.execute(statement).fetchall()
        finally:
            connection.close()

    def leases(self) -> list[Any]:
        """Return the branches that somebody holds."""
        return self.rows("SELECT execution_id, branch_id FROM branches WHERE status='running'")

    def run_of(self, node: str, name: str = "x0") -> Any:
        """Return the run of a node, or None while there is none."""
        return next((r for r in self.execution(name).executed_nodes if r.node_id == node), None)

    def wait_for(self, status: str, number: int = 1) -> None:
        """Wait until so many executions have a status."""
        until(
            lambda: self.statuses()[status] == number,
            seconds=PATIENCE,
            what=f"{number} executions are {status}",
        )

    def cancel(self, name: str = "x0") -> None:
        """Cancel an execution, as the API does."""
        self._change(lambda execution: engine.cancel(execution, now=self.clock.now()), name)

    def retry(self, name: str = "x0") -> None:
        """Retry an execution, as the API does."""
        self._change(lambda execution: engine.retry(execution, None, now=self.clock.now()), name)

    def _change(self, change: Callable[[Execution], Any], name: str) -> None:
        def committed() -> bool:
            (answer,) = self.store.commit([change(self.execution(name))], now=self.clock.now())
            return answer.outcome == "ok"

        until(committed, seconds=PATIENCE, what="the change fits the execution")

    def ahead(self, seconds: float) -> ManualClock:
        """Return the clock of a machine that is ahead."""
        return ManualClock(self.clock.now() + timedelta(seconds=seconds))

    def close(self) -> None:
        """End everything."""
        self.effects.release()
        for runner, _ in self._runners:
            runner.stop()
        for runner, _ in self._runners:
            self.stopped(runner)
        for store in self._stores:
            store.close()


@contextmanager
def stage_in(directory: Path) -> Iterator[Stage]:
    """Yield a stage and clear it away."""
    stage = Stage(directory)
    try:
        yield stage
    finally:
        stage.close()
