"""Who has which duty, in the embedded store. May import `flowkit` and what is beside it."""

from __future__ import annotations

import sqlite3
from datetime import datetime

from flowkit.wire import to_ms
from service.store.sqlite.file import SqliteFile


class SqliteElections:
    """The verbs of `service.store.base.Elections`."""

    _file: SqliteFile

    def elect(self, duty: str, owner: str, *, now: datetime, lease_ms: int) -> bool:
        at = to_ms(now)

        def work(c: sqlite3.Connection) -> bool:
            taken = c.execute(
                "INSERT INTO duties VALUES (:duty, :owner, :until) ON CONFLICT (duty) DO UPDATE "
                "SET owner=:owner, until=:until "
                "WHERE owner=:owner OR until <= :now OR until > :now + 2 * :lease",
                {
                    "duty": duty,
                    "owner": owner,
                    "until": at + lease_ms,
                    "now": at,
                    "lease": lease_ms,
                },
            )
            return taken.rowcount == 1

        return self._file.write(work, durable=False)

    def resign(self, duty: str, owner: str) -> None:
        self._file.write(
            lambda c: c.execute("DELETE FROM duties WHERE duty=? AND owner=?", (duty, owner)),
            durable=False,
        )
