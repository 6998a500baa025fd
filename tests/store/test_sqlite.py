"""SQLite under the store contract, and what is particular to it."""

from __future__ import annotations

import itertools
import multiprocessing
import re
import sqlite3
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from flowkit.errors import Conflict, SettingsError, StoreTooNew
from flowkit.execution import ExecutionFilter, PageKey
from flowkit.testing import EPOCH, StoreContract, started
from service.store.sqlite import SqliteStore
from tests.examples import examples
from tests.store.keys import KeysContract


class TestSqlite(StoreContract, KeysContract):
    EXAMPLES = examples(8, 100)

    @pytest.fixture
    def make_store(self, tmp_path: Path) -> Callable[[], SqliteStore]:
        self.directory = tmp_path
        return lambda: SqliteStore(tmp_path / "flowkit.db")

    numbers = itertools.count()

    def fresh(self) -> SqliteStore:
        return SqliteStore(self.directory / f"{next(self.numbers)}.db")


def test_a_file_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "flowkit.db"
    SqliteStore(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version=99")
    connection.close()
    with pytest.raises(StoreTooNew, match="schema 99"):
        SqliteStore(path)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "flowkit.db"
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(SettingsError, match=r"flowkit\.db"):
        SqliteStore(path)


def test_the_index_answers_each_question_of_a_claim(tmp_path: Path) -> None:
    """A worker that looks for work must not read the history."""
    store = SqliteStore(tmp_path / "flowkit.db")
    from service.store.sqlite.work import CLAIMABLE

    names = {"now": 0, "lease": 1, "limit": 1, "expired": True, "owner": "a"}
    with store._file.reading() as c:
        plan = c.execute(f"EXPLAIN QUERY PLAN {CLAIMABLE}", names).fetchall()
    reads = [row[3] for row in plan if " branches" in row[3]]
    assert reads, plan
    assert all("branches_claimable" in read for read in reads), reads
    store.close()


def test_the_index_answers_what_has_ended(tmp_path: Path) -> None:
    """Who looks for what has ended must not read what has not."""
    store = SqliteStore(tmp_path / "flowkit.db")
    asked: list[str] = []
    store._file.write(lambda c: c.set_trace_callback(asked.append), durable=False)
    store.expire(executions=EPOCH, keys=EPOCH, limit=1)
    store._file.write(lambda c: c.set_trace_callback(None), durable=False)
    with store._file.reading() as c:
        c.set_trace_callback(asked.append)
    store.list_ended(before=EPOCH, limit=1)
    store.list_ended(before=EPOCH, after=PageKey(EPOCH, "x"), limit=1)
    store.roll_up(EPOCH.date())
    with store._file.reading() as c:
        c.set_trace_callback(None)
        reads = [sql for sql in asked if "FROM executions" in sql and "SELECT" in sql]
        plans = [row[3] for sql in reads for row in c.execute(f"EXPLAIN QUERY PLAN {sql}")]
    scans = [plan for plan in plans if re.search(r"(SCAN|SEARCH) (executions|e)\b", plan)]
    assert len(scans) == 5, plans
    assert all("INDEX executions_ended (" in plan for plan in scans), scans
    store.close()


def test_the_index_answers_which_broadcasts_are_due(tmp_path: Path) -> None:
    """The sweep asks every second, also when a thousand have ended."""
    store = SqliteStore(tmp_path / "flowkit.db")
    from service.store.sqlite.broadcasts import DUE

    with store._file.reading() as c:
        plan = [row[3] for row in c.execute(f"EXPLAIN QUERY PLAN {DUE}", (0, 1))]
    assert ["broadcasts_due" in step for step in plan] == [True], plan
    store.close()


def _create(path: Path, numbers: range, failed: Any) -> None:
    try:
        store = SqliteStore(path)
        executions = started(numbers.stop)[numbers.start :]
        for execution in executions:
            store.create([execution])
        store.close()
    except BaseException as error:
        failed.put(repr(error))


def test_several_processes_write_without_ever_seeing_a_lock(tmp_path: Path) -> None:
    path = tmp_path / "flowkit.db"
    context = multiprocessing.get_context("forkserver")  # it imports once, not once in each
    context.set_forkserver_preload([__name__])
    failed = context.Queue()
    ranges = [range(i * 100, i * 100 + 100) for i in range(3)]
    processes = [context.Process(target=_create, args=(path, r, failed)) for r in ranges]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert failed.empty(), failed.get()
    store = SqliteStore(path)
    assert len(store.list_executions(ExecutionFilter(), limit=1000)) == 300
    store.close()


def test_one_bad_write_does_not_spoil_those_grouped_with_it(tmp_path: Path) -> None:
    from flowkit.testing import at_once

    store = SqliteStore(tmp_path / "flowkit.db")
    executions = started(8)
    store.create([executions[0]])
    results = at_once(8, lambda i: store.create([executions[i]]))
    assert isinstance(results[0], Conflict)
    assert results[1:] == [[]] * 7
    assert len(store.list_executions(ExecutionFilter(), limit=99)) == 8
    assert store.next_due(now=EPOCH) == EPOCH
    store.close()


def test_what_cells_answered_is_forgotten_with_trigger_keys(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "flowkit.db")
    later, day = EPOCH + timedelta(hours=1), timedelta(days=1)

    def count(state: int | None) -> tuple[int, int]:
        return (state or 0) + 1, (state or 0) + 1

    def take(cell: str, key: str, **options: Any) -> Any:
        return store.change_cell(cell, key, count, now=EPOCH, **options)

    assert [take("kept", "k"), take("gone", "g", expires_at=later)] == [1, 1]
    assert store.expire(executions=None, keys=EPOCH, limit=9) == 0
    assert [take("kept", "k"), take("gone", "g")] == [1, 1]
    assert store.expire(executions=None, keys=EPOCH + day, limit=9) == 3
    assert [take("kept", "k"), take("gone", "g")] == [2, 1]
    store.close()
