"""marshmallow schemas, derived: from the records' dataclasses and from the node types' fields.

Owns the derivation and nothing that is declared elsewhere. The schemas describe the wire in the
OpenAPI document; the translation itself is that of `flowkit.wire` and `flowkit.fields`, to which
they delegate. May import `flowkit` and marshmallow; never Flask.
"""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from collections.abc import Collection
from datetime import date, datetime
from functools import cache
from typing import Any, ClassVar

import marshmallow as ma

from flowkit.fields import parse, specs, unparse
from flowkit.flow import Flow
from flowkit.graph import Edge, Node, keys_of
from flowkit.nodetype import NodeType
from flowkit.problems import Problem, errors
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


class Flag(ma.fields.Boolean):
    """True or false in a body, and nothing that looks like it."""

    def _deserialize(self, value: Any, attr: Any, data: Any, **options: Any) -> bool:
        if not isinstance(value, bool):
            raise ma.ValidationError("Write true or false.")
        return value


# ------------------------------------------------------------------------- records


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
    declared = {
        name: _field(hint, data_key=wire, required=wire not in optional)
        for name, wire, hint in fields_of(record)
    }
    name = record.__name__ + ("Item" if optional else "")
    return _schema(name, declared, description=_summary(record))


def _schema(name: str, declared: dict[str, Any], **meta: Any) -> type[WireSchema]:
    return type(f"{name}Schema", (WireSchema,), declared | {"Meta": type("Meta", (), meta)})


def _summary(cls: type) -> str:
    return inspect.cleandoc(cls.__doc__ or "").split("\n\n")[0].replace("\n", " ")


def _field(hint: Any, **options: Any) -> ma.fields.Field[Any]:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        (hint,) = (arg for arg in args if arg is not type(None))
        return _field(hint, **options | {"allow_none": True})
    if origin is typing.Literal:
        return ma.fields.String(validate=ma.validate.OneOf(args), **options)
    if origin in (list, tuple):
        return ma.fields.List(_field(args[0]), **options)
    if hint is Node:
        return AnyNode(**options)
    if hint is Edge:
        return ma.fields.Nested(EdgeSchema, **options)
    if dataclasses.is_dataclass(hint):
        return ma.fields.Nested(schema_for(typing.cast(type, hint)), **options)
    if (origin or hint) is dict:
        return ma.fields.Dict(**options)
    if hint is int:
        return ma.fields.Integer(strict=True, **options)
    if hint is datetime:
        return Moment(**options)
    if hint is date:
        return ma.fields.Date(**options)
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
    return _schema(item.__name__.replace("Schema", "Page"), declared)


# ---------------------------------------------------------------------- node types


class ConfigSchema(ma.Schema):
    """The schema of a node type's config: what `flowkit.fields` makes of the declaration."""

    node_type: ClassVar[type[NodeType]]

    def load(self, data: Any, **options: Any) -> Any:
        """Return the node that a config describes.

        Raises
        ------
        marshmallow.ValidationError
            When it has errors; the messages are by JSON pointer, as `flowkit.fields.parse` says
            them.
        """
        made, found = parse(self.node_type, data)
        if made is None:
            messages: dict[str, list[str]] = {}
            for problem in errors(found):
                messages.setdefault(problem.path, []).append(problem.message)
            raise ma.ValidationError(messages, data=data)
        return made

    def dump(self, obj: Any, *, many: bool | None = None) -> Any:
        """Return the config of a node."""
        return unparse(obj)


@cache
def config_schema(node_type: type[NodeType]) -> type[ConfigSchema]:
    """Return the marshmallow schema of a node type's config."""
    return type(f"{_title(node_type)}ConfigSchema", (ConfigSchema,), {"node_type": node_type})


def _title(node_type: type[NodeType]) -> str:
    return "".join(word.capitalize() for word in node_type.type.split("_"))


# --------------------------------------------------------------- flows as documents


def _document(
    record: type,
    name: str,
    *,
    required: Collection[str] = (),
    without: Collection[str] = (),
    null: bool = True,
) -> type[WireSchema]:
    """Return the schema of a React Flow record, which keeps keys that it does not know.

    Drafts may have null for every key that is not `required` by the record; with ``null=False``
    those of `required` are never null.
    """
    keys = {key.wire: key for key in keys_of(record)}
    declared = {}
    for python, wire, hint in fields_of(record):
        if wire in without:
            continue
        key = keys.get(wire)
        field = _field(Any if key and key.normalised else hint, data_key=wire)
        field.required = wire in required
        field.allow_none = bool(key and not key.required) and (null or not field.required)
        declared[python] = field
    return _schema(name, declared, description=_summary(record), unknown=ma.INCLUDE)


class AnyNode(ma.fields.Field[Any]):
    """A node: of a known type, or a draft with whatever type and config it has so far."""


@cache
def node_schema(node_type: type[NodeType]) -> type[WireSchema]:
    """Return the schema of a node of one type."""
    required = any(spec.required for spec in specs(node_type))
    declared = {
        "type": ma.fields.String(required=True, validate=ma.validate.Equal(node_type.type)),
        "config": ma.fields.Nested(config_schema(node_type), required=required),
    }
    meta = {"description": _summary(node_type), "unknown": ma.INCLUDE}
    return type(
        f"{_title(node_type)}NodeSchema",
        (NodeSchema,),
        declared | {"Meta": type("Meta", (), meta)},
    )


EdgeSchema = _document(Edge, "Edge", required=("id", "source", "target"))
NodeSchema = _document(Node, "Node", required=("id", "type"))
_SET = ("version", "createdAt", "updatedAt")
"""What the service sets, whatever a client sends."""
FlowSchema = _document(
    Flow, "Flow", required=("id", "isActive", "nodes", "edges", *_SET), null=False
)
FlowInputSchema = _document(Flow, "FlowInput", required=("nodes", "edges"), without=_SET)
FlowPatchSchema = _document(Flow, "FlowPatch", without=("id", *_SET))


class ProblemsSchema(WireSchema):
    """What is wrong with a flow."""

    problems = ma.fields.List(ma.fields.Nested(schema_for(Problem)), required=True)


SavedFlowSchema = type(
    "SavedFlowSchema",
    (FlowSchema, ProblemsSchema),
    {"Meta": type("Meta", (), {"description": "A flow as it was saved.", "unknown": ma.INCLUDE})},
)
