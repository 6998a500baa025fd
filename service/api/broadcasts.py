"""Broadcasts: one flow started for many contacts; list, detail, pause, resume, cancel, pace."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import marshmallow as ma
from flask import request

from flowkit import broadcast as rules
from flowkit.broadcast import Broadcast
from flowkit.errors import Conflict, Invalid
from flowkit.execution import new_id
from flowkit.jsonlogic import check_logic
from flowkit.problems import Problem, pointer
from service.api.body import Blueprint, read_json
from service.api.installation import Installation, installation
from service.api.intake import Intake
from service.api.lines import NDJSON, is_streamed, read_lines
from service.api.paging import PageQuery, page
from service.broadcasts import change
from service.schemas import WireSchema, page_of, schema_for

SLOWEST, FASTEST = 0.001, 100_000.0
"""Bounds of a pace, in executions a second."""

BroadcastSchema = schema_for(Broadcast)

blp = Blueprint(
    "Broadcasts", __name__, url_prefix="/api", description="One flow started for many contacts."
)


def _pace(**options: Any) -> ma.fields.Float:
    return ma.fields.Float(
        data_key="perSecond",
        allow_nan=False,
        validate=ma.validate.Range(SLOWEST, FASTEST),
        metadata={"description": "Executions a second, at the most."},
        **options,
    )


class PaceQuery(WireSchema):
    """How fast a broadcast is."""

    per_second = _pace()


class PaceBody(WireSchema):
    """How fast a broadcast is from now on; null for no limit."""

    per_second = _pace(required=True, allow_none=True)


class BroadcastQuery(PageQuery):
    """Which broadcasts a list holds."""

    flow_id = ma.fields.String(data_key="flowId", metadata={"description": "Only of this flow."})


@blp.route("/flows/<flow_id>/broadcast", methods=["POST"])
@blp.doc(
    requestBody={
        "required": True,
        "description": "One contact a line, or a filter over the contacts that are stored.",
        "content": {
            NDJSON: {"schema": {"type": "string"}, "example": '{"phone": "+5511999990000"}\n'},
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {"filter": {"format": "jsonlogic"}},
                    "required": ["filter"],
                    "additionalProperties": False,
                },
                "example": {"filter": {"==": [{"var": "contact.country"}, "BR"]}},
            },
        },
    }
)
@blp.arguments(PaceQuery, location="query")
@blp.response(
    202,
    BroadcastSchema,
    description="Accepted: the recipients are stored",
    headers={"Location": {"schema": {"type": "string"}, "description": "Where its progress is."}},
)
@blp.alt_response(400, "BAD_REQUEST")
@blp.alt_response(404, "NOT_FOUND")
@blp.alt_response(409, "CONFLICT")
@blp.alt_response(413, "REQUEST_ENTITY_TOO_LARGE")
@blp.alt_response(415, "UNSUPPORTED_MEDIA_TYPE")
def create_broadcast(query: dict[str, Any], flow_id: str) -> tuple[Broadcast, dict[str, str]]:
    """Start a flow for many contacts.

    The flow must be active; its version of now is used to the end. Each line, or each stored
    contact that the filter lets through, becomes the contact of an execution whose payload is
    `{"contact": ..., "broadcastId": ...}`; the mapping of the flow's TRIGGER is not applied, its
    filter is. A line is as long as a payload may be. Lines that are no contact are counted as
    refused, with the line's number, from 1, as the path of their problem; the others go on.

    A body that breaks off is never run. Without `Content-Length` nobody can tell whether it did:
    such a broadcast is `paused` when it has been read, and whoever sent all of it resumes it.
    """
    here = installation()
    now = here.clock.now()
    flow = here.store.get_flow(flow_id).flow
    if not flow.is_active:
        raise Conflict(f"flow {flow_id} is not active; activate it, then broadcast")
    new = Broadcast(
        id=new_id(now),
        flow_id=flow_id,
        flow_version=flow.version,
        status="accepting",
        per_second=query.get("per_second"),
        created_at=now,
        updated_at=now,
    )
    made = _listed(here, new) if is_streamed() else _filtered(here, new, read_json())
    return made, {"Location": f"/api/broadcasts/{made.id}"}


@blp.route("/broadcasts")
@blp.arguments(BroadcastQuery, location="query")
@blp.response(200, page_of(BroadcastSchema))
def list_broadcasts(query: dict[str, Any]) -> dict[str, Any]:
    """List broadcasts, newest first."""
    limit, cursor = query.pop("limit"), query.pop("cursor", None)
    found = installation().store.list_broadcasts(**query, after=cursor, limit=limit + 1)
    return page(found, limit)


@blp.route("/broadcasts/<broadcast_id>")
@blp.response(200, BroadcastSchema)
@blp.alt_response(404, "NOT_FOUND")
def get_broadcast(broadcast_id: str) -> Broadcast:
    """Return one broadcast and how far it is."""
    return installation().store.get_broadcast(broadcast_id)


@blp.route("/broadcasts/<broadcast_id>", methods=["PATCH"])
@blp.arguments(PaceBody)
@blp.response(200, BroadcastSchema)
@blp.alt_response(404, "NOT_FOUND")
@blp.alt_response(409, "CONFLICT")
def change_broadcast(body: dict[str, Any], broadcast_id: str) -> Broadcast:
    """Change the pace. 409 when the broadcast has ended, or its recipients still come in."""
    return _changed(broadcast_id, rules.repace, per_second=body["per_second"])


@blp.route("/broadcasts/<broadcast_id>/pause", methods=["POST"])
@blp.response(200, BroadcastSchema)
@blp.alt_response(404, "NOT_FOUND")
@blp.alt_response(409, "CONFLICT")
def pause_broadcast(broadcast_id: str) -> Broadcast:
    """Create no further executions until it is resumed.

    What has started goes on; to hold that as well, pause the flow. 409 unless it is running.
    """
    return _changed(broadcast_id, rules.pause)


@blp.route("/broadcasts/<broadcast_id>/resume", methods=["POST"])
@blp.response(200, BroadcastSchema)
@blp.alt_response(404, "NOT_FOUND")
@blp.alt_response(409, "CONFLICT")
def resume_broadcast(broadcast_id: str) -> Broadcast:
    """Go on where it was paused. 409 unless it is paused."""
    return _changed(broadcast_id, rules.resume)


@blp.route("/broadcasts/<broadcast_id>/cancel", methods=["POST"])
@blp.response(200, BroadcastSchema)
@blp.alt_response(404, "NOT_FOUND")
@blp.alt_response(409, "CONFLICT")
def cancel_broadcast(broadcast_id: str) -> Broadcast:
    """Create no further executions for good.

    What has started goes on: cancel those executions themselves. 409 when it has ended.
    """
    return _changed(broadcast_id, rules.cancel)


def _changed(broadcast_id: str, rule: Callable[..., Broadcast], **options: Any) -> Broadcast:
    here = installation()
    return change(
        here.store, broadcast_id, lambda found: rule(found, now=here.clock.now(), **options)
    )


def _listed(here: Installation, new: Broadcast) -> Broadcast:
    """Take the recipients from the lines of the body."""
    intake = Intake(here.store, here.clock, new, here.settings.broadcast_limit)
    try:
        for line in read_lines(here.settings.payload_limit_bytes):
            intake.take(line)
        return intake.end(paused=request.content_length is None)
    except BaseException:
        intake.abandon()
        raise


def _filtered(here: Installation, new: Broadcast, body: Any) -> Broadcast:
    """Let a filter choose the recipients, when it comes to them."""
    if not isinstance(body, dict) or body.get("filter") is None:
        message = f'Send {{"filter": JSONLogic}}, or contacts as {NDJSON}, one a line.'
        raise Invalid([Problem("broadcast.filter", "/filter", message)])
    found = [
        Problem("body.invalid", pointer(key), "Unknown field.") for key in body if key != "filter"
    ] + check_logic(body["filter"], "/filter")
    if found:
        raise Invalid(found)
    made = rules.begin(replace(new, filter=body["filter"]), now=new.created_at)
    here.store.insert_broadcast(made)
    return made
