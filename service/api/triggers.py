"""Triggers: a webhook's body starts every active flow of its type, and wakes who waits for it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from flask import request

from flowkit import engine
from flowkit.engine import Received
from flowkit.errors import Invalid
from flowkit.execution import Execution, ExecutionStatus, derived_id, new_id
from flowkit.problems import Problem
from service import faults, idempotency
from service.api.body import Blueprint, read_bytes, read_json
from service.api.errors import Refused
from service.api.installation import Installation, installation
from service.contacts import remember
from service.entries import create
from service.events import Delivery, deliver
from service.schemas import schema_for
from service.store.base import TriggerKey

WAIT_SECONDS = 10.0
"""How long ``?wait=true`` watches at most."""
PAUSE_FIRST_SECONDS = 0.005
PAUSE_LONGEST_SECONDS = 0.1


@dataclass(slots=True)
class Started:
    """An execution that a trigger started."""

    execution_id: str
    flow_id: str
    flow_version: int
    status: ExecutionStatus


@dataclass(frozen=True, slots=True)
class Triggered:
    """What a trigger did: it is stored when this is read.

    ``received`` are the executions under way that have received it as an event.
    """

    trigger_type: str
    executions: list[Started]
    received: list[str]
    problems: list[Problem]


TriggeredSchema = schema_for(Triggered)

blp = Blueprint(
    "Triggers", __name__, url_prefix="/api/flows/trigger", description="What starts flows."
)


@blp.route("/<trigger_type>", methods=["POST"])
@blp.doc(
    parameters=[
        {
            "name": "wait",
            "in": "query",
            "description": "Answer with 200 once every execution has left `running`, or after "
            "10 s. Not with more than FLOWKIT_TRIGGER_SYNC_LIMIT flows.",
            "schema": {"type": "boolean", "default": False},
        },
        {
            "name": idempotency.HEADER,
            "in": "header",
            "description": "Names the event: the same key with the same payload starts nothing "
            "again, and is answered as the first time, for FLOWKIT_IDEMPOTENCY_HOURS.",
            "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
        },
    ],
    requestBody={
        "description": "The payload, any JSON value. No body is the payload `null`.",
        "content": {"application/json": {"schema": {}}},
    },
    # Here and not by decorators, each of which would cost every webhook a call.
    responses={
        "200": {
            "description": "There was nothing to start, or it was waited for",
            "content": {"application/json": {"schema": TriggeredSchema}},
        },
        "400": "BAD_REQUEST",
        "413": "REQUEST_ENTITY_TOO_LARGE",
        "415": "UNSUPPORTED_MEDIA_TYPE",
    },
)
@blp.response(202, TriggeredSchema, description="Accepted: the executions are stored")
def trigger(trigger_type: str) -> tuple[Triggered, int]:
    """Start every active flow of a trigger type, and wake branches that wait for it.

    The body is the payload as its sender sends it. A flow whose start is refused is among the
    problems, and the others start. Executions of the same contact that were started before
    receive it as an event; the contact is where the mapping of a flow that is started finds it,
    else under `contact`. Parameters of the query that are unknown are ignored, since
    senders of webhooks add their own.
    """
    here = installation()
    wait = _wait_asked()
    payload = _payload(here.settings.payload_limit_bytes)
    active, pinned = _pinned(here, trigger_type, payload)
    executions, problems, pinned = _start(here, active, payload, pinned)
    if executions:
        faults.hit("before_create")
        refused = create(here.store, here.version, executions)
        faults.hit("after_create")
        executions = [execution for execution in executions if execution.id not in refused]
        problems += refused.values()
        here.ring()
        remember(here.store, executions)
    delivery = _deliver(here, trigger_type, payload, executions, pinned)
    problems += delivery.problems
    if not active and not delivery.execution_ids:
        message = f"No active flow has the trigger type {trigger_type!r}; nothing was started."
        problems.append(Problem("trigger.unknown", "", message, "warning"))
    started = [_started(execution) for execution in executions]
    answer = Triggered(trigger_type, started, delivery.execution_ids, problems)
    if not executions:
        return answer, 202 if delivery.execution_ids else 200
    if wait and len(active) <= here.settings.trigger_sync_limit:
        _watch(here, answer.executions)
        return answer, 200
    if wait:
        message = (
            f"{len(active)} flows have this trigger type: more than FLOWKIT_TRIGGER_SYNC_LIMIT "
            f"({here.settings.trigger_sync_limit}), so this did not wait for them."
        )
        problems.append(Problem("trigger.not_waited", "", message, "warning"))
    return answer, 202


def _wait_asked() -> bool:
    value = request.args.get("wait", "false")
    if value not in ("true", "false"):
        raise Invalid([Problem("query.invalid", "/wait", "Write wait=true or wait=false.")])
    return value == "true"


def _payload(limit: int) -> Any:
    size = len(read_bytes())
    if size > limit:
        message = f"The payload has {size} bytes; FLOWKIT_PAYLOAD_LIMIT_BYTES allows {limit}."
        raise Refused(413, [Problem("trigger.payload_too_large", "", message)])
    return read_json()


def _pinned(
    here: Installation, trigger_type: str, payload: Any
) -> tuple[Sequence[tuple[str, int]], TriggerKey | None]:
    """Return which flows to start, and the header's key if it settled that."""
    header = request.headers.get(idempotency.HEADER)
    if header is not None:
        idempotency.check_header(header)
    active = here.store.active_versions(trigger_type)
    if header is None:
        return active, None
    now = here.clock.now()
    key = idempotency.header_key(header, trigger_type, payload, active, now=now)
    pinned = _pin(here, key)
    idempotency.require_same(key, pinned)
    return pinned.versions, pinned


