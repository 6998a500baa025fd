"""The embedded store's tables, and how a record becomes a row and a row a record.

Moments are integer milliseconds, free-form data is canonical JSON text. May import `flowkit`.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

from flowkit.execution import (
    Branch,
    Execution,
    NodeRun,
    PageKey,
    Received,
    branch_order,
    idempotency_key,
    run_order,
)
from flowkit.wire import canonical, from_ms, to_ms

_FIRST = """
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
_SECOND = """
ALTER TABLE executions ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;
-- Whether branches of it are parked: ready, and without claim_at.
ALTER TABLE executions ADD COLUMN held INTEGER NOT NULL DEFAULT 0;
CREATE INDEX executions_held ON executions (flow_id) WHERE held;
CREATE INDEX executions_ended ON executions (ended_at, id) WHERE ended_at IS NOT NULL;
ALTER TABLE flows ADD COLUMN is_paused INTEGER NOT NULL DEFAULT 0;
CREATE INDEX flows_paused ON flows (id) WHERE is_paused;
ALTER TABLE flow_versions ADD COLUMN author TEXT;
ALTER TABLE flow_versions ADD COLUMN message TEXT;
ALTER TABLE flow_versions ADD COLUMN created_at INTEGER NOT NULL DEFAULT 0;
CREATE TABLE contacts (
    id TEXT PRIMARY KEY,
    attributes TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE trigger_keys (
    id TEXT PRIMARY KEY,
    digest TEXT NOT NULL,
    seed TEXT NOT NULL,
    versions TEXT NOT NULL,
    created_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX trigger_keys_by_creation ON trigger_keys (created_at);
CREATE TABLE broadcasts (
    id TEXT PRIMARY KEY,
    flow_id TEXT NOT NULL,
    document TEXT NOT NULL,
    cursor TEXT,
    batches INTEGER NOT NULL,
    next_at INTEGER,
    created_at INTEGER NOT NULL,
    revision INTEGER NOT NULL
);
CREATE INDEX broadcasts_by_creation ON broadcasts (created_at, id);
CREATE INDEX broadcasts_due ON broadcasts (next_at, id) WHERE next_at IS NOT NULL;
CREATE TABLE recipients (
    broadcast_id TEXT NOT NULL,
    number INTEGER NOT NULL,
    recipients TEXT NOT NULL,
    PRIMARY KEY (broadcast_id, number)
);
CREATE TABLE api_keys (
    name TEXT PRIMARY KEY,
    digest TEXT NOT NULL UNIQUE,
    created_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE duties (duty TEXT PRIMARY KEY, owner TEXT NOT NULL, until INTEGER NOT NULL)
WITHOUT ROWID;
CREATE TABLE metrics (
    day TEXT NOT NULL,
    flow_id TEXT NOT NULL,
    flow_version INTEGER NOT NULL,
    node_id TEXT,
    status TEXT NOT NULL,
    count INTEGER NOT NULL
);
CREATE INDEX metrics_by_day ON metrics (day, flow_id)
"""
_EVENTS = """
CREATE TABLE inbox (
    execution_id TEXT NOT NULL,
    number INTEGER NOT NULL,
    id TEXT NOT NULL,
    type TEXT NOT NULL,
    payload TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (execution_id, number)
) WITHOUT ROWID;
ALTER TABLE executions ADD COLUMN ended_by TEXT;
CREATE TABLE entries (
    flow_id TEXT NOT NULL,
    contact_id TEXT NOT NULL,
    execution_id TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (flow_id, contact_id)
) WITHOUT ROWID;
CREATE INDEX executions_live ON executions (contact_id, created_at, id)
    WHERE ended_at IS NULL AND contact_id IS NOT NULL
"""
_CELLS = """
CREATE TABLE cells (id TEXT PRIMARY KEY, state TEXT NOT NULL, expires_at INTEGER) WITHOUT ROWID;
CREATE INDEX cells_expiring ON cells (expires_at) WHERE expires_at IS NOT NULL;
CREATE TABLE cell_answers (
    key TEXT PRIMARY KEY,
    answer TEXT NOT NULL,
    created_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX cell_answers_by_age ON cell_answers (created_at)
"""
_DEBTS = """
ALTER TABLE executions ADD COLUMN owes INTEGER NOT NULL DEFAULT 0;
CREATE INDEX executions_owing ON executions (ended_at, id) WHERE owes AND ended_at IS NOT NULL
"""
MIGRATIONS = (_FIRST, _SECOND, _CELLS, _EVENTS, _DEBTS)
"""What makes an empty file one of version 1, that one of version 2, and so on."""

HEAD = (
    "id, flow_id, flow_version, status, trigger_type, contact_id, resume_at, created_at, "
    "updated_at, ended_at, open, waiting, failed, revision, bytes, ended_by, owes"
)
BRANCH = (
    "branch_id, status, current_node_id, path, resume_at, resume_data, vars, epoch, sequence, "
    "children"
)
RUN = (
    "node_id, visit, branch_id, sequence, status, start_time, end_time, source_handle, result, "
    "error, retry_count, attempts, arrivals"
)

WHOLE = ("context", "branches", "executed_nodes", "inbox")
"""What an execution has beside its head, as `fill` takes it."""

