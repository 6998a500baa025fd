"""Cells in the embedded store. May import `flowkit` and what is beside it."""

from __future__ import annotations

import json
import sqlite3
from datetime import datetime
from typing import Any

from flowkit.wire import canonical, to_ms
from service.store.cells import Change
from service.store.sqlite.file import SqliteFile


class SqliteCells:
    """The verbs of `service.store.cells.Cells`."""

    _file: SqliteFile

    def change_cell(
        self,
        cell_id: str,
        key: str,
        change: Change,
        *,
        now: datetime,
        expires_at: datetime | None = None,
    ) -> Any:
        def work(c: sqlite3.Connection) -> str:
            known = c.execute("SELECT answer FROM cell_answers WHERE key=?", (key,)).fetchone()
            if known is not None:
                return str(known[0])
            row = c.execute("SELECT state FROM cells WHERE id=?", (cell_id,)).fetchone()
            state, answer = change(None if row is None else json.loads(row[0]))
            c.execute(
                "INSERT OR REPLACE INTO cells (id, state, expires_at) VALUES (?, ?, ?)",
                (cell_id, canonical(state), to_ms(expires_at)),
            )
            text = canonical(answer)
            c.execute("INSERT INTO cell_answers VALUES (?, ?, ?)", (key, text, to_ms(now)))
            return text

        # Not durable by itself: what rests on it is written behind it in the same log.
        return json.loads(self._file.write(work, durable=False))
