"""Arguments of the builder's methods as Python source, by what kind of field they are for.

Imports `fields`, `kinds`, `nodetype`, `conditions`, `text`.
"""

from __future__ import annotations

from typing import Any

import flowkit
from flowkit import kinds
from flowkit.expression import Expr
from flowkit.fields import Part, specs
from flowkit.kinds import Kind
from flowkit.nodetype import NodeType
from flowkit.source.conditions import condition
from flowkit.source.text import (
    Atom,
    Piece,
    call,
    listing,
    literal,
    mapping,
    quoted,
)


def named_arguments(owner: type, given: dict[str, Any]) -> dict[str, Piece]:
    """Return the source of arguments by name, of which some are fields of `owner`."""
    known = {spec.name: spec.kind for spec in specs(owner)}
    return {name: value(known.get(name), argument) for name, argument in given.items()}


def value(kind: Kind | None, given: Any) -> Piece:
    """Return the source of a field's value, or of JSON data with conditions in it."""
    if isinstance(given, Expr):
        return condition(given.to_jsonlogic())
    if given is None:
        return Atom("None")
    if isinstance(kind, kinds.Logic):
        return condition(given)
    if isinstance(kind, Part):
        return _part(kind, given)
    if isinstance(given, dict):
        inner = kind.item if isinstance(kind, kinds.Table) else None
        return mapping({name: value(inner, item) for name, item in given.items()})
    if isinstance(given, (list, tuple)):
        inner = kind.item if isinstance(kind, kinds.Listing) else None
        return listing(value(inner, item) for item in given)
    return literal(given)


def _part(kind: Part, given: Any) -> Piece:
    """Return the source of an object with fields: a call where the class has a public name."""
    if getattr(flowkit, kind.cls.__name__, None) is kind.cls:
        return _made(f"fk.{kind.cls.__name__}", given)
    wires = kind.write(given)
    shown = [spec for spec in specs(kind.cls) if spec.wire in wires]
    return mapping({spec.wire: value(spec.kind, getattr(given, spec.name)) for spec in shown})


def constructed(node: NodeType) -> Piece:
    """Return the source of a node type's instance."""
    return _made(f"fk.node_types()[{quoted(node.type)}]", node)


def _made(name: str, instance: Any) -> Piece:
    """Return the call of a class with the fields that are not at their default."""
    cls = type(instance)
    values = {spec.name: (getattr(instance, spec.name), spec.default) for spec in specs(cls)}
    given = {name: value for name, (value, default) in values.items() if value != default}
    return call(name, **named_arguments(cls, given))
