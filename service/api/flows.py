"""Flows: list, create, read, replace, change, delete, validate."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import marshmallow as ma

from flowkit import engine
from flowkit.errors import Conflict, Invalid
from flowkit.execution import ExecutionFilter
from flowkit.flow import Flow
from flowkit.validate.calls import unknown_versions
from service.api import publishing, saving
from service.api.body import Blueprint, read_json
from service.api.installation import Installation, installation
from service.api.paging import PageQuery, page
from service.api.saving import ATTEMPTS, Condition, Publication
from service.schemas import (
    FlowInputSchema,
    FlowPatchSchema,
    FlowSchema,
    ProblemsSchema,
    SavedFlowSchema,
    WireSchema,
    page_of,
)

CANCELLED_AT_ONCE = 100

blp = Blueprint("Flows", __name__, url_prefix="/api/flows", description="What is to happen.")


EXAMPLE = (
    Flow("Welcome", trigger="signed_up")
    .delay(hours=1)
    .send(template="welcome", language="en_US", parameters=["{{ contact.first_name }}"])
    .end()
    .to_dict()
)


def _body(schema: type[ma.Schema]) -> dict[str, Any]:
    """Describe a body that the view reads itself: the rules for flows are not marshmallow's."""
    example = {"isActive": True} if schema is FlowPatchSchema else EXAMPLE
    content = {"application/json": {"schema": schema, "example": example}}
    return {"required": True, "content": content}


class FlowQuery(PageQuery):
    """Which flows a list holds."""

    trigger_type = ma.fields.String(data_key="triggerType")
    is_active = ma.fields.Boolean(data_key="isActive", truthy={"true"}, falsy={"false"})


class DeleteQuery(WireSchema):
    """How a flow is deleted."""

    cancel = ma.fields.Boolean(
        load_default=False,
        truthy={"true"},
        falsy={"false"},
        metadata={"description": "Cancel what is under way, instead of refusing."},
    )


@blp.route("")
@blp.arguments(FlowQuery, location="query")
@blp.response(200, page_of(FlowSchema))
def list_flows(query: dict[str, Any]) -> dict[str, Any]:
    """List flows, newest first."""
    limit, cursor = query.pop("limit"), query.pop("cursor", None)
    found = installation().store.list_flows(**query, after=cursor, limit=limit + 1)
    return page(found, limit, Flow.to_dict)


