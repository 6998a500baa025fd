"""One execution as any store would keep it: what a turn of the engine makes of it.

Owns that arithmetic for drivers that keep executions in memory. Nothing that it is given is
changed, so that what came of one execution can be where others go on from. It compares no times.
May import `engine`, `execution`, `flow`, `joins`, `nodetype`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import NamedTuple

from flowkit import engine
from flowkit.engine import Ended, Limits, Performance, Resume
from flowkit.execution import (
    TERMINAL,
    Branch,
    Claim,
    Execution,
    NodeRun,
    Patch,
    judge,
    status_of,
)
from flowkit.flow import Flow
from flowkit.joins import met
from flowkit.nodetype import Outcome


class Advance(NamedTuple):
    """The execution after a turn, the effects that begin, the branches that go on and when."""

    execution: Execution
    effects: list[Performance]
    going: list[tuple[str, datetime]]


def advanced(
    flow: Flow,
    execution: Execution,
    branch_id: str,
    outcome: Outcome | None,
    *,
    now: datetime,
    limits: Limits,
) -> Advance | None:
    """Let a branch go on: its effect has ended so, or its time is up.

    Returns
    -------
    Advance or None
        None when nobody waits for that any more.
    """
    branch = next(b for b in execution.branches if b.branch_id == branch_id)
    if outcome is None and branch.status not in ("ready", "waiting"):
        return None
    execution, claim = _claimed(execution, branch)
    event = Resume(branch_id) if outcome is None else Ended(branch_id, outcome, now)
    known = {run.idempotency_key: run for run in execution.executed_nodes}
    turn = engine.advance(flow, claim, [event], now=now, limits=limits)
    while lost := _lost(turn.patch, known):
        claim = engine.with_runs(claim, lost)
        turn = engine.advance(flow, claim, [event], now=now, limits=limits)
    patch = turn.patch
    if patch.meet:
        patch, _ = met(patch, {b.branch_id: b for b in execution.branches}, known)
    execution = _committed(execution, patch, now)
    going: list[tuple[str, datetime]] = []
    for changed in (*(move.branch for move in patch.move), *patch.spawn):
        if changed.status == "ready":
            going.append((changed.branch_id, now))
        elif changed.status == "waiting" and changed.resume_at is not None:
            going.append((changed.branch_id, changed.resume_at))
    return Advance(execution, turn.effects, going)


def _lost(patch: Patch, runs: Mapping[str, NodeRun]) -> list[NodeRun]:
    """Return the runs to which a patch comes too late."""
    return judge(
        patch,
        status="running",
        revision=0,
        epochs={move.branch.branch_id: move.epoch for move in patch.move},
        runs=dict(runs),
    ).runs


def _claimed(execution: Execution, branch: Branch) -> tuple[Execution, Claim]:
    """Return the execution with a branch in the driver's hands, and the claim to it."""
    if branch.status != "running":
        waiting = execution.waiting - (branch.status == "waiting")
        taken = replace(branch, status="running", epoch=branch.epoch + 1)
        branches = [taken if b is branch else b for b in execution.branches]
        status = status_of(execution.open, waiting, execution.failed)
        execution = replace(execution, branches=branches, waiting=waiting, status=status)
        branch = taken
    runs = {run.idempotency_key: run for run in execution.executed_nodes}
    head = replace(execution, branches=[], executed_nodes=[])
    return execution, Claim(head, {branch.branch_id: branch}, runs)


def _committed(execution: Execution, patch: Patch, now: datetime) -> Execution:
    """Return the execution after a patch, whose guards hold as nobody else writes to it.

    Branches and runs are in the order in which they came to be, not in that of a store.
    """
    branches = {branch.branch_id: branch for branch in execution.branches}
    branches |= {move.branch.branch_id: move.branch for move in patch.move}
    branches |= {branch.branch_id: branch for branch in patch.spawn}
    runs = {run.idempotency_key: run for run in execution.executed_nodes}
    runs |= {run.idempotency_key: run for run in patch.append}
    runs |= {settle.run.idempotency_key: settle.run for settle in patch.settle}
    for arrival in patch.arrive:
        key = arrival.run.idempotency_key
        run = runs.get(key, arrival.run)
        arrived = tuple(dict.fromkeys((*run.arrivals, *arrival.branch_ids)))
        runs[key] = replace(
            run, arrivals=arrived, arrival_count=len(arrived), end_time=arrival.run.end_time
        )
    open_ = execution.open + patch.open
    waiting = execution.waiting + patch.waiting
    failed = execution.failed + patch.failed
    status = "cancelled" if patch.cancel else status_of(open_, waiting, failed)
    return replace(
        execution,
        branches=list(branches.values()),
        executed_nodes=list(runs.values()),
        open=open_,
        waiting=waiting,
        failed=failed,
        status=status,
        bytes=execution.bytes + patch.bytes,
        revision=execution.revision + 1,
        updated_at=now,
        ended_at=now if status in TERMINAL else None,
    )
