"""How ended executions leave the embedded store. May import `flowkit` and what is beside it."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import datetime

from flowkit.execution import Execution, PageKey
from flowkit.wire import to_ms
from service.store.sqlite.file import SqliteFile
from service.store.sqlite.rows import HEAD, WHOLE, fill, read_head

KEPT_AS_KEYS = (
    ("trigger_keys", "id", "created_at"),
    ("cells", "id", "expires_at"),
    ("cell_answers", "key", "created_at"),
)
"""Tables whose rows go by the age of trigger keys, with their key and where the age counts from."""


class SqliteRetention:
    """The verbs of `service.store.base.Executions` that are about ended ones."""

    _file: SqliteFile

    def list_ended(
        self, *, before: datetime, after: PageKey | None = None, limit: int
    ) -> list[Execution]:
        since = (to_ms(after.created_at), after.id) if after else (-1, "")
        with self._file.reading() as c:
            rows = c.execute(
                f"SELECT {HEAD} FROM executions WHERE ended_at IS NOT NULL "
                "AND (ended_at, id) > (?, ?) AND ended_at < ? ORDER BY ended_at, id LIMIT ?",
                (*since, to_ms(before), limit),
            )
            executions = [read_head(row) for row in rows]
            fill(c, executions, WHOLE)
        return executions

    def list_owing(self, *, after: PageKey | None = None, limit: int) -> list[Execution]:
        since = (to_ms(after.created_at), after.id) if after else (-1, "")
        with self._file.reading() as c:
            rows = c.execute(
                f"SELECT {HEAD} FROM executions WHERE owes AND ended_at IS NOT NULL "
                "AND (ended_at, id) > (?, ?) ORDER BY ended_at, id LIMIT ?",
                (*since, limit),
            )
            return [read_head(row) for row in rows]

    def delete_ended(self, refs: Sequence[tuple[str, int]]) -> int:
        def work(c: sqlite3.Connection) -> int:
            gone = [
                (id,)
                for id, revision in refs
                if c.execute(
                    "DELETE FROM executions WHERE id=? AND revision=? AND ended_at IS NOT NULL",
                    (id, revision),
                ).rowcount
            ]
            _delete_parts(c, gone)
            return len(gone)

        return self._file.write(work, durable=True)

    def expire(self, *, executions: datetime | None, keys: datetime, limit: int) -> int:
        def work(c: sqlite3.Connection) -> int:
            gone: list[tuple[str]] = []
            if executions is not None:
                gone = c.execute(
                    "SELECT id FROM executions WHERE ended_at IS NOT NULL AND ended_at < ? "
                    "ORDER BY ended_at LIMIT ?",
                    (to_ms(executions), limit),
                ).fetchall()
            c.executemany("DELETE FROM executions WHERE id=?", gone)
            _delete_parts(c, gone)
            removed = len(gone)
            for table, key, age in KEPT_AS_KEYS:
                removed += c.execute(
                    f"DELETE FROM {table} WHERE {key} IN "
                    f"(SELECT {key} FROM {table} WHERE {age} < ? ORDER BY {age} LIMIT ?)",
                    (to_ms(keys), limit),
                ).rowcount
            return removed

        return self._file.write(work, durable=False)


def _delete_parts(c: sqlite3.Connection, ids: Sequence[tuple[str]]) -> None:
    for table in ("contexts", "branches", "node_runs", "inbox"):
        c.executemany(f"DELETE FROM {table} WHERE execution_id=?", ids)
