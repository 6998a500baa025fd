"""What people do to an execution: retry and cancel.

Both are decided on the whole execution and guarded by its revision; `engine` is their public
face. May import `flow`, `turn`, `size`, `execution`, `problems`, `errors`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from flowkit.errors import Conflict, Invalid
from flowkit.execution import (
    OPEN,
    Branch,
    BranchStatus,
    Execution,
    Move,
    NodeRun,
    Patch,
    Settle,
    run_at,
)
from flowkit.flow import Flow
from flowkit.problems import Problem, pointer
from flowkit.size import growth_of_branch, size_of_run
from flowkit.turn import asks_again, resume_data


def retry(
    execution: Execution,
    node_ids: Sequence[str] | None,
    *,
    now: datetime,
    pinned: Flow | None = None,
    version: Flow | None = None,
) -> Patch:
    """Return the patch that makes branches ready again at the node where they failed.

    Also branches that wait for the next attempt of their policy: the retry brings it forward.
    Whatever the policy counted begins anew.

    Parameters
    ----------
    execution : Execution
        Whole, with its branches and runs; the patch is guarded by its revision.
    node_ids : sequence of str, optional
        Failed nodes to retry; None means all of them.
    now : datetime
        The time of the request.
    pinned, version : Flow, optional
        With both the execution goes on in `version`, another one of its flow than the `pinned`.

    Raises
    ------
    Conflict
        When the execution is completed or cancelled, nothing in it has failed, or it is to go on
        in another version while a branch is at work.
    Invalid
        When one of `node_ids` has not failed, or `version` cannot take up every branch that goes
        on; nothing is retried then.
    """
    if execution.status in ("completed", "cancelled"):
        raise Conflict(f"execution {execution.id} is {execution.status}: nothing to retry")
    if execution.ended_by is not None and "branchId" not in execution.ended_by:
        raise Conflict(f"execution {execution.id} was left ({execution.ended_by['reason']})")
    failed = {branch.current_node_id: branch for branch in failed_branches(execution)}
    wrong = [
        Problem(
            "retry.not_failed",
            pointer("nodeIds", i),
            f"node {node} of execution {execution.id} has not failed; "
            f"failed: {', '.join(failed) or 'none'}",
        )
        for i, node in enumerate(node_ids or ())
        if node not in failed
    ]
    if wrong:
        raise Invalid(wrong)
    if not failed:
        raise Conflict(f"execution {execution.id} has no failed node to retry")
    chosen = [branch for node, branch in failed.items() if not node_ids or node in node_ids]
    patch = Patch(execution.id, revision=execution.revision, durable=True)
    for branch in chosen:
        put(patch, branch, "ready", resume_data(branch, [branch.current_node_id]))
    _reopen(patch, execution, chosen)
    if pinned is not None and version is not None and version.version != pinned.version:
        _go_on_in(patch, execution, chosen, pinned, version)
    return patch


def _reopen(patch: Patch, execution: Execution, chosen: Sequence[Branch]) -> None:
    """Enter that JOINs wait again that had failed for want of a branch which is retried."""
    retried = {branch.branch_id for branch in chosen}
    for run in execution.executed_nodes:
        error = run.error or {}
        if run.arrivals and run.status == "failed" and retried & set(error.get("branchIds", ())):
            waiting = replace(run, status="waiting", end_time=None, error=None)
            patch.settle.append(Settle(waiting, run.status, run.retry_count, run.error))
            patch.bytes += size_of_run(waiting) - size_of_run(run)


def failed_branches(execution: Execution) -> list[Branch]:
    """Return the branches that a retry is about: failed, or waiting to try a failed node again."""
    runs = execution.executed_nodes
    return [
        branch
        for branch in execution.branches
        if branch.status == "failed"
        or (branch.status == "waiting" and _run_of(branch, runs).status == "failed")
    ]


def cancel(execution: Execution, *, now: datetime) -> Patch:
    """Return the patch that ends a running or delayed execution at once.

    Waiting branches end, also those that wait for another attempt; a branch inside an effect
    goes no further, and its run is ``unknown`` until the outcome is offered as `evidence`.

    Raises
    ------
    Conflict
        When the execution has ended already.
    """
    if execution.status not in ("running", "delayed"):
        raise Conflict(f"execution {execution.id} is {execution.status} already")
    patch = Patch(execution.id, revision=execution.revision, cancel=True, durable=True)
    stop(patch, execution, None, now)
    return patch


def stop(
    patch: Patch, execution: Execution, chosen: Sequence[Branch] | None, now: datetime
) -> None:
    """Enter into a patch that open branches end where they are: those chosen, or all."""
    branches = [b for b in execution.branches if b.status in OPEN] if chosen is None else chosen
    for branch in branches:
        put(patch, branch, "cancelled")
    ids = {branch.branch_id for branch in branches}
    for run in execution.executed_nodes:
        # With all, also a JOIN at which a branch stands that is nobody's.
        changes = stopped(run, now) if chosen is None or run.branch_id in ids else {}
        if changes:
            patch.settle.append(Settle(replace(run, **changes), run.status, run.retry_count))


def stopped(run: NodeRun, now: datetime) -> dict[str, Any]:
    """Return the changes of a run whose branch ends there: one under way ends as ``unknown``."""
    if run.status == "waiting":
        return {"status": "cancelled", "end_time": now}
    return {"status": "unknown"} if run.status == "running" else {}


def put(
    patch: Patch,
    branch: Branch,
    status: BranchStatus,
    resume: dict[str, Any] | None = None,
    resume_at: datetime | None = None,
) -> None:
    """Move a branch over its owner's head: the epoch rises, so that the owner is fenced."""
    moved = replace(
        branch, status=status, epoch=branch.epoch + 1, resume_at=resume_at, resume_data=resume
    )
    patch.move.append(Move(moved, branch.epoch))
    patch.bytes += growth_of_branch(moved, branch)
    patch.count(status, branch.status)


