"""Flows and their versions in the embedded store. May import `flowkit` and what is beside it."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

from flowkit.errors import Conflict, NotFound
from flowkit.execution import PageKey
from flowkit.flow import Flow, FlowVersion
from flowkit.wire import canonical, from_ms, to_ms
from service.store.base import StoredFlow
from service.store.sqlite.file import SqliteFile
from service.store.sqlite.rows import page_clauses


class SqliteFlows:
    """The verbs of `service.store.base.Flows`."""

    _file: SqliteFile

    def insert_flow(
        self,
        flow: Flow,
        *,
        publish: bool,
        author: str | None = None,
        message: str | None = None,
    ) -> None:
        def work(c: sqlite3.Connection) -> None:
            if c.execute("SELECT 1 FROM flow_versions WHERE flow_id=?", (flow.id,)).fetchone():
                raise Conflict(f"flow {flow.id} exists or existed; choose another id")
            try:
                c.execute(
                    "INSERT INTO flows VALUES (:id, :trigger_type, :is_active, :version, "
                    ":document, :created_at, 1, :is_paused)",
                    _flow_row(flow),
                )
            except sqlite3.IntegrityError as error:
                raise Conflict(f"flow {flow.id} exists already") from error
            if publish:
                _publish(c, flow, author, message)

        self._file.write(work, durable=True)

    def replace_flow(
        self,
        flow: Flow,
        *,
        revision: int,
        publish: bool,
        author: str | None = None,
        message: str | None = None,
    ) -> None:
        def work(c: sqlite3.Connection) -> None:
            changed = c.execute(
                "UPDATE flows SET trigger_type=:trigger_type, is_active=:is_active, "
                "is_paused=:is_paused, version=:version, document=:document, revision=revision+1 "
                "WHERE id=:id AND revision=:revision",
                {**_flow_row(flow), "revision": revision},
            )
            if changed.rowcount == 0:
                raise Conflict(f"flow {flow.id} was changed or deleted meanwhile; load it again")
            if publish:
                _publish(c, flow, author, message)

        self._file.write(work, durable=True)

    def delete_flow(self, flow_id: str, *, revision: int | None = None) -> None:
        def work(c: sqlite3.Connection) -> None:
            found = c.execute("SELECT revision FROM flows WHERE id=?", (flow_id,)).fetchone()
            if found is None:
                raise NotFound(f"there is no flow {flow_id}")
            if revision not in (None, *found):
                raise Conflict(f"flow {flow_id} was changed meanwhile; load it again")
            (live,) = c.execute(
                "SELECT count(*) FROM executions WHERE flow_id=? "
                "AND (status='running' OR status='delayed')",
                (flow_id,),
            ).fetchone()
            if live:
                raise Conflict(
                    f"flow {flow_id} has {live} executions under way; cancel them with "
                    "?cancel=true or wait until they have ended"
                )
            c.execute("DELETE FROM flows WHERE id=?", (flow_id,))

        self._file.write(work, durable=True)

    def get_flow(self, flow_id: str) -> StoredFlow:
        row = self._row("SELECT document, revision FROM flows WHERE id=?", flow_id)
        if row is None:
            raise NotFound(f"there is no flow {flow_id}")
        return StoredFlow(Flow.from_dict(json.loads(row[0])), row[1])

    def get_version(self, flow_id: str, version: int) -> Flow:
        row = self._row(
            "SELECT document FROM flow_versions WHERE flow_id=? AND version=?", flow_id, version
        )
        if row is None:
            raise NotFound(f"there is no version {version} of flow {flow_id}")
        return Flow.from_dict(json.loads(row[0]))

    def list_versions(
        self, flow_id: str, *, before: int | None = None, limit: int
    ) -> list[FlowVersion]:
        with self._file.reading() as c:
            rows = c.execute(
                "SELECT version, author, message, created_at FROM flow_versions "
                "WHERE flow_id=? AND version < ? ORDER BY version DESC LIMIT ?",
                (flow_id, before if before is not None else 2**62, limit),
            ).fetchall()
        return [
            FlowVersion(
                flow_id=flow_id,
                version=version,
                author=author,
                message=message,
                created_at=from_ms(created_at),
            )
            for version, author, message, created_at in rows
        ]

    def paused_flows(self) -> frozenset[str]:
        with self._file.reading() as c:
            return frozenset(id for (id,) in c.execute("SELECT id FROM flows WHERE is_paused"))

    def list_flows(
        self,
        *,
        trigger_type: str | None = None,
        is_active: bool | None = None,
        after: PageKey | None = None,
        limit: int,
    ) -> list[Flow]:
        where, values = page_clauses(after)
        for column, value in (("trigger_type", trigger_type), ("is_active", is_active)):
            if value is not None:
                where.append(f"{column} = ?")
                values.append(value)
        with self._file.reading() as c:
            rows = c.execute(
                f"SELECT document FROM flows WHERE {' AND '.join(where)} "
                "ORDER BY created_at DESC, id DESC LIMIT ?",
                (*values, limit),
            ).fetchall()
        return [Flow.from_dict(json.loads(document)) for (document,) in rows]

    def active_versions(self, trigger_type: str) -> list[tuple[str, int]]:
        with self._file.reading() as c:
            return c.execute(
                "SELECT id, version FROM flows WHERE trigger_type=? AND is_active=1 "
                "ORDER BY created_at, id",
                (trigger_type,),
            ).fetchall()

    def _row(self, statement: str, *values: Any) -> Any:
        with self._file.reading() as c:
            return c.execute(statement, values).fetchone()


def _flow_row(flow: Flow) -> dict[str, Any]:
    return {
        "id": flow.id,
        "trigger_type": flow.trigger_type,
        "is_active": flow.is_active,
        "is_paused": flow.is_paused,
        "version": flow.version,
        "document": canonical(flow.to_dict()),
        "created_at": to_ms(flow.created_at),
    }


def _publish(c: sqlite3.Connection, flow: Flow, author: str | None, message: str | None) -> None:
    try:
        c.execute(
            "INSERT INTO flow_versions VALUES (?, ?, ?, ?, ?, ?)",
            (
                flow.id,
                flow.version,
                canonical(flow.to_dict()),
                author,
                message,
                to_ms(flow.updated_at),
            ),
        )
    except sqlite3.IntegrityError as error:
        raise Conflict(f"version {flow.version} of flow {flow.id} is published already") from error
