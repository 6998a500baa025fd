"""Keys of the API in the embedded store. May import `flowkit` and what is beside it."""

from __future__ import annotations

import sqlite3
from typing import Any

from flowkit.errors import Conflict, NotFound
from flowkit.wire import from_ms, to_ms
from service.store.base import ApiKey
from service.store.sqlite.file import SqliteFile


class SqliteKeys:
    """The verbs of `service.store.base.Keys`."""

    _file: SqliteFile

    def insert_api_key(self, key: ApiKey) -> None:
        def work(c: sqlite3.Connection) -> None:
            try:
                c.execute(
                    "INSERT INTO api_keys (name, digest, created_at) VALUES (?, ?, ?)",
                    (key.name, key.digest, to_ms(key.created_at)),
                )
            except sqlite3.IntegrityError as error:
                raise Conflict(f"there is a key {key.name} already; delete it first") from error

        self._file.write(work, durable=True)

    def list_api_keys(self) -> list[ApiKey]:
        with self._file.reading() as c:
            rows = c.execute("SELECT name, digest, created_at FROM api_keys ORDER BY name")
            return [_read(row) for row in rows]

    def find_api_key(self, digest: str) -> ApiKey | None:
        with self._file.reading() as c:
            row = c.execute(
                "SELECT name, digest, created_at FROM api_keys WHERE digest=?", (digest,)
            ).fetchone()
        return None if row is None else _read(row)

    def delete_api_key(self, name: str) -> None:
        def work(c: sqlite3.Connection) -> None:
            if c.execute("DELETE FROM api_keys WHERE name=?", (name,)).rowcount == 0:
                raise NotFound(f"there is no key {name}")

        self._file.write(work, durable=True)


def _read(row: tuple[Any, ...]) -> ApiKey:
    return ApiKey(row[0], row[1], from_ms(row[2]))
