"""The embedded store: normalised rows in one SQLite file.

Owns the tables and the statements, nothing else; `base` says what each call must do and
`sqlite_file` how a transaction is made. Moments are integer milliseconds, free-form data is
canonical JSON text. May import `flowkit`, `base`, `sqlite_file`.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from flowkit.errors import Conflict, NotFound
from flowkit.execution import (
    EXECUTION_STATUSES,
    TERMINAL,
    Answer,
    Branch,
    Claim,
    Execution,
    NodeRun,
    Patch,
    branch_order,
    idempotency_key,
    judge,
    run_order,
    status_of,
)
from flowkit.flow import Flow
from flowkit.wire import canonical, from_ms, to_ms
from service.store.base import BranchRef, ExecutionFilter, PageKey, StoredFlow
from service.store.sqlite_file import SqliteFile

VERSION = 1
SCHEMA = """
CREATE TABLE flows (
    id TEXT PRIMARY KEY,
    trigger_type TEXT NOT NULL,
    is_active INTEGER NOT NULL,
    version INTEGER NOT NULL,
    document TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    revision INTEGER NOT NULL
);
CREATE INDEX flows_by_trigger ON flows (trigger_type, is_active);
CREATE INDEX flows_by_creation ON flows (created_at, id);
CREATE TABLE flow_versions (
    flow_id TEXT NOT NULL,
    version INTEGER NOT NULL,
    document TEXT NOT NULL,
    PRIMARY KEY (flow_id, version)
);
CREATE TABLE executions (
    id TEXT PRIMARY KEY,
    flow_id TEXT NOT NULL,
    flow_version INTEGER NOT NULL,
    status TEXT NOT NULL,
    trigger_type TEXT NOT NULL,
    contact_id TEXT,
    resume_at INTEGER,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    ended_at INTEGER,
    open INTEGER NOT NULL,
    waiting INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    revision INTEGER NOT NULL
);
CREATE INDEX executions_by_creation ON executions (created_at, id);
CREATE INDEX executions_by_flow ON executions (flow_id, created_at, id);
CREATE INDEX executions_by_contact ON executions (contact_id, created_at, id)
    WHERE contact_id IS NOT NULL;
CREATE INDEX executions_by_status ON executions (status, created_at, id)
    WHERE status <> 'completed';
-- Apart from the head, which is rewritten with every commit while this never changes.
CREATE TABLE contexts (execution_id TEXT PRIMARY KEY, context TEXT NOT NULL);
CREATE TABLE branches (
    execution_id TEXT NOT NULL,
    branch_id TEXT NOT NULL,
    status TEXT NOT NULL,
    current_node_id TEXT NOT NULL,
    path TEXT NOT NULL,
    resume_at INTEGER,
    resume_data TEXT,
    vars TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    children INTEGER NOT NULL,
    owner TEXT,
    -- ready: since when; waiting: until when; running: the end of the lease; ended: null
    claim_at INTEGER,
    PRIMARY KEY (execution_id, branch_id)
) WITHOUT ROWID;
CREATE INDEX branches_claimable ON branches (status, claim_at) WHERE claim_at IS NOT NULL;
CREATE TABLE node_runs (
    execution_id TEXT NOT NULL,
    node_id TEXT NOT NULL,
    visit INTEGER NOT NULL,
    branch_id TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    status TEXT NOT NULL,
    start_time INTEGER NOT NULL,
    end_time INTEGER,
    source_handle TEXT,
    result TEXT,
    error TEXT,
    retry_count INTEGER NOT NULL,
    attempts TEXT NOT NULL,
    arrivals TEXT NOT NULL,
    PRIMARY KEY (execution_id, node_id, visit)
) WITHOUT ROWID
"""

HEAD = (
    "id, flow_id, flow_version, status, trigger_type, contact_id, resume_at, created_at, "
    "updated_at, ended_at, open, waiting, failed, revision"
)
BRANCH = (
    "branch_id, status, current_node_id, path, resume_at, resume_data, vars, epoch, sequence, "
    "children"
)
RUN = (
    "node_id, visit, branch_id, sequence, status, start_time, end_time, source_handle, result, "
    "error, retry_count, attempts, arrivals"
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
        AND (claim_at <= :now OR claim_at > :now + :lease) ORDER BY claim_at LIMIT :limit)
) ORDER BY claim_at, execution_id, branch_id LIMIT :limit
"""

