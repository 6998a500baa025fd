"""Which event a branch that waits for one goes on with, and what its node run keeps of it.

May import `flow`, `nodetype`, `scope`, `outcome`, `execution`, `errors`, `wire`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from flowkit.errors import NodeFailed
from flowkit.execution import Branch, NodeRun, Received, of_one_line
from flowkit.flow import Flow
from flowkit.nodetype import Await, Effect, Next
from flowkit.outcome import kept
from flowkit.scope import Scope
from flowkit.wire import iso

EVENT_ID = "eventId"
"""Where a run's result names the event."""


def awaiting(flow: Flow, branch: Branch, run: NodeRun, scope: Scope) -> Await | None:
    """Return what a branch that waits with a run waits for; None where it is only the time."""
    node = flow.behaviour(branch.current_node_id)
    if not node.listens():
        return None
    scope.key = run.idempotency_key
    try:
        said = node.run(scope)
    except Exception:  # it ran once; now nobody can say any more what it waits for
        return None
    step = said.then if isinstance(said, Effect) else said
    return step if isinstance(step, Await) else None


def first_fit(
    step: Await,
    branch: Branch,
    scope: Scope,
    inbox: Iterable[Received],
    runs: Mapping[str, NodeRun],
) -> Received | None:
    """Return the first event that a branch waits for and has not gone on with, or None.

    The branch has its deadline in ``resume_at``. What its ancestors and descendants went on
    with counts as its own, so that two waits in a row take two events, and siblings one each.
    """
    fitting = [
        event
        for event in inbox
        if event.type == step.event
        and (branch.resume_at is None or event.at < branch.resume_at)
        and scope.fits(step.match, event)
    ]
    if not fitting:
        return None
    used = {
        (run.result or {}).get(EVENT_ID)
        for run in runs.values()
        if of_one_line(run.branch_id, branch.branch_id)
    }
    return next((event for event in fitting if event.id not in used), None)


def went_on_with(event: Received, step: Await, most: int) -> dict[str, Any]:
    """Return the changes of a run that goes on with an event; its result has at most `most` bytes.

    ``nodes.<id>.event`` is the payload from then on, unless the node makes something else of it.
    """
    about = {EVENT_ID: event.id, "receivedAt": iso(event.at)}
    said = Next(step.received, {"event": event.payload})
    if step.taken is not None:
        said = step.taken(event.payload)
    try:
        result = kept(about | (said.result or {}), most)
    except NodeFailed as failure:
        result = about | {"omitted": failure.message}
    return {"status": "completed", "result": result, "source_handle": said.handle}
