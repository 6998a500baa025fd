"""What a patch makes of one execution's records, wherever they are kept in memory.

Owns that arithmetic; whether the patch may be applied is decided before, by `execution.judge` and
`joins.met`. Imports `execution` only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from flowkit.execution import TERMINAL, Branch, Execution, NodeRun, Patch, status_of


def patched(
    execution: Execution,
    patch: Patch,
    branches: Mapping[str, Branch],
    runs: Mapping[str, NodeRun],
    now: datetime,
) -> Execution:
    """Return the execution after a patch whose guards hold and whose meetings are settled.

    Nothing that is given is changed. Branches and runs are in the order in which they came to be,
    not in that of a store, and `resume_at` is left as it was.

    Parameters
    ----------
    branches, runs : mapping
        The execution's own: branches by id, runs by idempotency key.
    """
    branches = {
        **branches,
        **{move.branch.branch_id: move.branch for move in patch.move},
        **{branch.branch_id: branch for branch in patch.spawn},
    }
    runs = {
        **runs,
        **{run.idempotency_key: run for run in patch.append},
        **{settle.run.idempotency_key: settle.run for settle in patch.settle},
    }
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
    cancelled = patch.cancel or execution.status == "cancelled"
    status = "cancelled" if cancelled else status_of(open_, waiting, failed)
    return replace(
        execution,
        branches=list(branches.values()),
        executed_nodes=list(runs.values()),
        inbox=[*execution.inbox, *patch.receive] if patch.receive else execution.inbox,
        open=open_,
        waiting=waiting,
        failed=failed,
        status=status,
        bytes=execution.bytes + patch.bytes,
        flow_version=(execution.flow_version if patch.flow_version is None else patch.flow_version),
        ended_by=patch.ended_by or execution.ended_by,
        owes=execution.owes if patch.owes is None else patch.owes,
        revision=execution.revision + 1,
        updated_at=now,
        ended_at=(execution.ended_at or now) if status in TERMINAL else None,
    )
