"""Contacts in the embedded store. May import `flowkit` and what is beside it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from flowkit.contacts import Contact, cell_of, shown
from flowkit.errors import NotFound
from flowkit.wire import canonical, from_ms, to_ms
from service.store.sqlite.file import SqliteFile

COLUMNS = "id, attributes, created_at, updated_at"
SHOWN = f"""
SELECT contacts.id, attributes, created_at, updated_at, state
FROM contacts LEFT JOIN cells ON cells.id = '{cell_of("")}' || contacts.id
"""


class SqliteContacts:
    """The verbs of `service.store.base.Contacts`."""

    _file: SqliteFile

    def save_contacts(self, contacts: Sequence[Contact]) -> None:
        rows = [
            (c.id, canonical(c.attributes), to_ms(c.created_at), to_ms(c.updated_at))
            for c in contacts
        ]
        self._file.write(
            lambda c: c.executemany(
                f"INSERT INTO contacts ({COLUMNS}) VALUES (?, ?, ?, ?) ON CONFLICT (id) DO UPDATE "
                "SET attributes=excluded.attributes, updated_at=excluded.updated_at "
                "WHERE updated_at < excluded.updated_at",
                rows,
            ),
            durable=False,
        )

    def get_contact(self, contact_id: str) -> Contact:
        with self._file.reading() as c:
            row = c.execute(f"{SHOWN} WHERE contacts.id=?", (contact_id,)).fetchone()
        if row is None:
            raise NotFound(f"there is no contact {contact_id}")
        return _read(row)

    def list_contacts(self, *, after: str | None = None, limit: int) -> list[Contact]:
        with self._file.reading() as c:
            rows = c.execute(
                f"{SHOWN} WHERE contacts.id > ? ORDER BY contacts.id LIMIT ?",
                (after or "", limit),
            ).fetchall()
        return [_read(row) for row in rows]


def _read(row: Sequence[Any]) -> Contact:
    told = Contact(
        id=row[0],
        attributes=json.loads(row[1]),
        created_at=from_ms(row[2]),
        updated_at=from_ms(row[3]),
    )
    return shown(told, json.loads(row[4]) if row[4] else None)
