"""Applies patches to the rows of the embedded store, inside a transaction that the caller holds.

The guards are `flowkit.execution.judge`'s, the status rule is `status_of`'s and what becomes of
JOINs `flowkit.joins.met`'s; here is only the reading of what they ask about and the writing of what
was granted. May import `flowkit` and `rows`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
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


INSERT_EVENT = "INSERT INTO inbox VALUES (?, ?, ?, ?, ?, ?)"
TOGETHER = 100
"""Patches that are applied together."""


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


def apply(
    c: sqlite3.Connection, made: Sequence[Prepared], now: int, lease: int
) -> Iterator[Answer]:
    """Apply each patch whose guards hold, in order; see `Store.commit`.

    Those of different executions go together: one statement reads what many guards ask about, and
    one writes what many have granted.
    """
    together: dict[str, Prepared] = {}
    for one in made:
        if one.patch.execution_id in together or len(together) == TOGETHER:
            yield from _together(c, together, now, lease)
            together = {}
        together[one.patch.execution_id] = one
    if together:
        yield from _together(c, together, now, lease)


def _together(
    c: sqlite3.Connection, made: dict[str, Prepared], now: int, lease: int
) -> list[Answer]:
    """Apply patches, one an execution."""
    heads = {
        head[0]: head[1:]
        for head in c.execute(
            "SELECT id, status, revision, open, waiting, failed, ended_at FROM executions "
            f"WHERE id IN ({marks(len(made))})",
            list(made),
        )
    }
    held = _held(c, made)
    runs = _recorded(c, {id: one.patch for id, one in made.items() if id in heads and heads[id][1]})
    answers, granted, written = [], [], Written()
    for execution_id, one in made.items():
        patch = one.patch
        if execution_id not in heads:
            moved = [move.branch.branch_id for move in patch.move]
            answers.append(Answer("fenced", "cancelled", fenced=moved))
            continue
        status, revision, open_, waiting, failed, ended_at = heads[execution_id]
        ours = held.get(execution_id, {})
        known = runs.get(execution_id, {})
        asked = patch.inbox is not None or patch.receive
        inbox = _received(c, execution_id) if asked else 0
        epochs = {branch_id: epoch for branch_id, (epoch, _) in ours.items()}
        answer = judge(
            patch, status=status, revision=revision, epochs=epochs, runs=known, inbox=inbox
        )
        answers.append(answer)
        if answer.outcome == "ok":
            if patch.meet:
                patch, answer.woken = met(patch, _branches(c, execution_id), known)
                one = prepared(patch, now, lease)
            open_ += patch.open
            waiting += patch.waiting
            failed += patch.failed
            owner = next((owner for _, owner in ours.values()), None)
            written.add(one, known, inbox, owner, now, lease)
            if patch.cancel or status == "cancelled":
                status = "cancelled"
            else:
                status = status_of(open_, waiting, failed)
            if status not in TERMINAL:
                ended_at = None
            elif ended_at is None:
                ended_at = now
            granted.append((patch, (ended_at, open_, waiting, failed), answer))
        answer.status = status
        answer.open, answer.waiting, answer.failed = open_, waiting, failed
    written.write(c)
    c.executemany(
        UPDATE_HEAD,
        [
            (
                answer.status,
                earliest(c, patch.execution_id) if answer.waiting else None,
                *(now, *counts, patch.flow_version, text(patch.ended_by), patch.owes, patch.bytes),
                patch.execution_id,
            )
            for patch, counts, answer in granted
        ],
    )
    return answers


class Written:
    """The rows that granted patches write, by table."""

    def __init__(self) -> None:
        self._moved: list[tuple[Any, ...]] = []
        self._spawned: list[tuple[Any, ...]] = []
        self._new: list[tuple[Any, ...]] = []
        self._changed: list[tuple[Any, ...]] = []
        self._events: list[tuple[Any, ...]] = []

    def add(
        self,
        made: Prepared,
        runs: Mapping[str, NodeRun],
        inbox: int,
        owner: str | None,
        now: int,
        lease: int,
    ) -> None:
        """Add what a patch writes, beside these recorded runs and so many events."""
        patch = made.patch
        execution_id = patch.execution_id
        self._moved += made.moved
        self._spawned += [
            new_branch_values(execution_id, b, owner=owner, now=now, lease=lease)
            for b in patch.spawn
        ]
        self._new += made.appended
        self._changed += made.settled
        for arrival, first in zip(patch.arrive, made.arrived, strict=True):
            recorded = runs.get(arrival.run.idempotency_key)
            if recorded is None:
                self._new.append(first)
            else:
                arrivals = tuple(dict.fromkeys((*recorded.arrivals, *arrival.branch_ids)))
                run = replace(recorded, arrivals=arrivals, end_time=arrival.run.end_time)
                self._changed.append(_changed(execution_id, run))
        self._events += [
            (execution_id, n, *event_values(e)) for n, e in enumerate(patch.receive, inbox)
        ]

    def write(self, c: sqlite3.Connection) -> None:
        """Write it all."""
        for statement, rows in (
            (UPDATE_BRANCH, self._moved),
            (INSERT_BRANCH, self._spawned),
            (INSERT_RUN, self._new),
            (UPDATE_RUN, self._changed),
            (INSERT_EVENT, self._events),
        ):
            if rows:
                c.executemany(statement, rows)


def _held(
    c: sqlite3.Connection, made: Mapping[str, Prepared]
) -> dict[str, dict[str, tuple[int, str | None]]]:
    """Return epoch and owner of the branches that patches move, by execution and branch."""
    moved = {id: {move.branch.branch_id for move in one.patch.move} for id, one in made.items()}
    ids = [id for id, branches in moved.items() if branches]
    branches = list(set().union(*moved.values()))
    found: dict[str, dict[str, tuple[int, str | None]]] = {}
    for execution_id, branch_id, epoch, owner in c.execute(
        "SELECT execution_id, branch_id, epoch, owner FROM branches "
        f"WHERE execution_id IN ({marks(len(ids))}) AND branch_id IN ({marks(len(branches))})",
        (*ids, *branches),
    ):
        if branch_id in moved[execution_id]:
            found.setdefault(execution_id, {})[branch_id] = (epoch, owner)
    return found


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


def _recorded(c: sqlite3.Connection, patches: Mapping[str, Patch]) -> dict[str, dict[str, NodeRun]]:
    """Return by execution the runs that patches are about; all where one is about JOINs."""
    asked: dict[str, set[str]] = {}
    found: dict[str, dict[str, NodeRun]] = {}
    for execution_id, patch in patches.items():
        if patch.meet:
            rows = c.execute(f"SELECT {RUN} FROM node_runs WHERE execution_id=?", (execution_id,))
            runs = (read_run(execution_id, row) for row in rows)
            found[execution_id] = {run.idempotency_key: run for run in runs}
            continue
        nodes = {run.node_id for run in patch.append}
        nodes.update(settle.run.node_id for settle in patch.settle)
        nodes.update(arrival.run.node_id for arrival in patch.arrive)
        if nodes:
            asked[execution_id] = nodes
    nodes = set().union(*asked.values())
    for row in c.execute(
        f"SELECT {RUN}, execution_id FROM node_runs "
        f"WHERE execution_id IN ({marks(len(asked))}) AND node_id IN ({marks(len(nodes))})",
        (*asked, *nodes),
    ):
        execution_id = row[-1]
        if row[0] in asked[execution_id]:
            run = read_run(execution_id, row)
            found.setdefault(execution_id, {})[run.idempotency_key] = run
    return found


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
