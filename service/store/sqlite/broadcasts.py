"""Broadcasts and their recipients in the embedded store.

May import `flowkit` and what is beside it.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from flowkit.broadcast import Broadcast
from flowkit.errors import Conflict, NotFound
from flowkit.execution import PageKey
from flowkit.wire import canonical, from_ms, from_wire, to_ms, to_wire
from service.store.sqlite.file import SqliteFile
from service.store.sqlite.rows import page_clauses

COLUMNS = "document, cursor, batches, next_at, revision"
DUE = f"SELECT {COLUMNS} FROM broadcasts WHERE next_at <= ? ORDER BY next_at, id LIMIT ?"


class SqliteBroadcasts:
    """The verbs of `service.store.base.Broadcasts`."""

    _file: SqliteFile

    def insert_broadcast(self, broadcast: Broadcast) -> None:
        def work(c: sqlite3.Connection) -> None:
            try:
                c.execute(
                    f"INSERT INTO broadcasts ({COLUMNS}, id, flow_id, created_at) "
                    "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    (
                        *_values(broadcast),
                        broadcast.id,
                        broadcast.flow_id,
                        to_ms(broadcast.created_at),
                    ),
                )
            except sqlite3.IntegrityError as error:
                raise Conflict(f"there is a broadcast {broadcast.id} already") from error

        self._file.write(work, durable=True)

    def replace_broadcast(self, broadcast: Broadcast) -> None:
        def work(c: sqlite3.Connection) -> None:
            changed = c.execute(
                "UPDATE broadcasts SET document=?, cursor=?, batches=?, next_at=?, revision=? "
                "WHERE id=? AND revision=?",
                (*_values(broadcast), broadcast.id, broadcast.revision - 1),
            ).rowcount
            if not changed:
                _find(c, broadcast.id)
                raise Conflict(f"broadcast {broadcast.id} has changed meanwhile")

        self._file.write(work, durable=True)

    def get_broadcast(self, broadcast_id: str) -> Broadcast:
        with self._file.reading() as c:
            return _find(c, broadcast_id)

    def list_broadcasts(
        self, *, flow_id: str | None = None, after: PageKey | None = None, limit: int
    ) -> list[Broadcast]:
        clauses, values = page_clauses(after)
        if flow_id is not None:
            clauses.append("flow_id = ?")
            values.append(flow_id)
        with self._file.reading() as c:
            rows = c.execute(
                f"SELECT {COLUMNS} FROM broadcasts WHERE {' AND '.join(clauses)} "
                "ORDER BY created_at DESC, id DESC LIMIT ?",
                (*values, limit),
            ).fetchall()
        return [_read(row) for row in rows]

    def due_broadcasts(self, *, now: datetime, limit: int) -> list[Broadcast]:
        with self._file.reading() as c:
            rows = c.execute(DUE, (to_ms(now), limit)).fetchall()
        return [_read(row) for row in rows]

    def put_recipients(self, broadcast_id: str, number: int, recipients: Sequence[object]) -> None:
        row = (broadcast_id, number, canonical(recipients))
        self._file.write(
            lambda c: c.execute("INSERT OR REPLACE INTO recipients VALUES (?, ?, ?)", row),
            durable=True,
        )

    def get_recipients(self, broadcast_id: str, number: int) -> list[object]:
        with self._file.reading() as c:
            row = c.execute(
                "SELECT recipients FROM recipients WHERE broadcast_id=? AND number=?",
                (broadcast_id, number),
            ).fetchone()
        if row is None:
            raise NotFound(f"there is no batch {number} of recipients of broadcast {broadcast_id}")
        found: list[object] = json.loads(row[0])
        return found

    def delete_recipients(self, broadcast_id: str) -> None:
        self._file.write(
            lambda c: c.execute("DELETE FROM recipients WHERE broadcast_id=?", (broadcast_id,)),
            durable=False,
        )


def _find(c: sqlite3.Connection, broadcast_id: str) -> Broadcast:
    row = c.execute(f"SELECT {COLUMNS} FROM broadcasts WHERE id=?", (broadcast_id,)).fetchone()
    if row is None:
        raise NotFound(f"there is no broadcast {broadcast_id}")
    return _read(row)


def _values(b: Broadcast) -> tuple[Any, ...]:
    """Return a broadcast as the values of `COLUMNS`: what is on the wire, and what is not."""
    return canonical(to_wire(b)), b.cursor, b.batches, to_ms(b.next_at), b.revision


def _read(row: Sequence[Any]) -> Broadcast:
    return replace(
        from_wire(Broadcast, json.loads(row[0])),
        cursor=row[1],
        batches=row[2],
        next_at=from_ms(row[3]),
        revision=row[4],
    )
