"""The engine: what happens next, as pure functions.

Owns every transition of an execution: `start`, `advance`, `retry`, `cancel`, `evidence`. Each
takes what is known and the time, and returns patches and effects; none reads a clock, draws a
random number, touches the outside or changes what it was given. Drivers (the service's worker,
the simulator) commit the patches, perform the effects and report back as events.
May import `turn`, `scope`, `outcome`, `flow`, `expression`, `jsonlogic`, `execution`,
`problems`, `errors`, `wire`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from flowkit.errors import Conflict, Invalid, NodeFailed
from flowkit.execution import (
    OPEN,
    OUTCOME_UNKNOWN,
    UNRESOLVED,
    Branch,
    BranchStatus,
    Claim,
    Execution,
    Move,
    NodeRun,
    Patch,
    Settle,
)
from flowkit.expression import search
from flowkit.flow import Flow
from flowkit.jsonlogic import evaluate, truthy
from flowkit.nodetype import Outcome
from flowkit.outcome import kept_of
from flowkit.problems import Problem
from flowkit.scope import flow_facts
from flowkit.turn import Ended as Ended
from flowkit.turn import Event as Event
from flowkit.turn import Limits as Limits
from flowkit.turn import Performance as Performance
from flowkit.turn import Resume as Resume
from flowkit.turn import Turn as Turn
from flowkit.turn import Walk, resume_data
from flowkit.wire import iso


def start(
    flow: Flow,
    payload: Any,
    *,
    execution_id: str,
    now: datetime,
    contact: dict[str, Any] | None = None,
) -> Execution | None:
    """Return the execution that a trigger starts, or None where the flow's filter says no.

    Parameters
    ----------
    flow : Flow
        Stored and valid: it has an id and a version.
    payload : JSON value
        The body of the trigger, as the sender sent it.
    execution_id : str
        Unused so far, or derived from what is started so that it is started once.
    now : datetime
        The moment of acceptance.
    contact : dict, optional
        In place of what TRIGGER's mapping finds in the payload.

    Raises
    ------
    Invalid
        When the flow expects a contact and the payload has none, or its filter or contact
        mapping cannot be applied to this payload.
    """
    trigger: Any = flow.behaviour(flow.start)
    try:
        if contact is None:
            contact = search(trigger.contact, payload)
        if trigger.filter is not None:
            facts = {
                "trigger": payload,
                "contact": contact,
                "flow": flow_facts(flow),
                "now": iso(now),
            }
            if not truthy(evaluate(trigger.filter, facts)):
                return None
    except NodeFailed as failure:
        raise Invalid([_refusal(flow, failure.code, failure.message)]) from failure
    contact_id = contact_identity(contact)
    if contact_id is None:
        if flow.expects_contact:
            raise Invalid(
                [
                    _refusal(
                        flow,
                        "trigger.contact_missing",
                        f"the mapping {trigger.contact!r} finds no object with an id, a user_id "
                        "or a phone in the payload",
                    )
                ]
            )
        contact = contact if isinstance(contact, dict) else None
    return Execution(
        id=execution_id,
        flow_id=flow.id or "",
        flow_version=flow.version,
        status="running",
        trigger_type=flow.trigger_type,
        contact_id=contact_id,
        context={"trigger": payload, "contact": contact},
        branches=[
            Branch(branch_id="root", status="ready", current_node_id=flow.start, path=[flow.start])
        ],
        created_at=now,
        updated_at=now,
    )


def contact_identity(contact: Any) -> str | None:
    """Return the stable identity of a mapped contact: its id, else user_id, else phone."""
    if isinstance(contact, dict):
        for name in ("id", "user_id", "phone"):
            value = contact.get(name)
            if isinstance(value, (str, int)) and not isinstance(value, bool) and str(value):
                return str(value)
    return None


def _refusal(flow: Flow, code: str, message: str) -> Problem:
    return Problem(code, "", f"flow {flow.id} ({flow.name}) was not started: {message}")


def advance(
    flow: Flow,
    claim: Claim,
    events: Sequence[Event],
    *,
    now: datetime,
    limits: Limits = Limits(),  # noqa: B008 - frozen
) -> Turn:
    """Move the branches named by `events` as far as they go without waiting.

    Parameters
    ----------
    flow : Flow
        The version to which the execution is pinned.
    claim : Claim
        What the driver holds; not changed.
    events : sequence of Event
        What happened to branches of the claim, at most one event a branch.
    now : datetime
        The time of everything that this turn records.
    limits : Limits, optional
        Bounds set by the driver.

    Returns
    -------
    Turn
        A patch and its effects. When the patch is refused, mend the claim with
        `without` or `with_runs` and call again with the events that are left.
    """
    turn = Walk(flow, claim, now, limits)
    for event in events:
        if isinstance(event, Resume):
            turn.resume(turn.own(event.branch_id))
        else:
            turn.ended(turn.own(event.branch_id), event)
        turn.drain()
    return turn.result()


def with_runs(claim: Claim, runs: Iterable[NodeRun]) -> Claim:
    """Return the claim knowing also `runs`, which other branches own."""
    return replace(claim, runs=claim.runs | {run.idempotency_key: run for run in runs})


def without(claim: Claim, branch_ids: Iterable[str]) -> Claim:
    """Return the claim without branches that are no longer the driver's."""
    gone = set(branch_ids)
    return replace(claim, branches={k: b for k, b in claim.branches.items() if k not in gone})


