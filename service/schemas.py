"""marshmallow schemas, derived: from the records' dataclasses and from the node types' fields.

Owns the derivation and nothing that is declared elsewhere. The schemas describe the wire in the
OpenAPI document; the translation itself is that of `flowkit.wire` and `flowkit.fields`, to which
they delegate. May import `flowkit`, marshmallow and apispec; never Flask.
"""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from datetime import datetime
from functools import cache
from typing import Any, ClassVar

import marshmallow as ma
from apispec.ext.marshmallow import MarshmallowPlugin
from apispec.ext.marshmallow.openapi import OpenAPIConverter

from flowkit.fields import json_schema, parse, unparse
from flowkit.nodetype import NodeType
from flowkit.problems import errors
from flowkit.wire import fields_of, iso, parse_iso, to_wire


class WireSchema(ma.Schema):
    """A schema whose output is made by `flowkit.wire`."""

    def dump(self, obj: Any, *, many: bool | None = None) -> Any:
        """Return the JSON data of a record, or of a structure of records."""
        return to_wire(obj)


class Moment(ma.fields.DateTime):
    """A moment that names its zone, in ISO 8601."""

    def _serialize(self, value: Any, attr: Any, obj: Any, **options: Any) -> str | None:
        return None if value is None else iso(value)

    def _deserialize(self, value: Any, attr: Any, data: Any, **options: Any) -> datetime:
        try:
            return parse_iso(value)
        except (TypeError, ValueError, OverflowError):
            raise ma.ValidationError(
                "This is no moment with a zone: write one such as 2026-11-22T10:00:00Z "
                "(a + must be sent as %2B)."
            ) from None


@cache
def schema_for(record: type, *, optional: frozenset[str] = frozenset()) -> type[WireSchema]:
    """Return the schema of a record dataclass.

    Parameters
    ----------
    record : type
        The dataclass; its fields on the wire are those of `flowkit.wire.fields_of`.
    optional : frozenset of str
        Wire names that may be absent.
    """
    declared: dict[str, Any] = {}
    for name, wire, hint in fields_of(record):
        declared[name] = _field(hint, data_key=wire, required=wire not in optional)
    declared["Meta"] = type(
        "Meta", (), {"description": inspect.cleandoc(record.__doc__ or "").split("\n\n")[0]}
    )
    name = record.__name__ + ("Item" if optional else "")
    return type(f"{name}Schema", (WireSchema,), declared)


def _field(hint: Any, **options: Any) -> ma.fields.Field[Any]:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        (hint,) = (arg for arg in args if arg is not type(None))
        return _field(hint, allow_none=True, **options)
    if origin is typing.Literal:
        return ma.fields.String(validate=ma.validate.OneOf(args), **options)
    if origin in (list, tuple):
        return ma.fields.List(_field(args[0]), **options)
    if dataclasses.is_dataclass(hint):
        return ma.fields.Nested(schema_for(typing.cast(type, hint)), **options)
    if origin is dict or hint is dict:
        return ma.fields.Dict(**options)
    if hint is int:
        return ma.fields.Integer(strict=True, **options)
    if hint is datetime:
        return Moment(**options)
    plain = {str: ma.fields.String, bool: ma.fields.Boolean, float: ma.fields.Float}
    return plain.get(hint, ma.fields.Raw)(**options)


@cache
def page_of(item: type[ma.Schema]) -> type[WireSchema]:
    """Return the schema of a page of a list."""
    declared = {
        "items": ma.fields.List(ma.fields.Nested(item), required=True),
        "nextCursor": ma.fields.String(
            required=True,
            allow_none=True,
            metadata={"description": "`cursor` of the next page; null on the last."},
        ),
    }
    return type(item.__name__.replace("Schema", "PageSchema"), (WireSchema,), declared)


class ConfigSchema(ma.Schema):
    """The schema of a node type's config: what `flowkit.fields` makes of the declaration."""

    node_type: ClassVar[type[NodeType]]

    def load(self, data: Any, **options: Any) -> Any:
        """Return the node that a config describes.

        Raises
        ------
        marshmallow.ValidationError
            When it has errors; the messages are by field, as `flowkit.fields.parse` says them.
        """
        made, found = parse(self.node_type, data)
        if made is None:
            messages: dict[str, list[str]] = {}
            for problem in errors(found):
                messages.setdefault(problem.path.lstrip("/") or "_schema", []).append(
                    problem.message
                )
            raise ma.ValidationError(messages, data=data)
        return made

    def dump(self, obj: Any, *, many: bool | None = None) -> Any:
        """Return the config of a node."""
        return unparse(obj)


@cache
def config_schema(node_type: type[NodeType]) -> type[ConfigSchema]:
    """Return the marshmallow schema of a node type's config."""
    name = "".join(word.capitalize() for word in node_type.type.split("_"))
    return type(f"{name}ConfigSchema", (ConfigSchema,), {"node_type": node_type})


class _Converter(OpenAPIConverter):
    """apispec's converter, which takes the JSON Schema of a node type as it is."""

    def schema2jsonschema(self, schema: Any) -> dict[str, Any]:
        if isinstance(schema, ConfigSchema):
            return json_schema(schema.node_type)
        return super().schema2jsonschema(schema)


class SchemaPlugin(MarshmallowPlugin):
    """apispec's marshmallow plugin with the converter above."""

    Converter = _Converter
