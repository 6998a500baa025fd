"""Published versions of flows: list, read, publish.

A version never changes, and executions stay with the one that they started with. Rolling back is
publishing an old version again, as the next one.
"""

from __future__ import annotations

from typing import Any

import marshmallow as ma

from flowkit.errors import Invalid
from flowkit.execution import PageKey
from flowkit.flow import Flow, FlowVersion
from flowkit.problems import Problem
from service.api import saving
from service.api.body import Blueprint
from service.api.installation import installation
from service.api.paging import CursorField, PageQuery, page, write_cursor
from service.api.saving import Condition, Publication
from service.schemas import FlowSchema, SavedFlowSchema, page_of, schema_for

STATE = ("isActive", "isPaused")
"""What a flow keeps, whatever of its content is published."""

blp = Blueprint(
    "Versions", __name__, url_prefix="/api/flows", description="What was published, and by whom."
)


class VersionCursor(CursorField):
    """A cursor in a list of versions: the version after which it goes on."""

    def _deserialize(self, value: Any, attr: Any, data: Any, **options: Any) -> Any:
        key = super()._deserialize(value, attr, data, **options)
        if not key.id.isdecimal() or len(key.id) > 9:
            raise ma.ValidationError("This is the cursor of another list.")
        return int(key.id)


class VersionQuery(PageQuery):
    """Which page of a list of versions."""

    cursor = VersionCursor(metadata={"description": "`nextCursor` of the page before."})


class PublishBody(Publication):
    """What is to be published."""

    version = ma.fields.Integer(
        strict=True,
        validate=ma.validate.Range(1, 2**31 - 1),
        metadata={"description": "An old version, to publish it again; else what is stored."},
    )


@blp.route("/<flow_id>/versions")
@blp.arguments(VersionQuery, location="query")
@blp.response(200, page_of(schema_for(FlowVersion)))
@blp.alt_response(404, "NOT_FOUND")
def list_versions(query: dict[str, Any], flow_id: str) -> dict[str, Any]:
    """List the published versions of a flow, newest first; also those of a deleted one."""
    here = installation()
    limit, before = query["limit"], query.get("cursor")
    found = here.store.list_versions(flow_id, before=before, limit=limit + 1)
    if not found:
        here.store.get_flow(flow_id)
    return page(found, limit, behind=lambda v: write_cursor(PageKey(v.created_at, str(v.version))))


@blp.route("/<flow_id>/versions/<int(max=2147483647):version>")
@blp.response(200, FlowSchema)
@blp.alt_response(404, "NOT_FOUND")
def get_version(flow_id: str, version: int) -> dict[str, Any]:
    """Return the snapshot of a published version, as a flow."""
    return installation().version(flow_id, version).to_dict()


@blp.route("/<flow_id>/versions", methods=["POST"])
@blp.arguments(Condition, location="headers")
@blp.arguments(PublishBody, required=False)
@blp.response(201, SavedFlowSchema, headers=saving.ETAG)
@blp.alt_response(404, "NOT_FOUND")
@blp.alt_response(409, "CONFLICT")
@blp.alt_response(412, "PRECONDITION_FAILED")
@blp.alt_response(422, "UNPROCESSABLE_ENTITY")
def publish(
    condition: dict[str, Any], body: dict[str, Any], flow_id: str
) -> tuple[dict[str, Any], dict[str, str]]:
    """Publish what is stored, or an old version again, as the next version.

    The flow's content becomes that of the version; whether it is active or paused stays.
    Executions under way stay with their version.
    """
    here = installation()
    wanted = body.get("version")

    def content(before: Flow) -> dict[str, Any]:
        if wanted is None:
            return before.to_dict()
        if wanted > before.version:
            message = f"Flow {flow_id} has the versions 1 to {before.version}."
            raise Invalid([Problem("flow.version", "/version", message)])
        state = before.to_dict()
        old = here.version(flow_id, wanted).to_dict()
        return old | {key: state.get(key) for key in STATE}

    return saving.answer(*saving.save(here, flow_id, content, body, publish=True))
