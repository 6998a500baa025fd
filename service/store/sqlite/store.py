"""`SqliteStore`: the verbs of the contract, put together over one file."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from service.store.sqlite.broadcasts import SqliteBroadcasts
from service.store.sqlite.cells import SqliteCells
from service.store.sqlite.contacts import SqliteContacts
from service.store.sqlite.counts import SqliteCounts
from service.store.sqlite.elections import SqliteElections
from service.store.sqlite.executions import SqliteExecutions
from service.store.sqlite.file import SqliteFile
from service.store.sqlite.flows import SqliteFlows
from service.store.sqlite.keys import SqliteKeys
from service.store.sqlite.retention import SqliteRetention
from service.store.sqlite.rows import MIGRATIONS
from service.store.sqlite.triggers import SqliteTriggers
from service.store.sqlite.work import SqliteWork


class SqliteStore(
    SqliteFlows,
    SqliteExecutions,
    SqliteRetention,
    SqliteCounts,
    SqliteWork,
    SqliteContacts,
    SqliteCells,
    SqliteTriggers,
    SqliteBroadcasts,
    SqliteKeys,
    SqliteElections,
):
    """A `service.store.base.Store` in one SQLite file.

    Parameters
    ----------
    path : Path
        The database file, made when it is absent; its directory exists.

    Raises
    ------
    StoreTooNew, SettingsError
        When the file is of a newer version, or cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._file = SqliteFile(path, MIGRATIONS)

    @property
    def transactions(self) -> int:
        """How many write transactions this process has committed."""
        return self._file.transactions

    def clock_offset(self) -> timedelta | None:
        return None

    def ping(self) -> None:
        with self._file.reading() as c:
            c.execute("SELECT 1 FROM flows LIMIT 1").fetchone()

    def close(self) -> None:
        self._file.close()
