"""One SQLite file that several threads of several processes read and write.

Owns connections, the fair write lock, group commit and the schema's version; knows nothing of
what is kept. May import the standard library and `flowkit.errors`.

SQLite lets one writer in at a time and its own waiting is unfair: under load one process can
starve another for seconds. So writers queue twice. Within a process, the first thread that gets
its turn commits the work of all that wait with it in one transaction (group commit), so that
they share one fsync. Between processes, an advisory lock on a file beside the database is taken
around each transaction; the kernel wakes its waiters in order.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

from flowkit.errors import SettingsError, StoreTooNew

try:
    import fcntl
except ImportError:  # Windows: SQLite's own busy handler has to do
    fcntl = None  # type: ignore[assignment]

T = TypeVar("T")

BUSY_SECONDS = 30
"""How long a statement waits for a lock that something else than this program holds."""


class _Job(Generic[T]):
    """A piece of writing, and what became of it."""

    __slots__ = ("done", "durable", "error", "result", "work")

    def __init__(self, work: Callable[[sqlite3.Connection], T], durable: bool) -> None:
        self.work = work
        self.durable = durable
        self.done = False
        self.result: T | None = None
        self.error: BaseException | None = None


class SqliteFile:
    """Connections to one database file.

    Parameters
    ----------
    path : Path
        The file; its directory exists.
    migrations : sequence of str
        Statements that make an empty file one of version 1, that one of version 2, and so on.
        A file of a later version than there are is refused.

    Raises
    ------
    StoreTooNew
        When the file was written by a newer version of this program.
    SettingsError
        When the file cannot be opened or written.
    """

    def __init__(self, path: Path, migrations: Sequence[str]) -> None:
        self.path = path
        self.transactions = 0
        self._closed = False
        self._idle: list[sqlite3.Connection] = []
        self._writer: sqlite3.Connection | None = None
        self._guard = threading.Lock()
        self._turn = threading.Lock()
        self._waiting: list[_Job[Any]] = []
        self._lock_file: int | None = None
        try:
            self._lock_file = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT, 0o600)
            self._writer = writer = self._connect()
            with self._exclusive():
                writer.execute("PRAGMA journal_mode=WAL")
                self._migrate(writer, migrations)
        except (sqlite3.Error, OSError) as error:
            self.close()
            raise SettingsError(f"cannot open the database {path}: {error}") from error
        except BaseException:
            self.close()
            raise

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path,
            timeout=BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
        )
        # Each checkpoint is paid by the writer that comes to it, with everybody waiting: with 64 MB
        # between them, pages that change often are written back less often.
        connection.execute("PRAGMA wal_autocheckpoint=16000")
        connection.execute("PRAGMA synchronous=NORMAL")
        return connection

    def _migrate(self, writer: sqlite3.Connection, migrations: Sequence[str]) -> None:
        (found,) = writer.execute("PRAGMA user_version").fetchone()
        known = len(migrations)
        if found > known:
            raise StoreTooNew(
                f"{self.path} has schema {found}, written by a newer flowkit; this one knows "
                f"schema {known}: upgrade flowkit or use another data directory"
            )
        for version, script in enumerate(migrations[found:], start=found + 1):
            writer.executescript(f"BEGIN;{script};PRAGMA user_version={version};COMMIT;")

    @contextlib.contextmanager
    def _exclusive(self) -> Iterator[None]:
        if fcntl is None or self._lock_file is None:
            yield
            return
        fcntl.flock(self._lock_file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(self._lock_file, fcntl.LOCK_UN)

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection that sees one snapshot of the file, for statements that only read."""
        with self._guard:
            connection = self._idle.pop() if self._idle else None
        connection = connection or self._connect()
        try:
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                connection.execute("ROLLBACK")
        finally:
            with self._guard:
                if not self._closed:
                    self._idle.append(connection)
            if self._closed:
                connection.close()

    def write(self, work: Callable[[sqlite3.Connection], T], *, durable: bool) -> T:
        """Run `work` in a write transaction and return what it returns, once it is committed.

        An exception that `work` raises undoes that work alone, and is raised here.
        """
        job = _Job(work, durable)
        with self._guard:
            self._waiting.append(job)
        with self._turn:
            if not job.done:
                with self._guard:
                    jobs, self._waiting = self._waiting, []
                self._commit(jobs)
        if job.error is not None:
            raise job.error
        return job.result  # type: ignore[return-value]

    def _commit(self, jobs: list[_Job[Any]]) -> None:
        connection = self._writer
        if connection is None or self._closed:
            raise sqlite3.ProgrammingError(f"the store {self.path} is closed")
        durable = any(job.durable for job in jobs)
        try:
            with self._exclusive():
                connection.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
                connection.execute("BEGIN IMMEDIATE")
                for job in jobs:
                    self._run(connection, job, alone=len(jobs) == 1)
                connection.execute("COMMIT")
                self.transactions += 1
        except BaseException as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            for job in jobs:
                job.error = job.error or error
            if not isinstance(error, Exception):
                raise
        finally:
            for job in jobs:
                job.done = True

    @staticmethod
    def _run(connection: sqlite3.Connection, job: _Job[Any], *, alone: bool) -> None:
        if alone:
            job.result = job.work(connection)
            return
        connection.execute("SAVEPOINT job")
        try:
            job.result = job.work(connection)
        except Exception as error:
            job.error = error
            connection.execute("ROLLBACK TO job")
        connection.execute("RELEASE job")

    def close(self) -> None:
        """Close this process's connections to the file."""
        with self._guard:
            self._closed = True
            connections, self._idle = self._idle, []
        if self._writer is not None:
            connections.append(self._writer)
        for connection in connections:
            connection.close()
        if self._lock_file is not None:
            os.close(self._lock_file)
            self._lock_file = None