def retry(execution: Execution, node_ids: Sequence[str] | None, *, now: datetime) -> Patch:
    """Return the patch that makes failed branches ready again at the node where they failed.

    Parameters
    ----------
    execution : Execution
        Whole, with its branches; the patch is guarded by its revision.
    node_ids : sequence of str, optional
        Failed nodes to retry; None means all of them.
    now : datetime
        The time of the request.

    Raises
    ------
    Conflict
        When the execution is completed or cancelled, or nothing in it has failed.
    Invalid
        When one of `node_ids` has not failed; nothing is retried then.
    """
    if execution.status in ("completed", "cancelled"):
        raise Conflict(f"execution {execution.id} is {execution.status}: nothing to retry")
    failed = {b.current_node_id: b for b in execution.branches if b.status == "failed"}
    wrong = [node for node in node_ids or () if node not in failed]
    if wrong:
        raise Invalid(
            [
                Problem(
                    "retry.not_failed",
                    f"/nodeIds/{i}",
                    f"node {node} of execution {execution.id} has not failed; "
                    f"failed: {', '.join(failed) or 'none'}",
                )
                for i, node in enumerate(node_ids or ())
                if node in wrong
            ]
        )
    if not failed:
        raise Conflict(f"execution {execution.id} has no failed node to retry")
    patch = Patch(execution.id, revision=execution.revision, durable=True)
    for branch in execution.branches:
        if branch.status == "failed" and (not node_ids or branch.current_node_id in node_ids):
            _put(patch, branch, "ready", resume_data(branch, [branch.current_node_id]))
    return patch


def cancel(execution: Execution, *, now: datetime) -> Patch:
    """Return the patch that ends a running or delayed execution at once.

    Waiting branches end; a branch inside an effect goes no further, and its run is ``unknown``
    until the outcome is offered as `evidence`.

    Raises
    ------
    Conflict
        When the execution has ended already.
    """
    if execution.status not in ("running", "delayed"):
        raise Conflict(f"execution {execution.id} is {execution.status} already")
    patch = Patch(execution.id, revision=execution.revision, cancel=True, durable=True)
    for branch in execution.branches:
        if branch.status in OPEN:
            _put(patch, branch, "cancelled")
    for run in execution.executed_nodes:
        if run.status == "waiting":
            ended = replace(run, status="cancelled", end_time=now)
            patch.settle.append(Settle(ended, run.status, run.retry_count))
        elif run.status == "running":
            patch.settle.append(Settle(replace(run, status="unknown"), run.status, run.retry_count))
    return patch


def _put(
    patch: Patch, branch: Branch, status: BranchStatus, resume: dict[str, Any] | None = None
) -> None:
    """Move a branch over its owner's head: the epoch rises, so that the owner is fenced."""
    moved = replace(
        branch, status=status, epoch=branch.epoch + 1, resume_at=None, resume_data=resume
    )
    patch.move.append(Move(moved, branch.epoch))
    patch.count(status, branch.status)


def evidence(
    execution_id: str,
    run: NodeRun,
    attempt: int,
    outcome: Outcome,
    at: datetime,
    limits: Limits = Limits(),  # noqa: B008 - frozen
) -> Patch | None:
    """Return the patch that settles an unresolved run by an outcome learned too late to lead on.

    A worker that lost its lease, or whose execution was cancelled, offers what it learned. It
    is taken when the run is still unresolved, or failed only because nobody knew; a retry then
    goes on from it without performing the effect again. None when the run is settled otherwise
    or `outcome` knows nothing.
    """
    blind = run.status == "failed" and (run.error or {}).get("code") == OUTCOME_UNKNOWN
    if run.retry_count != attempt or outcome.status == "unknown":
        return None
    if run.status not in UNRESOLVED and not blind:
        return None
    told = kept_of(outcome, limits.result_bytes)
    known = replace(run, status=told.status, result=told.result, error=told.error, end_time=at)
    return Patch(execution_id, settle=[Settle(known, run.status, run.retry_count)], durable=True)
