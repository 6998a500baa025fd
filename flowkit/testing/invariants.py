"""`check_invariants`: what holds of every execution at every moment, whatever happened to it.

May import `flowkit.execution` and `flowkit.size`.
"""

from __future__ import annotations

from flowkit.execution import (
    OPEN,
    TERMINAL,
    UNRESOLVED,
    Branch,
    Execution,
    NodeRun,
    branch_order,
    idempotency_key,
    run_at,
    run_order,
    status_of,
)
from flowkit.size import size_of_execution


def check_invariants(execution: Execution) -> None:
    """Assert what holds of every execution at every moment.

    The counts agree with the branches, the status with the counts, ``resume_at`` with the waiting
    branches, the arrivals with the completed branches, each branch with its parent and with the
    run at its node, and each run with its branch.
    """
    _check_head(execution)
    branches = {branch.branch_id: branch for branch in execution.branches}
    runs = {run.idempotency_key: run for run in execution.executed_nodes}
    assert len(branches) == len(execution.branches)
    assert len(runs) == len(execution.executed_nodes), "a node runs once"
    assert execution.branches == sorted(
        execution.branches, key=lambda branch: branch_order(branch.branch_id)
    )
    assert execution.executed_nodes == sorted(execution.executed_nodes, key=run_order)
    arrived = [arrival for run in runs.values() for arrival in run.arrivals]
    completed = [b.branch_id for b in branches.values() if b.status == "completed"]
    assert sorted(arrived) == sorted(completed), "each branch arrives once"
    leaves = [b for b in branches.values() if b.status != "forked"]
    elsewhere = [b for b in leaves if b.status in ("merged", "failed", "cancelled", *OPEN)]
    assert len(arrived) + len(elsewhere) == len(leaves), "each leaf is somewhere, once"
    for branch in branches.values():
        _check_descent(branch, branches, runs)
        known = runs.get(idempotency_key(execution.id, branch.current_node_id))
        _check_place(branch, run_at(branch, runs.values()) or known)
    for run in runs.values():
        _check_run(execution, run, branches[run.branch_id])
    numbers = [(run.branch_id, run.sequence) for run in runs.values()]
    assert len(numbers) == len(set(numbers))


def _check_head(execution: Execution) -> None:
    opened = [b for b in execution.branches if b.status in OPEN]
    waiting = [b for b in opened if b.status == "waiting"]
    failed = [b for b in execution.branches if b.status == "failed"]
    counts = (len(opened), len(waiting), len(failed))
    assert (execution.open, execution.waiting, execution.failed) == counts
    if execution.status == "cancelled":
        assert not opened
    else:
        assert execution.status == status_of(*counts)
        assert all(b.status != "cancelled" for b in execution.branches)
    assert (execution.ended_at is not None) == (execution.status in TERMINAL)
    assert execution.bytes == size_of_execution(execution)
    assert execution.resume_at == min(
        (b.resume_at for b in waiting if b.resume_at is not None), default=None
    )


def _check_descent(branch: Branch, branches: dict[str, Branch], runs: dict[str, NodeRun]) -> None:
    assert branch.path[-1] == branch.current_node_id
    if branch.branch_id != "root":
        above, _, number = branch.branch_id.rpartition("_")
        parent = branches[above]
        assert int(number) < parent.children
        # Where the parent goes on, it does so at a JOIN.
        met = {r.node_id for r in runs.values() if r.arrivals and r.branch_id == above}
        joins = [index for index, node in enumerate(parent.path) if node in met]
        forks = [i for i in (*joins, len(parent.path)) if branch.path[:i] == parent.path[:i]]
        assert any(len(branch.path) > i for i in forks)
        assert joins or parent.status == "forked"
    assert all(f"{branch.branch_id}_{child}" in branches for child in range(branch.children))


def _check_place(branch: Branch, run: NodeRun | None) -> None:
    """Assert that a branch and the run at its node say the same."""
    own = run is not None and run.branch_id == branch.branch_id
    if branch.status == "waiting":
        assert own
        assert run is not None
        assert branch.resume_at is not None
        assert branch.resume_data is not None
        assert branch.resume_data["branchId"] == branch.branch_id
        if run.status == "failed":  # and is to be tried again
            assert branch.resume_data["nextNodeIds"] == [run.node_id]
            assert run.end_time is not None
            assert run.end_time < branch.resume_at
        else:
            assert run.status == "waiting"
    elif branch.status == "failed":
        assert own
        assert run is not None
        # Completed if that came to light after it had been given up as unknown.
        assert run.status in ("failed", "completed")
    elif branch.status == "merged":
        assert run is not None
        assert not own, "the first arrival goes on"
    elif branch.status == "forked":
        assert own
        assert run is not None
        assert run.status == "completed" or (run.arrivals and run.status != "running")
        assert branch.children > 1


def _check_run(execution: Execution, run: NodeRun, branch: Branch) -> None:
    assert run.idempotency_key == idempotency_key(execution.id, run.node_id, run.visit)
    assert run.node_id in branch.path
    assert run.arrival_count == len(run.arrivals) == len(set(run.arrivals))
    assert run.sequence < branch.sequence
    assert min(run.retry_count, 10) == len(run.attempts), "every attempt is kept, the last ten"
    here = branch.current_node_id == run.node_id
    if run.status in UNRESOLVED or run.status == "waiting":
        assert here, "a branch does not leave a node before it has ended"
        assert branch.status in (*OPEN, "cancelled") or (branch.status == "forked" and run.arrivals)
        assert branch.status != "cancelled" or run.status == "unknown"
    if run.status == "failed":
        assert here, "a branch goes no further than a failed node"
        assert run.error is not None
        assert run.error["code"]
    assert (run.end_time is None) == (run.status in ("running", "waiting", "unknown"))