INSERT_BRANCH = f"""
INSERT INTO branches (execution_id, {BRANCH}, owner, claim_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""


_DECODER = json.JSONDecoder()


def marks(number: int) -> str:
    """Return so many question marks, for the values of a statement."""
    return ",".join("?" * number)


def text(value: Any) -> str | None:
    """Return JSON text, or None for None."""
    return None if value is None else canonical(value)


def parsed(text: str) -> Any:
    """Return the value of JSON text that `canonical` made; sooner than what reads any JSON."""
    return _DECODER.raw_decode(text)[0]


def page_clauses(after: PageKey | None) -> tuple[list[str], list[Any]]:
    """Return the conditions, and their values, of a page of a list that is newest first."""
    if after is None:
        return ["1"], []
    return ["(created_at, id) < (?, ?)"], [to_ms(after.created_at), after.id]


def head_values(e: Execution) -> tuple[Any, ...]:
    """Return an execution's head as the columns of `HEAD`."""
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
        e.bytes,
        text(e.ended_by),
        e.owes,
    )


def read_head(row: Sequence[Any]) -> Execution:
    """Return the head of a row of `HEAD`."""
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
        bytes=row[14],
        ended_by=parsed(row[15]) if row[15] else None,
        owes=bool(row[16]),
    )


def fill(c: sqlite3.Connection, executions: list[Execution], include: Iterable[str]) -> None:
    """Load what `include` names into the executions, in order: see `load`."""
    load(c, executions, include)
    for e in executions:
        e.branches.sort(key=lambda b: branch_order(b.branch_id))
        e.executed_nodes.sort(key=run_order)


def load(c: sqlite3.Connection, executions: list[Execution], include: Iterable[str]) -> None:
    """Load what `include` names into the executions, each part with one statement.

    Branches and runs come in any order.
    """
    if not executions:
        return
    by_id = {e.id: e for e in executions}
    within = f"WHERE execution_id IN ({marks(len(by_id))})"
    ids = list(by_id)
    for part in include:
        if part == "context":
            for execution_id, text in c.execute(f"SELECT * FROM contexts {within}", ids):
                by_id[execution_id].context = parsed(text)
        elif part == "branches":
            for row in c.execute(f"SELECT {BRANCH}, execution_id FROM branches {within}", ids):
                by_id[row[-1]].branches.append(read_branch(row))
        elif part == "inbox":
            for execution_id, _, *row in c.execute(
                f"SELECT * FROM inbox {within} ORDER BY execution_id, number", ids
            ):
                by_id[execution_id].inbox.append(read_event(row))
        else:
            for row in c.execute(f"SELECT {RUN}, execution_id FROM node_runs {within}", ids):
                by_id[row[-1]].executed_nodes.append(read_run(row[-1], row))


def event_values(event: Received) -> tuple[Any, ...]:
    """Return a received event as the columns of ``inbox`` behind its number."""
    return (event.id, event.type, canonical(event.payload), to_ms(event.at))


def read_event(row: Sequence[Any]) -> Received:
    """Return the event of a row as `event_values` makes it."""
    return Received(id=row[0], type=row[1], payload=parsed(row[2]), at=from_ms(row[3]))


def branch_values(b: Branch) -> tuple[Any, ...]:
    """Return a branch as the columns of `BRANCH`."""
    return (
        b.branch_id,
        b.status,
        b.current_node_id,
        canonical(b.path),
        to_ms(b.resume_at),
        text(b.resume_data),
        canonical(b.vars) if b.vars else "{}",
        b.epoch,
        b.sequence,
        b.children,
    )


def new_branch_values(
    execution_id: str, b: Branch, *, owner: str | None, now: int, lease: int
) -> tuple[Any, ...]:
    """Return a whole new row of the table of branches."""
    held = owner if b.status == "running" else None
    return (execution_id, *branch_values(b), held, claim_at(b, now, lease))


def claim_at(b: Branch, now: int, lease: int) -> int | None:
    """Return from when a branch in its status can be claimed; None if never."""
    if b.status == "ready":
        return now
    if b.status == "waiting":
        return to_ms(b.resume_at)
    return now + lease if b.status == "running" else None


def read_branch(row: Sequence[Any]) -> Branch:
    """Return the branch of a row of `BRANCH`."""
    return Branch(
        branch_id=row[0],
        status=row[1],
        current_node_id=row[2],
        path=parsed(row[3]),
        resume_at=from_ms(row[4]),
        resume_data=parsed(row[5]) if row[5] else None,
        vars={} if row[6] == "{}" else parsed(row[6]),
        epoch=row[7],
        sequence=row[8],
        children=row[9],
    )


def run_values(run: NodeRun) -> tuple[Any, ...]:
    """Return a run as the columns of `RUN`."""
    return (
        run.node_id,
        run.visit,
        run.branch_id,
        run.sequence,
        run.status,
        to_ms(run.start_time),
        to_ms(run.end_time),
        run.source_handle,
        text(run.result),
        text(run.error),
        run.retry_count,
        canonical(run.attempts) if run.attempts else "[]",
        canonical(run.arrivals) if run.arrivals else "[]",
    )


def read_run(execution_id: str, row: Sequence[Any]) -> NodeRun:
    """Return the run of a row of `RUN`."""
    arrivals = _tuple(row[12])
    return NodeRun(
        node_id=row[0],
        visit=row[1],
        branch_id=row[2],
        sequence=row[3],
        status=row[4],
        start_time=from_ms(row[5]),
        end_time=from_ms(row[6]),
        source_handle=row[7],
        result=parsed(row[8]) if row[8] else None,
        error=parsed(row[9]) if row[9] else None,
        retry_count=row[10],
        attempts=_tuple(row[11]),
        arrivals=arrivals,
        arrival_count=len(arrivals),
        idempotency_key=idempotency_key(execution_id, row[0], row[1]),
    )


def _tuple(text: str) -> tuple[Any, ...]:
    return () if text == "[]" else tuple(parsed(text))