def _pin(here: Installation, key: TriggerKey) -> TriggerKey:
    pinned = here.store.pin(key)
    faults.hit("after_pin")
    return pinned


def _start(
    here: Installation,
    active: Sequence[tuple[str, int]],
    payload: Any,
    header: TriggerKey | None,
) -> tuple[list[Execution], list[Problem], TriggerKey | None]:
    """Return the executions to create, why other flows were not started, and the event's key.

    What a key has pinned is started as it was, or would have been, at that moment: whoever does
    it again makes the same execution.
    """
    now = here.clock.now()
    executions: list[Execution] = []
    problems: list[Problem] = []
    key = header
    for flow_id, version in active:
        try:
            flow = here.version(flow_id, version)
            own = idempotency.payload_key(flow, payload, now=now)
            pinned = header if own is None else _pin(here, own)
            key = key or pinned
            if own is not None and pinned is not None:
                flow = here.version(*pinned.versions[0])
            execution_id, at = new_id(now), now
            if pinned is not None:
                execution_id = derived_id(pinned.seed, flow.id or "", flow.version)
                at = pinned.created_at
            execution = engine.start(
                flow, payload, execution_id=execution_id, now=at, limits=here.limits
            )
        except Invalid as refusal:
            problems += refusal.problems
        else:
            if execution is not None:
                executions.append(execution)
    return executions, problems, key


def _deliver(
    here: Installation,
    trigger_type: str,
    payload: Any,
    executions: Sequence[Execution],
    pinned: TriggerKey | None,
) -> Delivery:
    """Give the payload, as an event, to executions under way; not to those that it starts."""
    contacts = {execution.contact_id for execution in executions if execution.contact_id}
    if isinstance(payload, dict):
        contacts.add(engine.contact_identity(payload.get("contact")) or "")
    now = here.clock.now()
    event = Received(
        id=derived_id(pinned.seed, "event") if pinned else new_id(now),
        type=trigger_type,
        payload=payload,
        at=pinned.created_at if pinned else now,
    )
    delivery = deliver(
        here.store,
        here.version,
        sorted(contacts - {""}),
        event,
        now=now,
        limits=here.limits,
        besides={execution.id for execution in executions},
    )
    if delivery.execution_ids:
        here.ring()
    return delivery


def _started(execution: Execution) -> Started:
    return Started(execution.id, execution.flow_id, execution.flow_version, execution.status)


def _watch(here: Installation, started: Sequence[Started]) -> None:
    """Follow the statuses until none is ``running`` or the time is up."""
    deadline = time.monotonic() + WAIT_SECONDS
    pause = PAUSE_FIRST_SECONDS
    pending = list(started)
    while True:
        for one in pending:
            one.status = here.store.get_execution(one.execution_id).status
        pending = [one for one in pending if one.status == "running"]
        left = deadline - time.monotonic()
        if not pending or left <= 0:
            return
        time.sleep(min(pause, left))
        pause = min(pause * 1.5, PAUSE_LONGEST_SECONDS)
