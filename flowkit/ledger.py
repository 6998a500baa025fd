"""One execution as any store would keep it: what a claim and a patch make of it.

Owns that arithmetic for drivers that keep executions in memory. Nothing that it is given is
changed, so that what came of one execution can be where others go on from. It compares no times.
May import `execution` and `turn`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from flowkit.execution import TERMINAL, Claim, Execution, Patch, status_of


def claimed(execution: Execution, branch_id: str) -> tuple[Execution, Claim]:
    """Return the execution with a branch in the driver's hands, and the claim to it."""
    (branch,) = [b for b in execution.branches if b.branch_id == branch_id]
    if branch.status != "running":
        waiting = execution.waiting - (branch.status == "waiting")
        taken = replace(branch, status="running", epoch=branch.epoch + 1)
        branches = [taken if b is branch else b for b in execution.branches]
        status = status_of(execution.open, waiting, execution.failed)
        execution = replace(execution, branches=branches, waiting=waiting, status=status)
        branch = taken
    runs = {run.idempotency_key: run for run in execution.executed_nodes}
    head = replace(execution, branches=[], executed_nodes=[])
    return execution, Claim(head, {branch_id: branch}, runs)


def committed(execution: Execution, patch: Patch, now: Any) -> Execution:
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
