"""One execution as any store would keep it: what a turn of the engine makes of it.

Owns the turns of drivers that keep executions in memory. Nothing that it is given is changed, so
that what came of one execution can be where others go on from.
May import `engine`, `errors`, `execution`, `flow`, `joins`, `nodetype`, `patched`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import NamedTuple

from flowkit import engine
from flowkit.engine import Ended, Limits, Performance, Received, Resume
from flowkit.errors import Invalid
from flowkit.execution import (
    Branch,
    Claim,
    Execution,
    NodeRun,
    Patch,
    judge,
    run_at,
    status_of,
)
from flowkit.flow import Flow
from flowkit.joins import met
from flowkit.nodetype import Outcome
from flowkit.patched import patched


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
    if outcome is None and not _goes_on(branch, now):
        return None
    if outcome is not None and branch.status != "running":
        return _late(execution, branch, outcome, now, limits)
    execution, claim = _claimed(execution, branch)
    event = Resume(branch_id) if outcome is None else Ended(branch_id, outcome, now)
    known = {run.idempotency_key: run for run in execution.executed_nodes}
    turn = engine.advance(flow, claim, [event], now=now, limits=limits)
    while lost := _lost(turn.patch, known):
        claim = engine.with_runs(claim, lost)
        turn = engine.advance(flow, claim, [event], now=now, limits=limits)
    execution, going = _committed(execution, turn.patch, now)
    rest = None
    if turn.patch.ended_by is not None and execution.open:
        rest = engine.finish(flow, execution, now=now)
    if rest is not None:
        execution, more = _committed(execution, rest, now)
        going += more
    return Advance(execution, turn.effects, going)


def _goes_on(branch: Branch, now: datetime) -> bool:
    """Return whether a branch can be claimed: a time may be up for which it waits no more."""
    if branch.status == "waiting":
        return branch.resume_at is not None and branch.resume_at <= now
    return branch.status == "ready"


def received(
    flow: Flow, execution: Execution, event: Received, *, now: datetime, limits: Limits
) -> Advance | None:
    """Give an event to an execution.

    Returns
    -------
    Advance or None
        None when it is not concerned, or there is no room to keep the event for later.
    """
    try:
        patch = engine.receive(flow, execution, event, now=now, limits=limits)
    except Invalid:
        return None
    if patch is None:
        return None
    execution, going = _committed(execution, patch, now)
    return Advance(execution, [], going)


def cancelled(execution: Execution, *, now: datetime) -> Execution:
    """Return an execution under way as it is when it has been cancelled."""
    return _committed(execution, engine.cancel(execution, now=now), now)[0]


def _late(
    execution: Execution, branch: Branch, outcome: Outcome, now: datetime, limits: Limits
) -> Advance | None:
    """Record how an effect has ended whose branch was let go meanwhile: it leads on to nothing."""
    run = run_at(branch, execution.executed_nodes)
    if run is None:
        return None
    patch = engine.evidence(execution.id, run, run.retry_count, outcome, now, limits)
    if patch is None:
        return None
    execution, going = _committed(execution, patch, now)
    return Advance(execution, [], going)


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


def _committed(
    execution: Execution, patch: Patch, now: datetime
) -> tuple[Execution, list[tuple[str, datetime]]]:
    """Return the execution after a patch, and the branches that go on from it and when.

    The guards hold, as nobody else writes to it. Branches and runs are in the order in which they
    came to be, not in that of a store.
    """
    branches = {branch.branch_id: branch for branch in execution.branches}
    runs = {run.idempotency_key: run for run in execution.executed_nodes}
    if patch.meet:
        patch, _ = met(patch, branches, runs)
    changed = (*(move.branch for move in patch.move), *patch.spawn)
    going = [
        (branch.branch_id, now if branch.status == "ready" else branch.resume_at)
        for branch in changed
        if branch.status in ("ready", "waiting")
    ]
    after = patched(execution, patch, branches, runs, now)
    return after, [(branch_id, at) for branch_id, at in going if at is not None]
