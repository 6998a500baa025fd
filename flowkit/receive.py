"""What an event does to an execution that is under way.

Decided on the whole execution and guarded by its revision; `engine` is its public face.
May import `flow`, `turn`, `byhand`, `inbox`, `scope`, `size`, `execution`, `errors`, `problems`.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from flowkit.byhand import put, stop
from flowkit.errors import Invalid
from flowkit.execution import Branch, Execution, NodeRun, Patch, Received, Settle
from flowkit.flow import Flow
from flowkit.inbox import awaiting, first_fit, went_on_with
from flowkit.problems import Problem
from flowkit.scope import Scope
from flowkit.size import OUTCOME_BYTES, RESERVED_BYTES, size_of_event, size_of_run
from flowkit.turn import Limits, resume_data


def receive(
    flow: Flow,
    execution: Execution,
    event: Received,
    *,
    now: datetime,
    limits: Limits = Limits(),  # noqa: B008 - frozen
) -> Patch | None:
    """Return the patch that gives an execution an event, or None when it is not concerned.

    Where the flow's settings say so, it ends the execution. Branches that wait for it are ready to
    go on. The event is kept for those that come to wait
    for it later, also for one that is on its way there now: whoever commits that it waits, not
    knowing of this event, is refused.

    Parameters
    ----------
    flow : Flow
        The version to which the execution is pinned.
    execution : Execution
        Whole, with branches, runs and inbox; the patch is guarded by its revision.
    event : Received
        What happened to the execution's contact.
    now : datetime
        The time of the change.
    limits : Limits, optional
        Bounds set by the driver.

    Raises
    ------
    Invalid
        When nobody waits for it now and there is no room to keep it for later.
    """
    if execution.ended_at is not None or event.type not in flow.listens:
        return None
    if event.at < execution.created_at:
        return None  # delivered again, and the execution has started in between
    if any(known.id == event.id for known in execution.inbox):
        return None  # delivered again
    patch = Patch(execution.id, revision=execution.revision, durable=True)
    left = limits.execution_bytes - execution.bytes - RESERVED_BYTES * execution.open
    if size_of_event(event) <= left:
        patch.receive.append(event)
        patch.bytes += size_of_event(event)
        left -= size_of_event(event)
    runs = {run.idempotency_key: run for run in execution.executed_nodes}
    reason = flow.options.ended_by(event, Scope(flow, execution, execution.branches[0], runs, now))
    if reason is not None:
        patch.ended_by = reason
        stop(patch, execution, None, now)
        return patch
    for branch in execution.branches:
        run = _waiting_run(execution, branch)
        if run is None:
            continue
        scope = Scope(flow, execution, branch, runs, now)
        step = awaiting(flow, branch, run, scope)
        if step is None or first_fit(step, branch, scope, (event,), runs) is None:
            continue
        most = min(limits.result_bytes, max(left, OUTCOME_BYTES))
        ended = replace(run, end_time=now, **went_on_with(event, step, most))
        patch.settle.append(Settle(ended, run.status, run.retry_count))
        patch.bytes += size_of_run(ended) - size_of_run(run)
        left -= size_of_run(ended) - size_of_run(run)
        put(patch, branch, "ready", resume_data(branch, [branch.current_node_id]))
    if not patch.receive and not patch.move:
        message = f"execution {execution.id} has no room to keep the event {event.type} for later"
        raise Invalid([Problem("event.no_room", "", message)])
    return patch


def _waiting_run(execution: Execution, branch: Branch) -> NodeRun | None:
    """Return the run with which a branch waits, also one that waits while its flow is paused.

    Not that of a branch which a worker holds: its commit is refused, and it looks again.
    """
    if branch.status not in ("waiting", "ready"):
        return None
    for run in execution.executed_nodes:
        here = (run.node_id, run.branch_id) == (branch.current_node_id, branch.branch_id)
        if here and run.status == "waiting":
            return run
    return None
