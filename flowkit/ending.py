"""How an execution ends before all its branches have come to an END.

Whatever ends it is recorded in ``ended_by`` together with what it rests on, such as the run of a
GOAL. From then on every branch is let go, but the line that is named there; `finish` lets go at
once of those that nobody moves. `engine` is its public face. May import `flow`, `byhand`, `joins`,
`execution`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from flowkit.byhand import stop
from flowkit.execution import OPEN, Branch, Execution, NodeRun, Patch, of_one_line
from flowkit.flow import Flow
from flowkit.joins import meetings


def by_goal(branch: Branch, run: NodeRun) -> dict[str, Any]:
    """Return the reason of an execution that ends with a goal; its branch goes on."""
    goal = (run.result or {}).get("goal")
    return {"reason": "goal", "goal": goal, "nodeId": run.node_id, "branchId": branch.branch_id}


def by_failure(branch: Branch) -> dict[str, Any]:
    """Return the reason of an execution that ends with a failed branch, which can be retried."""
    return {
        "reason": "failure",
        "nodeId": branch.current_node_id,
        "branchId": branch.branch_id,
    }


def let_go(ended_by: dict[str, Any] | None, branch: Branch, runs: Mapping[str, NodeRun]) -> bool:
    """Return whether a branch goes no further, because its execution is over."""
    if ended_by is None:
        return False
    kept: str | None = ended_by.get("branchId")
    if kept is not None and of_one_line(kept, branch.branch_id):
        return False
    while kept is not None:
        # Behind a JOIN to which it came, the branch that had forked goes on for it.
        run = _joined(kept, runs)
        if run is None:
            return True
        kept = run.branch_id
        if run.node_id in branch.path and of_one_line(kept, branch.branch_id):
            return False
    return True


def _joined(branch_id: str, runs: Mapping[str, NodeRun]) -> NodeRun | None:
    for run in runs.values():
        if branch_id in run.arrivals and branch_id.startswith(f"{run.branch_id}_"):
            return run
    return None


def finish(flow: Flow, execution: Execution, *, now: datetime) -> Patch | None:
    """Return the patch that ends at once what an execution that is over has let go of.

    Drivers commit it after a patch with ``ended_by``, deciding anew while it conflicts. What it
    leaves undone, because a driver died, each branch does for itself when it next moves.

    Parameters
    ----------
    flow : Flow
        The version to which the execution is pinned.
    execution : Execution
        Whole; the patch is guarded by its revision.
    now : datetime
        The time of the change.

    Returns
    -------
    Patch or None
        None when nothing is left to end.
    """
    runs = {run.idempotency_key: run for run in execution.executed_nodes}
    branches = [
        branch
        for branch in execution.branches
        if branch.status in OPEN and let_go(execution.ended_by, branch, runs)
    ]
    if not branches:
        return None
    patch = Patch(execution.id, revision=execution.revision, durable=True)
    stop(patch, execution, branches, now)
    was = {branch.branch_id: branch for branch in branches}
    moved = [move.branch for move in patch.move]
    patch.meet = meetings(flow, execution.id, moved, was, runs, now)
    return patch
