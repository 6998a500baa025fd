"""The embedded store: one SQLite file.

Owns the verbs of the contract in `base`; `sqlite_rows` owns the tables, `sqlite_patch` the
applying of patches, `sqlite_file` how a transaction is made. May import these and `flowkit`.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from flowkit.errors import Conflict, NotFound
from flowkit.execution import (
    EXECUTION_STATUSES,
    Answer,
    BranchRef,
    Claim,
    Execution,
    ExecutionFilter,
    PageKey,
    Patch,
)
from flowkit.flow import Flow
from flowkit.wire import canonical, from_ms, to_ms
from service.store.base import StoredFlow
from service.store.sqlite_file import SqliteFile
from service.store.sqlite_patch import apply, wake
from service.store.sqlite_rows import (
    HEAD,
    INSERT_BRANCH,
    SCHEMA,
    VERSION,
    fill,
    head_values,
    marks,
    new_branch_values,
    read_head,
)

CLAIMABLE = """
SELECT execution_id, branch_id, status FROM (
    SELECT * FROM (SELECT execution_id, branch_id, status, claim_at FROM branches
        WHERE status = 'ready' AND claim_at IS NOT NULL ORDER BY claim_at LIMIT :limit)
    UNION ALL
    SELECT * FROM (SELECT execution_id, branch_id, status, claim_at FROM branches
        WHERE status = 'waiting' AND claim_at <= :now ORDER BY claim_at LIMIT :limit)
    UNION ALL
    SELECT * FROM (SELECT execution_id, branch_id, status, claim_at FROM branches
        WHERE :expired AND status = 'running' AND owner <> :owner
        AND (claim_at <= :now OR claim_at > :now + 2 * :lease) ORDER BY claim_at LIMIT :limit)
) ORDER BY claim_at, execution_id, branch_id LIMIT :limit
"""


NEXT_DUE = """
SELECT min(at) FROM (
    SELECT min(min(claim_at), :now) AS at FROM branches
        WHERE status = 'ready' AND claim_at IS NOT NULL
    UNION ALL
    SELECT min(claim_at) FROM branches WHERE status = 'waiting' AND claim_at IS NOT NULL
    UNION ALL
    SELECT min(claim_at) FROM branches WHERE status = 'running' AND claim_at IS NOT NULL
)
"""


class SqliteStore:
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
        self._file = SqliteFile(path, SCHEMA, VERSION)

    @property
    def transactions(self) -> int:
        """How many write transactions this process has committed."""
        return self._file.transactions

    # ------------------------------------------------------------------ flows

    def insert_flow(self, flow: Flow, *, publish: bool) -> None:
        def work(c: sqlite3.Connection) -> None:
            if c.execute("SELECT 1 FROM flow_versions WHERE flow_id=?", (flow.id,)).fetchone():
                raise Conflict(f"flow {flow.id} exists or existed; choose another id")
            try:
                c.execute(
                    "INSERT INTO flows VALUES (:id, :trigger_type, :is_active, :version, "
                    ":document, :created_at, 1)",
                    _flow_row(flow),
                )
            except sqlite3.IntegrityError as error:
                raise Conflict(f"flow {flow.id} exists already") from error
            if publish:
                _publish(c, flow)

        self._file.write(work, durable=True)

    def replace_flow(self, flow: Flow, *, revision: int, publish: bool) -> None:
        def work(c: sqlite3.Connection) -> None:
            changed = c.execute(
                "UPDATE flows SET trigger_type=:trigger_type, is_active=:is_active, "
                "version=:version, document=:document, revision=revision+1 "
                "WHERE id=:id AND revision=:revision",
                {**_flow_row(flow), "revision": revision},
            )
            if changed.rowcount == 0:
                raise Conflict(f"flow {flow.id} was changed or deleted meanwhile; load it again")
            if publish:
                _publish(c, flow)

        self._file.write(work, durable=True)

    def delete_flow(self, flow_id: str) -> None:
        def work(c: sqlite3.Connection) -> None:
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
            if c.execute("DELETE FROM flows WHERE id=?", (flow_id,)).rowcount == 0:
                raise NotFound(f"there is no flow {flow_id}")

        self._file.write(work, durable=True)

    def get_flow(self, flow_id: str) -> StoredFlow:
        row = self._one("SELECT document, revision FROM flows WHERE id=?", flow_id)
        if row is None:
            raise NotFound(f"there is no flow {flow_id}")
        return StoredFlow(Flow.from_dict(json.loads(row[0])), row[1])

    def get_version(self, flow_id: str, version: int) -> Flow:
        row = self._one(
            "SELECT document FROM flow_versions WHERE flow_id=? AND version=?", flow_id, version
        )
        if row is None:
            raise NotFound(f"there is no version {version} of flow {flow_id}")
        return Flow.from_dict(json.loads(row[0]))

    def list_flows(
        self,
        *,
        trigger_type: str | None = None,
        is_active: bool | None = None,
        after: PageKey | None = None,
        limit: int,
    ) -> list[Flow]:
        where, values = _page(after)
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

    # -------------------------------------------------------------- executions

    def create(self, executions: Sequence[Execution]) -> None:
        heads = [head_values(e) for e in executions]
        contexts = [(e.id, canonical(e.context)) for e in executions]
        branches = [
            new_branch_values(e.id, b, owner=None, now=to_ms(e.created_at), lease=0)
            for e in executions
            for b in e.branches
        ]

        def work(c: sqlite3.Connection) -> None:
            try:
                c.executemany(f"INSERT INTO executions ({HEAD}) VALUES ({marks(15)})", heads)
            except sqlite3.IntegrityError as error:
                raise Conflict("an execution has one of these ids already") from error
            c.executemany("INSERT INTO contexts VALUES (?, ?)", contexts)
            c.executemany(INSERT_BRANCH, branches)

        self._file.write(work, durable=True)

    def get_execution(self, execution_id: str) -> Execution:
        with self._file.reading() as c:
            row = c.execute(f"SELECT {HEAD} FROM executions WHERE id=?", (execution_id,)).fetchone()
            if row is None:
                raise NotFound(f"there is no execution {execution_id}")
            execution = read_head(row)
            fill(c, [execution], ("context", "branches", "executed_nodes"))
        return execution

    def list_executions(
        self,
        where: ExecutionFilter,
        *,
        after: PageKey | None = None,
        limit: int,
        include: Iterable[str] = (),
    ) -> list[Execution]:
        clauses, values = _page(after)
        for clause, value in (
            ("flow_id = ?", where.flow_id),
            ("contact_id = ?", where.contact_id),
            ("created_at >= ?", where.since and to_ms(where.since)),
            ("created_at < ?", where.until and to_ms(where.until)),
        ):
            if value is not None:
                clauses.append(clause)
                values.append(value)
        if where.status is not None:
            if where.status not in EXECUTION_STATUSES:
                return []
            # A literal, since SQLite uses a partial index only when it can see the value.
            clauses.append(f"status = '{where.status}'")
        with self._file.reading() as c:
            rows = c.execute(
                f"SELECT {HEAD} FROM executions WHERE {' AND '.join(clauses)} "
                "ORDER BY created_at DESC, id DESC LIMIT ?",
                (*values, limit),
            )
            executions = [read_head(row) for row in rows]
            fill(c, executions, include)
        return executions

    # ------------------------------------------------------------------ worker

    def claim(
        self, owner: str, *, now: datetime, lease_ms: int, limit: int, expired: bool = True
    ) -> list[Claim]:
        if lease_ms <= 0:
            raise ValueError("a lease must be longer than 0 ms")
        asked: dict[str, Any] = {
            "now": to_ms(now),
            "lease": lease_ms,
            "limit": limit,
            "expired": expired,
            "owner": owner,
        }
        with self._file.reading() as c:
            if c.execute(CLAIMABLE, {**asked, "limit": 1}).fetchone() is None:
                return []

        def work(c: sqlite3.Connection) -> list[Claim]:
            taken = c.execute(CLAIMABLE, asked).fetchall()
            until = asked["now"] + lease_ms
            c.executemany(
                "UPDATE branches SET status='running', owner=?, epoch=epoch+1, claim_at=? "
                "WHERE execution_id=? AND branch_id=?",
                [(owner, until, execution_id, branch_id) for execution_id, branch_id, _ in taken],
            )
            woken: dict[str, int] = {}
            by_execution: dict[str, set[str]] = {}
            for execution_id, branch_id, status in taken:
                by_execution.setdefault(execution_id, set()).add(branch_id)
                if status == "waiting":
                    woken[execution_id] = woken.get(execution_id, 0) + 1
            for execution_id, number in woken.items():
                wake(c, execution_id, number)
            return _load_claims(c, by_execution)

        return self._file.write(work, durable=False)

    def renew(self, refs: Sequence[BranchRef], *, now: datetime, lease_ms: int) -> list[BranchRef]:
        until = to_ms(now) + lease_ms

        def work(c: sqlite3.Connection) -> list[BranchRef]:
            statement = (
                "UPDATE branches SET claim_at=? WHERE execution_id=? AND branch_id=? "
                "AND epoch=? AND status='running'"
            )
            return [ref for ref in refs if c.execute(statement, (until, *ref)).rowcount == 0]

        return self._file.write(work, durable=False)

    def release(self, refs: Sequence[BranchRef], *, now: datetime) -> None:
        self._file.write(
            lambda c: c.executemany(
                "UPDATE branches SET status='ready', epoch=epoch+1, owner=NULL, claim_at=? "
                "WHERE execution_id=? AND branch_id=? AND epoch=? AND status='running'",
                [(to_ms(now), *ref) for ref in refs],
            ),
            durable=False,
        )

    def commit(self, patches: Sequence[Patch], *, now: datetime, lease_ms: int = 0) -> list[Answer]:
        at = to_ms(now)
        return self._file.write(
            lambda c: [apply(c, patch, at, lease_ms) for patch in patches],
            durable=any(patch.durable for patch in patches),
        )

    def next_due(self, *, now: datetime) -> datetime | None:
        with self._file.reading() as c:
            due: int | None
            (due,) = c.execute(NEXT_DUE, {"now": to_ms(now)}).fetchone()
        return from_ms(due)

    # ------------------------------------------------------------------- life

    def ping(self) -> None:
        self._one("SELECT 1 FROM flows LIMIT 1")

    def close(self) -> None:
        self._file.close()

    def _one(self, statement: str, *values: Any) -> Any:
        with self._file.reading() as c:
            return c.execute(statement, values).fetchone()


def _load_claims(c: sqlite3.Connection, by_execution: dict[str, set[str]]) -> list[Claim]:
    ids = list(by_execution)
    heads = [
        read_head(row)
        for row in c.execute(f"SELECT {HEAD} FROM executions WHERE id IN ({marks(len(ids))})", ids)
    ]
    fill(c, heads, ("context", "branches"))
    # A fresh execution has no runs to look for.
    fill(c, [head for head in heads if head.revision], ("executed_nodes",))
    claims = []
    for head in heads:
        branches = {b.branch_id: b for b in head.branches if b.branch_id in by_execution[head.id]}
        runs = {run.idempotency_key: run for run in head.executed_nodes}
        head.branches, head.executed_nodes = [], []
        claims.append(Claim(head, branches, runs))
    return claims


def _page(after: PageKey | None) -> tuple[list[str], list[Any]]:
    if after is None:
        return ["1"], []
    return ["(created_at, id) < (?, ?)"], [to_ms(after.created_at), after.id]


def _flow_row(flow: Flow) -> dict[str, Any]:
    return {
        "id": flow.id,
        "trigger_type": flow.trigger_type,
        "is_active": flow.is_active,
        "version": flow.version,
        "document": canonical(flow.to_dict()),
        "created_at": to_ms(flow.created_at),
    }


def _publish(c: sqlite3.Connection, flow: Flow) -> None:
    try:
        c.execute(
            "INSERT INTO flow_versions VALUES (?, ?, ?)",
            (flow.id, flow.version, canonical(flow.to_dict())),
        )
    except sqlite3.IntegrityError as error:
        raise Conflict(f"version {flow.version} of flow {flow.id} is published already") from error
