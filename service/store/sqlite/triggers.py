"""Idempotency keys in the embedded store. May import `flowkit` and what is beside it."""

from __future__ import annotations

import json
import sqlite3

from flowkit.wire import canonical, from_ms, to_ms
from service.store.base import TriggerKey
from service.store.sqlite.file import SqliteFile


class SqliteTriggers:
    """The verbs of `service.store.base.Triggers`."""

    _file: SqliteFile

    def pin(self, key: TriggerKey) -> TriggerKey:
        def work(c: sqlite3.Connection) -> TriggerKey:
            c.execute(
                "INSERT INTO trigger_keys (id, digest, seed, versions, created_at) "
                "VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",
                (key.id, key.digest, key.seed, canonical(key.versions), to_ms(key.created_at)),
            )
            digest, seed, versions, created_at = c.execute(
                "SELECT digest, seed, versions, created_at FROM trigger_keys WHERE id=?", (key.id,)
            ).fetchone()
            return TriggerKey(
                id=key.id,
                digest=digest,
                seed=seed,
                versions=tuple((flow_id, version) for flow_id, version in json.loads(versions)),
                created_at=from_ms(created_at),
            )

        return self._file.write(work, durable=True)
