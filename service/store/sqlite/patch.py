"""Applies patches to the rows of the embedded store, inside a transaction that the caller holds.

The guards are `flowkit.execution.judge`'s and the status rule `status_of`'s; here is only the
reading of what they ask about and the writing of what was granted. May import `flowkit` and
`sqlite_rows`.
"""

from __future__ import annotations

import sqlite3
from dataclasses import replace

from flowkit.execution import TERMINAL, Answer, NodeRun, Patch, judge, status_of
from service.store.sqlite.rows import (
    INSERT_BRANCH,
    RUN,
    branch_values,
    claim_at,
    marks,
    new_branch_values,
    read_run,
    run_values,
)

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
    failed=?, flow_version=coalesce(?, flow_version), bytes=bytes+?, revision=revision+1
WHERE id=?
"""


def apply(c: sqlite3.Connection, patch: Patch, now: int, lease: int) -> Answer:
    """Apply a patch if its guards hold; see `Store.commit`."""
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
        resume_at = earliest(c, execution_id) if waiting else None
        c.execute(
            UPDATE_HEAD,
            (
                *(status, resume_at, now, ended_at, open_, waiting, failed),
                *(patch.flow_version, patch.bytes, execution_id),
            ),
        )
    answer.status = status
    answer.open, answer.waiting, answer.failed = open_, waiting, failed
    return answer


def _recorded(c: sqlite3.Connection, patch: Patch) -> dict[str, NodeRun]:
    nodes = {run.node_id for run in patch.append}
    nodes.update(settle.run.node_id for settle in patch.settle)
    nodes.update(arrival.run.node_id for arrival in patch.arrive)
    rows = c.execute(
        f"SELECT {RUN} FROM node_runs WHERE execution_id=? AND node_id IN ({marks(len(nodes))})",
        (patch.execution_id, *nodes),
    )
    return {run.idempotency_key: run for run in (read_run(patch.execution_id, row) for row in rows)}


def _write_branches(
    c: sqlite3.Connection, patch: Patch, now: int, lease: int, owner: str | None
) -> None:
    moved = []
    for move in patch.move:
        b = move.branch
        held = b.status == "running"
        moved.append(
            (
                *branch_values(b)[1:],
                held,
                held,
                claim_at(b, now, lease),
                patch.execution_id,
                b.branch_id,
            )
        )
    c.executemany(UPDATE_BRANCH, moved)
    if patch.spawn:
        c.executemany(
            INSERT_BRANCH,
            [
                new_branch_values(patch.execution_id, b, owner=owner, now=now, lease=lease)
                for b in patch.spawn
            ],
        )


def _write_runs(c: sqlite3.Connection, patch: Patch, runs: dict[str, NodeRun]) -> None:
    new = [(patch.execution_id, *run_values(run)) for run in patch.append]
    changed = [settle.run for settle in patch.settle]
    for arrival in patch.arrive:
        recorded = runs.get(arrival.run.idempotency_key)
        if recorded is None:
            run = replace(arrival.run, arrivals=arrival.branch_ids)
            new.append((patch.execution_id, *run_values(run)))
        else:
            arrivals = tuple(dict.fromkeys((*recorded.arrivals, *arrival.branch_ids)))
            changed.append(replace(recorded, arrivals=arrivals, end_time=arrival.run.end_time))
    if new:
        c.executemany(INSERT_RUN, new)
    for run in changed:
        node_id, visit, *values = run_values(run)
        c.execute(UPDATE_RUN, (*values, patch.execution_id, node_id, visit))


def wake(c: sqlite3.Connection, execution_id: str, number: int) -> None:
    """Enter into the head that `number` of the execution's waiting branches run again."""
    open_, waiting, failed = c.execute(
        "SELECT open, waiting - ?, failed FROM executions WHERE id=?", (number, execution_id)
    ).fetchone()
    c.execute(
        "UPDATE executions SET status=?, waiting=?, resume_at=? WHERE id=?",
        (
            status_of(open_, waiting, failed),
            waiting,
            earliest(c, execution_id) if waiting else None,
            execution_id,
        ),
    )


def earliest(c: sqlite3.Connection, execution_id: str) -> int | None:
    """Return when the first of an execution's waiting branches is due."""
    (resume_at,) = c.execute(
        "SELECT min(resume_at) FROM branches WHERE execution_id=? AND status='waiting'",
        (execution_id,),
    ).fetchone()
    return resume_at  # type: ignore[no-any-return]