@blp.route("", methods=["POST"])
@blp.doc(requestBody=_body(FlowInputSchema))
@blp.arguments(Publication, location="query")
@blp.response(201, SavedFlowSchema, headers=saving.ETAG)
@blp.alt_response(409, "CONFLICT")
@blp.alt_response(422, "UNPROCESSABLE_ENTITY")
def create_flow(publication: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Store a new flow.

    It gets an id unless it names a free one. With errors it can be stored as an inactive draft,
    and the answer names them; a flow that is to be active must have none. `version`, `createdAt`
    and `updatedAt` are the service's.
    """
    here = installation()
    now = here.clock.now()
    document = read_json()
    flow_id = publishing.new_flow_id(document, now)
    saved = publishing.save(
        document, flow_id, before=None, published=None, known=here.has_version, now=now
    )
    here.store.insert_flow(saved.flow, publish=saved.publish, **saving.authorship(publication))
    return saving.answer(saved, saving.FIRST_REVISION)


@blp.route("/<flow_id>")
@blp.response(200, FlowSchema, headers=saving.ETAG)
@blp.alt_response(404, "NOT_FOUND")
def get_flow(flow_id: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Return a flow as it was saved last."""
    flow, revision = installation().store.get_flow(flow_id)
    return flow.to_dict(), saving.etag(revision)


@blp.route("/<flow_id>", methods=["PUT"])
@blp.doc(requestBody=_body(FlowInputSchema))
@blp.arguments(Publication, location="query")
@blp.arguments(Condition, location="headers")
@blp.response(200, SavedFlowSchema, headers=saving.ETAG)
@blp.alt_response(404, "NOT_FOUND")
@blp.alt_response(409, "CONFLICT")
@blp.alt_response(412, "PRECONDITION_FAILED")
@blp.alt_response(422, "UNPROCESSABLE_ENTITY")
def replace_flow(
    publication: dict[str, Any], condition: dict[str, Any], flow_id: str
) -> tuple[dict[str, Any], dict[str, str]]:
    """Replace a flow.

    Saving an active flow publishes its content as the next version, unless nothing that
    executions depend on has changed. Executions under way stay with their version. Without
    `isPaused` a paused flow stays paused.
    """
    document = read_json()
    publishing.require_same_id(document, flow_id)
    saved = saving.save(installation(), flow_id, lambda before: document, publication)
    return saving.answer(*saved)


@blp.route("/<flow_id>", methods=["PATCH"])
@blp.doc(requestBody=_body(FlowPatchSchema))
@blp.arguments(Publication, location="query")
@blp.arguments(Condition, location="headers")
@blp.response(200, SavedFlowSchema, headers=saving.ETAG)
@blp.alt_response(404, "NOT_FOUND")
@blp.alt_response(409, "CONFLICT")
@blp.alt_response(412, "PRECONDITION_FAILED")
@blp.alt_response(422, "UNPROCESSABLE_ENTITY")
def change_flow(
    publication: dict[str, Any], condition: dict[str, Any], flow_id: str
) -> tuple[dict[str, Any], dict[str, str]]:
    """Change parts of a flow.

    Each of `name`, `triggerType`, `isActive`, `isPaused`, `nodes`, `edges` and `settings` that
    is given is replaced whole. `{"isActive": true}` activates the flow and publishes it.
    `{"isPaused": true}` holds its executions where they are, also those that triggers go on to
    start, until `{"isPaused": false}` lets them go on; delays that end meanwhile end then.
    """
    document = read_json()
    publishing.require_same_id(document, flow_id)
    publishing.require_patch(document)
    saved = saving.save(
        installation(), flow_id, lambda before: before.to_dict() | document, publication
    )
    return saving.answer(*saved)


@blp.route("/<flow_id>", methods=["DELETE"])
@blp.arguments(DeleteQuery, location="query")
@blp.arguments(Condition, location="headers")
@blp.response(204)
@blp.alt_response(404, "NOT_FOUND")
@blp.alt_response(409, "CONFLICT")
@blp.alt_response(412, "PRECONDITION_FAILED")
def delete_flow(query: dict[str, Any], condition: dict[str, Any], flow_id: str) -> None:
    """Delete a flow.

    409 while executions of it are under way, unless they are to be cancelled. Their history
    stays.
    """
    here = installation()
    if not query["cancel"]:
        _delete(here, flow_id)
        return
    # At the revision that was meant. Whoever changes the flow from here on changes a deleted one.
    saving.save(here, flow_id, lambda before: before.to_dict() | {"isActive": False}, {})
    for _ in range(ATTEMPTS):
        _cancel_live(here, flow_id)
        try:
            here.store.delete_flow(flow_id)
            return
        except Conflict:
            continue  # a trigger that had seen the flow active
    raise Conflict(f"executions of flow {flow_id} keep starting; try again")


class ValidateBody(WireSchema):
    """With what a flow is validated."""

    templates = ma.fields.List(
        ma.fields.Dict(keys=ma.fields.String()),
        metadata={
            "description": "The account's message templates, as the Cloud API lists them: items, "
            "or pages of them. Without, nothing is said of templates."
        },
    )


@blp.route("/<flow_id>/validate", methods=["POST"])
@blp.arguments(ValidateBody, required=False)
@blp.response(200, ProblemsSchema)
@blp.alt_response(404, "NOT_FOUND")
@blp.alt_response(422, "UNPROCESSABLE_ENTITY")
def validate_flow(body: dict[str, Any], flow_id: str) -> dict[str, Any]:
    """Validate a stored flow: return its errors and warnings."""
    here = installation()
    flow = here.store.get_flow(flow_id).flow
    try:
        found = flow.validate(templates=body.get("templates"))
    except Invalid as error:
        raise Invalid([replace(p, path="/templates" + p.path) for p in error.problems]) from error
    return {"problems": found + unknown_versions(flow, here.has_version)}


def _delete(here: Installation, flow_id: str) -> None:
    """Delete a flow, at the revision that the request names if it names one."""
    if not saving.conditional():
        here.store.delete_flow(flow_id)
        return
    revision = here.store.get_flow(flow_id).revision
    saving.require_match(flow_id, revision)
    try:
        here.store.delete_flow(flow_id, revision=revision)
    except Conflict:
        saving.require_match(flow_id, here.store.get_flow(flow_id).revision)
        raise


def _cancel_live(here: Installation, flow_id: str) -> None:
    """Cancel every execution of a flow that is running or delayed."""
    for status in ("running", "delayed"):
        idle = 0
        while idle < ATTEMPTS:
            live = here.store.list_executions(
                ExecutionFilter(flow_id=flow_id, status=status),
                limit=CANCELLED_AT_ONCE,
                include=("branches", "executed_nodes"),
            )
            if not live:
                break
            now = here.clock.now()
            answers = here.store.commit([engine.cancel(e, now=now) for e in live], now=now)
            idle = 0 if any(answer.outcome == "ok" for answer in answers) else idle + 1
