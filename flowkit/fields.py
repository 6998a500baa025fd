"""Config fields: declared once on a node type, read by everything else.

The fields of a dataclass, a node type or a part of its config, are the declaration. From them come
the constructor, the reading of JSON with its problems (`parse`), the writing of it (`unparse`), the
JSON Schema for forms and API documents (`json_schema`) and the builder's signature. Wire names are
the camelCase of the Python names. Imports `kinds`, `problems`, `errors`, `wire`.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass
from functools import cache
from typing import Any, TypeVar

from flowkit import kinds
from flowkit.errors import Invalid
from flowkit.kinds import Kind
from flowkit.problems import Problem, errors, pointer
from flowkit.wire import camel

T = TypeVar("T")
Showing = Mapping[str, str | tuple[str, ...]]
"""Wire names of fields, and the value, or one of the values, that each must have."""


def field(
    default: Any = MISSING,
    *,
    help: str,
    kind: str | None = None,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    lt: float | None = None,
    min_length: int | None = None,
    max_length: int | None = None,
    show_when: Showing | None = None,
    widget: str | None = None,
) -> Any:
    """Declare a config field of a node type.

    The annotation gives the type: ``str``, ``int``, ``float``, ``bool``, a ``Literal`` of texts,
    a frozen dataclass whose fields are declared like this (on the wire an object; what it leaves
    out is as in the default), a ``Sequence`` of one of these, or a ``Mapping`` of names to one of
    these. ``X | None`` with a default may also be null.

    Parameters
    ----------
    default : optional
        Value of an absent field; without one the field is required.
    help : str
        What the field means, for forms and documents; ends in a full stop.
    kind : {"template", "jmespath", "name", "time", "zone", "expression", "json"}, optional
        The language of the text: Liquid, JMESPath, a name for a part, a time of day such as
        ``09:30``, a time zone such as ``America/Sao_Paulo``; ``"expression"`` for a JSONLogic
        document, ``"json"`` for any JSON data.
    ge, gt, le, lt : float, optional
        Bounds of a number.
    min_length, max_length : int, optional
        Bounds of a text's or sequence's length.
    show_when : dict, optional
        Wire name and value of the field under which alone this one is shown; a tuple is any of its
        values. When it is without default it is required there and None elsewhere.
    widget : str, optional
        How a form shows it, where the type does not say enough.
    """
    bounds = {"ge": ge, "gt": gt, "le": le, "lt": lt}
    lengths = {"min_length": min_length, "max_length": max_length}
    metadata = {
        "help": help,
        "kind": kind,
        "options": {k: v for k, v in (bounds | lengths).items() if v is not None},
        "show_when": show_when,
        "widget": widget,
        "required": default is MISSING,
    }
    if default is MISSING and show_when is not None:
        default = None
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True)
class Spec:
    """One declared field, as the rest of the system reads it."""

    name: str
    wire: str
    kind: Kind
    help: str
    required: bool
    nullable: bool
    default: Any
    show_when: Showing | None
    widget: str | None

    def shown(self, data: dict[str, Any], siblings: Iterable[Spec]) -> bool:
        """Return whether the field is shown for this config."""
        if self.show_when is None:
            return True
        defaults = {spec.wire: spec.default for spec in siblings}
        return all(
            data.get(name, defaults.get(name)) in alternatives(value)
            for name, value in self.show_when.items()
        )


def alternatives(value: str | tuple[str, ...]) -> tuple[str, ...]:
    """Return the values that a condition of showing names."""
    return value if isinstance(value, tuple) else (value,)


def specs(cls: type) -> tuple[Spec, ...]:
    """Return the declared fields of a dataclass, in their order."""
    return _specs(cls)


@cache
def _specs(cls: type) -> tuple[Spec, ...]:
    hints = typing.get_type_hints(cls)
    return tuple(_spec(f, hints[f.name]) for f in dataclasses.fields(cls))


def _spec(declared: dataclasses.Field[Any], hint: Any) -> Spec:
    said = declared.metadata
    if "help" not in said:
        raise TypeError(f"config field {declared.name!r} must be declared with field(help=...)")
    optional = typing.get_origin(hint) in (typing.Union, types.UnionType)
    if optional:
        inner = [arg for arg in typing.get_args(hint) if arg is not type(None)]
        hint = inner[0] if len(inner) == 1 else hint
    try:
        if isinstance(hint, type) and dataclasses.is_dataclass(hint):
            kind: Kind = Part(hint, None if said["required"] else declared.default)
        else:
            kind = _kind(hint, said["kind"], said["options"])
    except TypeError as error:
        raise TypeError(f"config field {declared.name!r}: {error}") from None
    return Spec(
        name=declared.name,
        wire=camel(declared.name),
        kind=kind,
        help=said["help"],
        required=said["required"],
        nullable=optional and not said["required"],
        default=declared.default,
        show_when=said["show_when"],
        widget=said["widget"],
    )


_LANGUAGES = {
    "template": kinds.template,
    "jmespath": kinds.jmespath,
    "name": kinds.name,
    "time": kinds.time_of_day,
    "zone": kinds.time_zone,
}


def _kind(hint: Any, language: str | None, options: dict[str, Any]) -> Kind:
    origin = typing.get_origin(hint)
    if origin in (Sequence, tuple):
        return kinds.Listing(_kind(typing.get_args(hint)[0], language, {}), **options)
    if origin in (Mapping, dict):
        return kinds.Table(_kind(typing.get_args(hint)[1], language, {}), **options)
    if language == "expression":
        return kinds.Logic(**options)
    if language == "json":
        return kinds.Data(**options)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return Part(hint)
    if origin is typing.Literal:
        return kinds.Choice(typing.get_args(hint), **options)
    if hint is str:
        return _LANGUAGES[language](**options) if language else kinds.Text(**options)
    if hint in (int, float):
        return kinds.Number(integer=hint is int, **options)
    if hint is bool:
        return kinds.Flag(**options)
    raise TypeError(f"{hint!r} cannot be the type of a config field")


def parse(cls: type[T], data: Any, path: str = "") -> tuple[T | None, list[Problem]]:
    """Read a declared config from JSON data.

    Parameters
    ----------
    cls : type
        The node type, or the dataclass of a part of its config.
    data : JSON data
        Its config.
    path : str, optional
        JSON pointer to `data`, with which the paths of problems begin.

    Returns
    -------
    tuple
        The instance, or None when there are errors; and the problems.
    """
    if not isinstance(data, dict):
        return None, [kinds.wrong_type("an object", data, path)]
    known = specs(cls)
    names = {spec.wire for spec in known}
    found = [
        Problem(
            "config.unknown_field",
            path + pointer(name),
            f"There is no field {name!r} here; there are {', '.join(sorted(names)) or 'none'}.",
        )
        for name in data
        if name not in names
    ]
    values: dict[str, Any] = {}
    for spec in known:
        values[spec.name] = spec.default
        if spec.wire not in data:
            if spec.required and spec.shown(data, known):
                message = f"{spec.wire!r} is missing: {spec.help}"
                found.append(Problem("config.missing", path + pointer(spec.wire), message))
        elif data[spec.wire] is None and spec.nullable:
            values[spec.name] = None
        else:
            values[spec.name], wrong = spec.kind.read(data[spec.wire], path + pointer(spec.wire))
            found += wrong
    if found:
        return None, found
    made = object.__new__(cls)
    for name, value in values.items():
        object.__setattr__(made, name, value)
    check = getattr(cls, "check", None)
    if check is not None:
        found = [dataclasses.replace(p, path=path + p.path) for p in check(made)]
    return (None if any(p.severity == "error" for p in found) else made), found


def normalise(instance: Any) -> None:
    """Check an instance that was made in Python as `parse` does, and give it the same values.

    Raises
    ------
    Invalid
        When its fields have errors.
    """
    cls = type(instance)
    given = {
        spec.wire: getattr(instance, spec.name)
        for spec in specs(cls)
        if getattr(instance, spec.name) is not spec.default
    }
    made, found = parse(cls, given)
    if made is None:
        raise Invalid(errors(found))
    for spec in specs(cls):
        object.__setattr__(instance, spec.name, getattr(made, spec.name))


def unparse(instance: Any, base: Any = None) -> dict[str, Any]:
    """Return the JSON config of an instance; fields that are as in `base` are left out.

    Without `base` those that are at their default.
    """
    written = {}
    for spec in specs(type(instance)):
        value = getattr(instance, spec.name)
        if value != (spec.default if base is None else getattr(base, spec.name)):
            written[spec.wire] = None if value is None else spec.kind.write(value)
    return written


@dataclass(frozen=True, slots=True)
class Part:
    """An object with declared fields of its own; what it leaves out is as in `base`."""

    cls: type
    base: Any = None

    def read(self, value: Any, path: str) -> kinds.Read:
        """Read the object; in Python also an instance."""
        if isinstance(value, self.cls):
            return value, []
        if isinstance(value, dict) and self.base is not None:
            value = unparse(self.base) | value
        return parse(self.cls, value, path)

    def write(self, value: Any) -> Any:
        """Return the JSON object."""
        return unparse(value, self.base)

    def schema(self) -> dict[str, Any]:
        """Return the schema of the object, with the defaults of `base`."""
        schema = json_schema(self.cls)
        if self.base is not None:
            for wire, value in unparse(self.base).items():
                schema["properties"][wire]["default"] = value
            schema["required"] = []
        return schema


def json_schema(cls: type) -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a declared config, with hints for forms.

    ``x-order`` is the fields' order, ``x-widget`` and ``x-show-when`` say how and when a form
    shows a field. The formats ``liquid``, ``jmespath`` and ``jsonlogic`` name languages.
    """
    known = specs(cls)
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {spec.wire: _property(spec) for spec in known},
        "required": [spec.wire for spec in known if spec.required and not spec.show_when],
        "additionalProperties": False,
        "x-order": [spec.wire for spec in known],
    }
    defaults = {spec.wire: spec.default for spec in known}
    conditions = [
        {
            "if": {
                "properties": {n: {"enum": [*alternatives(v)]} for n, v in spec.show_when.items()},
                "required": [
                    n for n, v in spec.show_when.items() if defaults[n] not in alternatives(v)
                ],
            },
            "then": {"required": [spec.wire]},
        }
        for spec in known
        if spec.required and spec.show_when
    ]
    return schema | ({"allOf": conditions} if conditions else {})


def _property(spec: Spec) -> dict[str, Any]:
    schema = spec.kind.schema()
    if spec.nullable and schema.get("type"):
        schema["type"] = [schema["type"], "null"]
    elif spec.nullable and "enum" in schema:
        schema["enum"] = [*schema["enum"], None]
    words = spec.wire[0].upper() + "".join(
        f" {c.lower()}" if c.isupper() else c for c in spec.wire[1:]
    )
    schema |= {"title": words, "description": spec.help}
    if spec.default is not MISSING and spec.default is not None:
        schema["default"] = spec.kind.write(spec.default)
    if spec.show_when:
        schema["x-show-when"] = {
            name: [*value] if isinstance(value, tuple) else value
            for name, value in spec.show_when.items()
        }
    if spec.widget:
        schema["x-widget"] = spec.widget
    return schema
