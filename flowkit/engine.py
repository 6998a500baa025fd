"""The engine: what happens next, as pure functions.

Owns every transition of an execution: `start`, `advance`, `receive`, `finish`, `retry`,
`cancel`, `evidence`. Each
takes what is known and the time, and returns patches and effects; none reads a clock, draws a
random number, touches the outside or changes what it was given. Drivers (the service's worker,
the simulator) commit the patches, perform the effects and report back as events.
May import `turn`, `walk`, `byhand`, `receive`, `ending`, `scope`, `outcome`, `size`, `flow`,
`expression`, `jsonlogic`, `execution`, `problems`, `errors`, `wire`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from flowkit.byhand import cancel as cancel
from flowkit.byhand import failed_branches as failed_branches
from flowkit.byhand import retry as retry
from flowkit.ending import finish as finish
from flowkit.errors import Invalid, NodeFailed
from flowkit.execution import (
    OUTCOME_UNKNOWN,
    UNRESOLVED,
    Branch,
    Claim,
    Execution,
    NodeRun,
    Patch,
    Settle,
)
from flowkit.execution import Received as Received
from flowkit.expression import search
from flowkit.flow import Flow
from flowkit.jsonlogic import evaluate, truthy
from flowkit.nodetype import Outcome
from flowkit.outcome import kept_of
from flowkit.problems import Problem
from flowkit.receive import receive as receive
from flowkit.scope import flow_facts
from flowkit.size import RESERVED_BYTES, size_of_execution, size_of_run
from flowkit.turn import Ended as Ended
from flowkit.turn import Event as Event
from flowkit.turn import Limits as Limits
from flowkit.turn import Performance as Performance
from flowkit.turn import Resume as Resume
from flowkit.turn import Turn as Turn
from flowkit.walk import Walk
from flowkit.wire import iso


def start(
    flow: Flow,
    payload: Any,
    *,
    execution_id: str,
    now: datetime,
    limits: Limits = Limits(),  # noqa: B008 - frozen
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
    limits : Limits, optional
        Bounds set by the driver.
    contact : dict, optional
        In place of what TRIGGER's mapping finds in the payload.

    Raises
    ------
    Invalid
        When the flow expects a contact and the payload has none, its filter or contact mapping
        cannot be applied to this payload, or payload and contact leave the execution no room.
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
    execution = Execution(
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
    execution.bytes = size_of_execution(execution)
    if execution.bytes + RESERVED_BYTES > limits.execution_bytes:
        message = (
            f"payload and contact take {execution.bytes} of the {limits.execution_bytes} bytes "
            "that an execution may have"
        )
        raise Invalid([_refusal(flow, "trigger.execution_too_large", message)])
    return execution


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
    if outcome.awaits or (outcome.until is not None and outcome.until > at):
        return None  # whoever asks again is told again, and waits
    if run.status not in UNRESOLVED and not blind:
        return None
    told = kept_of(outcome, limits.result_bytes)
    known = replace(
        run,
        status=told.status,
        result=told.result,
        error=told.error,
        end_time=at,
        source_handle=told.handle or run.source_handle,
    )
    return Patch(
        execution_id,
        settle=[Settle(known, run.status, run.retry_count, run.error)],
        bytes=size_of_run(known) - size_of_run(run),
        durable=True,
    )
