"""Node types: what the registry knows, for palettes and forms."""

from __future__ import annotations

from typing import Any

import marshmallow as ma

from flowkit.nodetype import CATEGORIES, describe, node_types
from service.api.body import Blueprint
from service.schemas import WireSchema, page_of

blp = Blueprint(
    "Node types", __name__, url_prefix="/api/node-types", description="What flows are made of."
)


class HandleSchema(WireSchema):
    """A way out of a node."""

    id = ma.fields.String(
        required=True, allow_none=True, metadata={"description": "null: the only way out."}
    )
    label = ma.fields.String(required=True)
    required = ma.fields.Boolean(
        required=True, metadata={"description": "Whether an edge must leave it."}
    )


class NodeTypeSchema(WireSchema):
    """A node type, as `flowkit.nodetype.describe` tells it."""

    type = ma.fields.String(required=True)
    category = ma.fields.String(required=True, validate=ma.validate.OneOf(CATEGORIES))
    verb = ma.fields.String(
        required=True, allow_none=True, metadata={"description": "Method of the Python builder."}
    )
    title = ma.fields.String(required=True)
    description = ma.fields.String(required=True)
    example = ma.fields.String(
        required=True,
        allow_none=True,
        metadata={"description": "The smallest flow with such a node, in Python."},
    )
    handles = ma.fields.List(ma.fields.Nested(HandleSchema), required=True)
    needs_contact = ma.fields.Boolean(required=True, data_key="needsContact")
    schema = ma.fields.Dict(
        required=True,
        metadata={"description": "JSON Schema of the config, with hints for forms in `x-*`."},
    )


@blp.route("")
@blp.response(200, page_of(NodeTypeSchema))
def list_node_types() -> dict[str, Any]:
    """List every node type on one page."""
    return {"items": [describe(cls) for cls in node_types().values()], "nextCursor": None}