INSERT_BRANCH = f"""
INSERT INTO branches (execution_id, {BRANCH}, owner, claim_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
UPDATE_BRANCH = """
UPDATE branches SET status=?, current_node_id=?, path=?, resume_at=?, resume_data=?, vars=?,
    epoch=?, sequence=?, children=?, owner=iif(?, owner, NULL), claim_at=iif(?, claim_at, ?)
WHERE execution_id=? AND branch_id=?
"""
INSERT_RUN = f"""
INSERT INTO node_runs (execution_id, {RUN}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
UPDATE_RUN = """
UPDATE node_runs SET branch_id=?, sequence=?, status=?, start_time=?, end_time=?,
    source_handle=?, result=?, error=?, retry_count=?, attempts=?, arrivals=?
WHERE execution_id=? AND node_id=? AND visit=?
"""
UPDATE_HEAD = """
UPDATE executions SET status=?, resume_at=?, updated_at=?, ended_at=?, open=?, waiting=?,
    failed=?, revision=revision+1
WHERE id=?
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
            c.execute(
                "DELETE FROM flow_versions WHERE flow_id=? AND version NOT IN "
                "(SELECT flow_version FROM executions WHERE flow_id=?)",
                (flow_id, flow_id),
            )

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
        rows = self._file.reader().execute(
            f"SELECT document FROM flows WHERE {' AND '.join(where)} "
            "ORDER BY created_at DESC, id DESC LIMIT ?",
            (*values, limit),
        )
        return [Flow.from_dict(json.loads(document)) for (document,) in rows]

    def active_versions(self, trigger_type: str) -> list[tuple[str, int]]:
        return self._file.reader().execute(
            "SELECT id, version FROM flows WHERE trigger_type=? AND is_active=1 "
            "ORDER BY created_at, id",
            (trigger_type,),
        ).fetchall()  # fmt: skip

    # -------------------------------------------------------------- executions

    def create(self, executions: Sequence[Execution]) -> None:
        heads = [_head_row(e) for e in executions]
        contexts = [(e.id, canonical(e.context)) for e in executions]
        branches = [
            _new_branch_row(e.id, b, owner=None, now=to_ms(e.created_at), lease=0)
            for e in executions
            for b in e.branches
        ]

        def work(c: sqlite3.Connection) -> None:
            c.executemany(f"INSERT INTO executions ({HEAD}) VALUES ({_marks(14)})", heads)
            c.executemany("INSERT INTO contexts VALUES (?, ?)", contexts)
            c.executemany(INSERT_BRANCH, branches)

        self._file.write(work, durable=True)

    def get_execution(self, execution_id: str) -> Execution:
        c = self._file.reader()
        c.execute("BEGIN")  # one snapshot for the head and its parts
        try:
            row = c.execute(f"SELECT {HEAD} FROM executions WHERE id=?", (execution_id,)).fetchone()
            if row is None:
                raise NotFound(f"there is no execution {execution_id}")
            execution = _head(row)
            _fill(c, [execution], ("context", "branches", "executed_nodes"))
        finally:
            c.execute("ROLLBACK")
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
        c = self._file.reader()
        c.execute("BEGIN")
        try:
            executions = [
                _head(row)
                for row in c.execute(
                    f"SELECT {HEAD} FROM executions WHERE {' AND '.join(clauses)} "
                    "ORDER BY created_at DESC, id DESC LIMIT ?",
                    (*values, limit),
                )
            ]
            _fill(c, executions, include)
        finally:
            c.execute("ROLLBACK")
        return executions

    # ------------------------------------------------------------------ worker

    def claim(
        self, owner: str, *, now: datetime, lease_ms: int, limit: int, expired: bool = True
    ) -> list[Claim]:
        if lease_ms <= 0:
            raise ValueError("a lease must be longer than 0 ms")
        asked = {
            "now": to_ms(now),
            "lease": lease_ms,
            "limit": limit,
            "expired": expired,
            "owner": owner,
        }
        if self._file.reader().execute(CLAIMABLE, {**asked, "limit": 1}).fetchone() is None:
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
                _wake(c, execution_id, number)
            return _load_claims(c, by_execution)

        return self._file.write(work, durable=False)

    def renew(
        self, refs: Sequence[BranchRef], *, now: datetime, lease_ms: int
    ) -> list[BranchRef]:
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
                "UPDATE branches SET status='ready', owner=NULL, claim_at=? "
                "WHERE execution_id=? AND branch_id=? AND epoch=? AND status='running'",
                [(to_ms(now), *ref) for ref in refs],
            ),
            durable=False,
        )

    def commit(
        self, patches: Sequence[Patch], *, now: datetime, lease_ms: int = 0
    ) -> list[Answer]:
        at = to_ms(now)
        return self._file.write(
            lambda c: [_apply(c, patch, at, lease_ms) for patch in patches],
            durable=any(patch.durable for patch in patches),
        )

    def next_due(self, *, now: datetime) -> datetime | None:
        (due,) = self._file.reader().execute(
            "SELECT min(at) FROM ("
            "SELECT min(claim_at, :now) AS at FROM branches WHERE status='ready' "
            "AND claim_at IS NOT NULL "
            "UNION ALL SELECT min(claim_at) FROM branches WHERE status='waiting' "
            "AND claim_at IS NOT NULL "
            "UNION ALL SELECT min(claim_at) FROM branches WHERE status='running' "
            "AND claim_at IS NOT NULL)",
            {"now": to_ms(now)},
        ).fetchone()  # fmt: skip
        return from_ms(due)

    # ------------------------------------------------------------------- life

    def ping(self) -> None:
        self._one("SELECT 1 FROM flows LIMIT 1")

    def close(self) -> None:
        self._file.close()

    def _one(self, statement: str, *values: Any) -> Any:
        return self._file.reader().execute(statement, values).fetchone()


# ------------------------------------------------------------------------ applying patches


def _apply(c: sqlite3.Connection, patch: Patch, now: int, lease: int) -> Answer:
    execution_id = patch.execution_id
    head = c.execute(
        "SELECT status, revision, open, waiting, failed, ended_at FROM executions WHERE id=?",
        (execution_id,),
    ).fetchone()
    if head is None:
        return Answer("fenced", "cancelled", fenced=[m.branch.branch_id for m in patch.move])
    status, revision, open_, waiting, failed, ended_at = head
    epochs, owner = {}, None
    for move in patch.move:
        found = c.execute(
            "SELECT epoch, owner FROM branches WHERE execution_id=? AND branch_id=?",
            (execution_id, move.branch.branch_id),
        ).fetchone()
        if found is not None:
            epochs[move.branch.branch_id], owner = found
    runs = _recorded(c, patch) if revision else {}
    answer = judge(patch, status=status, revision=revision, epochs=epochs, runs=runs)
    if answer.outcome == "ok":
        open_, waiting, failed = open_ + patch.open, waiting + patch.waiting, failed + patch.failed
        _write_branches(c, patch, now, lease, owner)
        _write_runs(c, patch, runs)
        if patch.cancel or status == "cancelled":
            status = "cancelled"
        else:
            status = status_of(open_, waiting, failed)
        if status not in TERMINAL:
            ended_at = None
        elif ended_at is None:
            ended_at = now
        resume_at = _earliest(c, execution_id) if waiting else None
        c.execute(
            UPDATE_HEAD, (status, resume_at, now, ended_at, open_, waiting, failed, execution_id)
        )
    answer.status = status
    answer.open, answer.waiting, answer.failed = open_, waiting, failed
    return answer


def _recorded(c: sqlite3.Connection, patch: Patch) -> dict[str, NodeRun]:
    nodes = {run.node_id for run in patch.append}
    nodes.update(settle.run.node_id for settle in patch.settle)
    nodes.update(arrival.run.node_id for arrival in patch.arrive)
    rows = c.execute(
        f"SELECT {RUN} FROM node_runs WHERE execution_id=? AND node_id IN ({_marks(len(nodes))})",
        (patch.execution_id, *nodes),
    )
    return {run.idempotency_key: run for run in (_run(patch.execution_id, row) for row in rows)}


def _write_branches(
    c: sqlite3.Connection, patch: Patch, now: int, lease: int, owner: str | None
) -> None:
    moved = []
    for move in patch.move:
        b = move.branch
        held = b.status == "running"
        moved.append(
            (
                *_branch_values(b)[1:],
                held,
                held,
                _claim_at(b, now, lease),
                patch.execution_id,
                b.branch_id,
            )
        )
    c.executemany(UPDATE_BRANCH, moved)
    if patch.spawn:
        c.executemany(
            INSERT_BRANCH,
            [
                _new_branch_row(patch.execution_id, b, owner=owner, now=now, lease=lease)
                for b in patch.spawn
            ],
        )


def _write_runs(c: sqlite3.Connection, patch: Patch, runs: dict[str, NodeRun]) -> None:
    new = [(patch.execution_id, *_run_values(run)) for run in patch.append]
    changed = [settle.run for settle in patch.settle]
    for arrival in patch.arrive:
        recorded = runs.get(arrival.run.idempotency_key)
        if recorded is None:
            run = replace(arrival.run, arrivals=arrival.branch_ids)
            new.append((patch.execution_id, *_run_values(run)))
        else:
            arrivals = tuple(dict.fromkeys((*recorded.arrivals, *arrival.branch_ids)))
            changed.append(replace(recorded, arrivals=arrivals, end_time=arrival.run.end_time))
    if new:
        c.executemany(INSERT_RUN, new)
    for run in changed:
        node_id, visit, *values = _run_values(run)
        c.execute(UPDATE_RUN, (*values, patch.execution_id, node_id, visit))


def _wake(c: sqlite3.Connection, execution_id: str, number: int) -> None:
    """Enter into the head that `number` of the execution's waiting branches run again."""
    open_, waiting, failed = c.execute(
        "SELECT open, waiting - ?, failed FROM executions WHERE id=?", (number, execution_id)
    ).fetchone()
    c.execute(
        "UPDATE executions SET status=?, waiting=?, resume_at=? WHERE id=?",
        (
            status_of(open_, waiting, failed),
            waiting,
            _earliest(c, execution_id) if waiting else None,
            execution_id,
        ),
    )


def _earliest(c: sqlite3.Connection, execution_id: str) -> int | None:
    (resume_at,) = c.execute(
        "SELECT min(resume_at) FROM branches WHERE execution_id=? AND status='waiting'",
        (execution_id,),
    ).fetchone()
    return resume_at  # type: ignore[no-any-return]


def _load_claims(c: sqlite3.Connection, by_execution: dict[str, set[str]]) -> list[Claim]:
    ids = list(by_execution)
    heads = [
        _head(row)
        for row in c.execute(f"SELECT {HEAD} FROM executions WHERE id IN ({_marks(len(ids))})", ids)
    ]
    _fill(c, heads, ("context", "branches"))
    # A fresh execution has no runs to look for.
    _fill(c, [head for head in heads if head.revision], ("executed_nodes",))
    claims = []
    for head in heads:
        branches = {
            b.branch_id: b for b in head.branches if b.branch_id in by_execution[head.id]
        }
        runs = {run.idempotency_key: run for run in head.executed_nodes}
        head.branches, head.executed_nodes = [], []
        claims.append(Claim(head, branches, runs))
    return claims


# ----------------------------------------------------------------------------- rows


def _marks(number: int) -> str:
    return ",".join("?" * number)


def _page(after: PageKey | None) -> tuple[list[str], list[Any]]:
    if after is None:
        return ["1"], []
    return ["(created_at, id) < (?, ?)"], [to_ms(after.created_at), after.id]


def _text(value: Any) -> str | None:
    return None if value is None else canonical(value)


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


def _head_row(e: Execution) -> tuple[Any, ...]:
    return (
        e.id,
        e.flow_id,
        e.flow_version,
        e.status,
        e.trigger_type,
        e.contact_id,
        to_ms(e.resume_at),
        to_ms(e.created_at),
        to_ms(e.updated_at),
        to_ms(e.ended_at),
        e.open,
        e.waiting,
        e.failed,
        e.revision,
    )


def _head(row: Sequence[Any]) -> Execution:
    return Execution(
        id=row[0],
        flow_id=row[1],
        flow_version=row[2],
        status=row[3],
        trigger_type=row[4],
        contact_id=row[5],
        resume_at=from_ms(row[6]),
        created_at=from_ms(row[7]),
        updated_at=from_ms(row[8]),
        ended_at=from_ms(row[9]),
        open=row[10],
        waiting=row[11],
        failed=row[12],
        revision=row[13],
    )


def _fill(c: sqlite3.Connection, executions: list[Execution], include: Iterable[str]) -> None:
    """Load what `include` names into the executions, each part with one statement."""
    if not executions:
        return
    by_id = {e.id: e for e in executions}
    within = f"WHERE execution_id IN ({_marks(len(by_id))})"
    ids = list(by_id)
    for part in include:
        if part == "context":
            for execution_id, text in c.execute(f"SELECT * FROM contexts {within}", ids):
                by_id[execution_id].context = json.loads(text)
        elif part == "branches":
            for row in c.execute(f"SELECT {BRANCH}, execution_id FROM branches {within}", ids):
                by_id[row[-1]].branches.append(_branch(row))
            for e in executions:
                e.branches.sort(key=lambda b: branch_order(b.branch_id))
        else:
            for row in c.execute(f"SELECT {RUN}, execution_id FROM node_runs {within}", ids):
                by_id[row[-1]].executed_nodes.append(_run(row[-1], row))
            for e in executions:
                e.executed_nodes.sort(key=run_order)


def _branch_values(b: Branch) -> tuple[Any, ...]:
    return (
        b.branch_id,
        b.status,
        b.current_node_id,
        canonical(b.path),
        to_ms(b.resume_at),
        _text(b.resume_data),
        canonical(b.vars),
        b.epoch,
        b.sequence,
        b.children,
    )


def _new_branch_row(
    execution_id: str, b: Branch, *, owner: str | None, now: int, lease: int
) -> tuple[Any, ...]:
    held = owner if b.status == "running" else None
    return (execution_id, *_branch_values(b), held, _claim_at(b, now, lease))


def _claim_at(b: Branch, now: int, lease: int) -> int | None:
    if b.status == "ready":
        return now
    if b.status == "waiting":
        return to_ms(b.resume_at)
    return now + lease if b.status == "running" else None


def _branch(row: Sequence[Any]) -> Branch:
    return Branch(
        branch_id=row[0],
        status=row[1],
        current_node_id=row[2],
        path=json.loads(row[3]),
        resume_at=from_ms(row[4]),
        resume_data=json.loads(row[5]) if row[5] else None,
        vars=json.loads(row[6]),
        epoch=row[7],
        sequence=row[8],
        children=row[9],
    )


def _run_values(run: NodeRun) -> tuple[Any, ...]:
    return (
        run.node_id,
        run.visit,
        run.branch_id,
        run.sequence,
        run.status,
        to_ms(run.start_time),
        to_ms(run.end_time),
        run.source_handle,
        _text(run.result),
        _text(run.error),
        run.retry_count,
        canonical(run.attempts) if run.attempts else "[]",
        canonical(run.arrivals) if run.arrivals else "[]",
    )


def _run(execution_id: str, row: Sequence[Any]) -> NodeRun:
    arrivals = tuple(json.loads(row[12]))
    return NodeRun(
        node_id=row[0],
        visit=row[1],
        branch_id=row[2],
        sequence=row[3],
        status=row[4],
        start_time=from_ms(row[5]),
        end_time=from_ms(row[6]),
        source_handle=row[7],
        result=json.loads(row[8]) if row[8] else None,
        error=json.loads(row[9]) if row[9] else None,
        retry_count=row[10],
        attempts=tuple(json.loads(row[11])),
        arrivals=arrivals,
        arrival_count=len(arrivals),
        idempotency_key=idempotency_key(execution_id, row[0], row[1]),
    )
