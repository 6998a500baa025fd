"""Applies patches to the rows of the embedded store, inside a transaction that the caller holds.

The guards are `flowkit.execution.judge`'s, the status rule is `status_of`'s and what becomes of
JOINs `flowkit.joins.met`'s; here is only the reading of what they ask about and the writing of what
was granted. May import `flowkit` and
`sqlite_rows`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from flowkit.execution import TERMINAL, Answer, Branch, NodeRun, Patch, judge, status_of
from flowkit.joins import met
from flowkit.wire import canonical
from service.store.sqlite.rows import (
    BRANCH,
    INSERT_BRANCH,
    RUN,
    branch_values,
    claim_at,
    event_values,
    marks,
    new_branch_values,
    read_branch,
    read_run,
    run_values,
    text,
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
    failed=?, flow_version=coalesce(?, flow_version), ended_by=coalesce(?, ended_by),
    owes=coalesce(?, owes), bytes=bytes+?, revision=revision+1
WHERE id=?
"""


class Prepared(NamedTuple):
    """A patch, and the values of the rows that it writes as far as they are known beforehand."""

    patch: Patch
    moved: list[tuple[Any, ...]]
    appended: list[tuple[Any, ...]]
    settled: list[tuple[Any, ...]]
    arrived: list[tuple[Any, ...]]


def prepared(patch: Patch, now: int, lease: int) -> Prepared:
    """Encode what a patch writes: before the transaction, in which others wait."""
    execution_id = patch.execution_id
    moved = []
    for move in patch.move:
        b = move.branch
        held = b.status == "running"
        own = (held, held, claim_at(b, now, lease), execution_id, b.branch_id)
        moved.append((*branch_values(b)[1:], *own))
    return Prepared(
        patch,
        moved,
        [(execution_id, *run_values(run)) for run in patch.append],
        [_changed(execution_id, settle.run) for settle in patch.settle],
        [
            (execution_id, *run_values(arrival.run)[:-1], canonical(arrival.branch_ids))
            for arrival in patch.arrive
        ],
    )


def apply(c: sqlite3.Connection, made: Prepared, now: int, lease: int) -> Answer:
    """Apply a patch if its guards hold; see `Store.commit`."""
    patch = made.patch
    execution_id = patch.execution_id
    moved = [move.branch.branch_id for move in patch.move]
    found = c.execute(
        "SELECT e.status, revision, open, waiting, failed, ended_at, branch_id, epoch, owner "
        "FROM executions AS e LEFT JOIN branches AS b "
        f"ON b.execution_id = e.id AND b.branch_id IN ({marks(len(moved))}) WHERE e.id=?",
        (*moved, execution_id),
    ).fetchall()
    if not found:
        return Answer("fenced", "cancelled", fenced=moved)
    status, revision, open_, waiting, failed, ended_at, _, _, owner = found[0]
    epochs = {row[6]: row[7] for row in found}
    runs = _recorded(c, patch) if revision else {}
    asked = patch.inbox is not None or patch.receive
    inbox = _received(c, execution_id) if asked else 0
    answer = judge(patch, status=status, revision=revision, epochs=epochs, runs=runs, inbox=inbox)
    if answer.outcome == "ok":
        if patch.meet:
            patch, answer.woken = met(patch, _branches(c, execution_id), runs)
            made = prepared(patch, now, lease)
        open_, waiting, failed = open_ + patch.open, waiting + patch.waiting, failed + patch.failed
        c.executemany(UPDATE_BRANCH, made.moved)
        if patch.spawn:
            c.executemany(
                INSERT_BRANCH,
                [
                    new_branch_values(execution_id, b, owner=owner, now=now, lease=lease)
                    for b in patch.spawn
                ],
            )
        _write_runs(c, made, runs)
        if patch.receive:
            c.executemany(
                "INSERT INTO inbox VALUES (?, ?, ?, ?, ?, ?)",
                [(execution_id, n, *event_values(e)) for n, e in enumerate(patch.receive, inbox)],
            )
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
                *(patch.flow_version, text(patch.ended_by), patch.owes),
                *(patch.bytes, execution_id),
            ),
        )
    answer.status = status
    answer.open, answer.waiting, answer.failed = open_, waiting, failed
    return answer


def _received(c: sqlite3.Connection, execution_id: str) -> int:
    """Return how many events an execution has received."""
    number: int
    (number,) = c.execute(
        "SELECT count(*) FROM inbox WHERE execution_id=?", (execution_id,)
    ).fetchone()
    return number


def _branches(c: sqlite3.Connection, execution_id: str) -> dict[str, Branch]:
    rows = c.execute(f"SELECT {BRANCH} FROM branches WHERE execution_id=?", (execution_id,))
    return {branch.branch_id: branch for branch in map(read_branch, rows)}


def _recorded(c: sqlite3.Connection, patch: Patch) -> dict[str, NodeRun]:
    """Return the runs that the patch is about; all where it is about JOINs."""
    if patch.meet:
        execution_id = patch.execution_id
        rows = c.execute(f"SELECT {RUN} FROM node_runs WHERE execution_id=?", (execution_id,))
        return {run.idempotency_key: run for run in (read_run(execution_id, row) for row in rows)}
    nodes = {run.node_id for run in patch.append}
    nodes.update(settle.run.node_id for settle in patch.settle)
    nodes.update(arrival.run.node_id for arrival in patch.arrive)
    rows = c.execute(
        f"SELECT {RUN} FROM node_runs WHERE execution_id=? AND node_id IN ({marks(len(nodes))})",
        (patch.execution_id, *nodes),
    )
    return {run.idempotency_key: run for run in (read_run(patch.execution_id, row) for row in rows)}


def _write_runs(c: sqlite3.Connection, made: Prepared, runs: dict[str, NodeRun]) -> None:
    new, changed = made.appended, made.settled
    for arrival, first in zip(made.patch.arrive, made.arrived, strict=True):
        recorded = runs.get(arrival.run.idempotency_key)
        if recorded is None:
            new = [*new, first]
        else:
            arrivals = tuple(dict.fromkeys((*recorded.arrivals, *arrival.branch_ids)))
            run = replace(recorded, arrivals=arrivals, end_time=arrival.run.end_time)
            changed = [*changed, _changed(made.patch.execution_id, run)]
    if new:
        c.executemany(INSERT_RUN, new)
    if changed:
        c.executemany(UPDATE_RUN, changed)


def _changed(execution_id: str, run: NodeRun) -> tuple[Any, ...]:
    node_id, visit, *values = run_values(run)
    return (*values, execution_id, node_id, visit)


def wake(c: sqlite3.Connection, woken: Mapping[str, int]) -> None:
    """Enter into the heads how many of each execution's waiting branches run again."""
    heads = c.execute(
        f"SELECT id, open, waiting, failed FROM executions WHERE id IN ({marks(len(woken))})",
        list(woken),
    ).fetchall()
    changed = []
    for execution_id, open_, before, failed in heads:
        waiting = before - woken[execution_id]
        resume_at = earliest(c, execution_id) if waiting else None
        changed.append((status_of(open_, waiting, failed), waiting, resume_at, execution_id))
    c.executemany("UPDATE executions SET status=?, waiting=?, resume_at=? WHERE id=?", changed)


def earliest(c: sqlite3.Connection, execution_id: str) -> int | None:
    """Return when the first of an execution's waiting branches is due."""
    (resume_at,) = c.execute(
        "SELECT min(resume_at) FROM branches WHERE execution_id=? AND status='waiting'",
        (execution_id,),
    ).fetchone()
    return resume_at  # type: ignore[no-any-return]
