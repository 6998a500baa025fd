"""The OpenAPI document: what is said in it apart from the operations themselves.

Owns how apispec reads the derived schemas. May import `flowkit`, `service.schemas` and apispec.
"""

from __future__ import annotations

from typing import Any

import marshmallow as ma
from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from apispec.ext.marshmallow.openapi import OpenAPIConverter

from flowkit.fields import json_schema
from flowkit.nodetype import node_types
from service.api.auth import SCHEME
from service.schemas import AnyNode, ConfigSchema, NodeSchema, node_schema

CONFIG = {
    "API_TITLE": "flowkit",
    "API_VERSION": "1",
    "OPENAPI_VERSION": "3.1.0",
    "OPENAPI_URL_PREFIX": "/api",
    "OPENAPI_JSON_PATH": "openapi.json",
}
"""flask-smorest's settings."""


def spec_options() -> dict[str, Any]:
    """Return the arguments with which flask-smorest makes the document."""
    return {
        "marshmallow_plugin": SchemaPlugin(),
        "info": {
            "description": "Flows, what triggers them and what they did. Errors are "
            "`{code, status, problems}`, with the same problems as the validator gives."
        },
        "security": [{"key": []}],
    }


class _Converter(OpenAPIConverter):
    """apispec's converter, which takes the JSON Schema of a node type as it is."""

    def schema2jsonschema(self, schema: Any) -> dict[str, Any]:
        if isinstance(schema, ConfigSchema):
            return json_schema(schema.node_type)
        return super().schema2jsonschema(schema)


def _any_node(self: OpenAPIConverter, field: ma.fields.Field[Any], **_: Any) -> dict[str, Any]:
    """Describe `AnyNode`: one schema for each known type, and the draft's."""
    if not isinstance(field, AnyNode):
        return {}
    known = {
        name: self.resolve_nested_schema(node_schema(cls)) for name, cls in node_types().items()
    }
    return {
        "anyOf": [*known.values(), self.resolve_nested_schema(NodeSchema)],
        "discriminator": {
            "propertyName": "type",
            "mapping": {name: schema["$ref"] for name, schema in known.items()},
        },
    }


class SchemaPlugin(MarshmallowPlugin):
    """apispec's marshmallow plugin, taught what is above."""

    Converter = _Converter

    def init_spec(self, spec: APISpec) -> None:
        """Set the plugin up for a document."""
        super().init_spec(spec)
        spec.components.security_scheme("key", SCHEME)
        self.converter.add_attribute_function(_any_node)