def _run_of(branch: Branch, runs: Sequence[NodeRun]) -> NodeRun:
    run = run_at(branch, runs)
    if run is None:
        raise LookupError(f"branch {branch.branch_id} has no run where it is")
    return run


# -- another version


def _go_on_in(
    patch: Patch, execution: Execution, chosen: Sequence[Branch], pinned: Flow, version: Flow
) -> None:
    """Enter into a retry that the execution goes on in `version`; raise unless it can."""
    going = {branch.branch_id for branch in chosen}
    others = [b for b in execution.branches if b.status in OPEN and b.branch_id not in going]
    busy = [branch.current_node_id for branch in others if branch.status != "waiting"]
    if busy:
        raise Conflict(
            f"execution {execution.id} is at work at {', '.join(busy)}; it can go on in another "
            "version once nothing in it is running"
        )
    runs = execution.executed_nodes
    problems = [
        problem
        for branch in (*chosen, *others)
        for problem in _misfits(branch, _run_of(branch, runs), pinned, version)
    ]
    if problems:
        raise Invalid(problems)
    # Those that wait are moved too: whoever has claimed one meanwhile, to go on in the version
    # that it knows, is fenced or wins.
    for branch in others:
        run = _run_of(branch, runs)
        node = branch.current_node_id
        here = run.status == "failed" or asks_again(branch)
        ahead = [node] if here else version.targets(node, run.source_handle)
        put(patch, branch, "waiting", resume_data(branch, ahead), branch.resume_at)
    patch.flow_version = version.version


def _misfits(branch: Branch, run: NodeRun, pinned: Flow, version: Flow) -> Iterator[Problem]:
    """Yield why a branch cannot go on in another version."""
    node = branch.current_node_id
    types = [{n.id: n.type for n in flow.nodes}.get(node) for flow in (pinned, version)]
    where = f"version {version.version} of flow {version.id}"
    if types[0] != types[1]:
        found = f"is of type {types[1]}" if types[1] else "is gone"
        message = f"node {node} ({types[0]}), from which the execution goes on, {found} in {where}"
        yield Problem("retry.node_missing", "", message)
    elif run.status != "failed" and not version.targets(node, run.source_handle):
        message = f"the way by which the execution leaves node {node} is gone in {where}"
        yield Problem("retry.node_missing", "", message)
    else:
        behind = _reached(version, node) - version.shape.around.keys()
        for known in dict.fromkeys(branch.path[:-1]):
            if known in behind:
                message = f"node {known}, which has run already, comes after {node} in {where}"
                yield Problem("retry.node_repeated", "", message)


def _reached(flow: Flow, node_id: str) -> set[str]:
    """Return the nodes to which a way leads from a node."""
    after: dict[str, list[str]] = {}
    for edge in flow.edges:
        after.setdefault(edge.source, []).append(edge.target)
    reached: set[str] = set()
    ahead = [node_id]
    while ahead:
        for target in after.get(ahead.pop(), ()):
            if target not in reached:
                reached.add(target)
                ahead.append(target)
    return reached
