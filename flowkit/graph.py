"""`Node` and `Edge`, and how records are read from React Flow's JSON without losing anything.

A record knows the named keys and keeps every other in ``extra``. What a document left out, wrote
as null or spelled otherwise is written back so, unless the field has been changed since.
Imports `nodetype`, `problems`, `wire`, `errors`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field
from datetime import datetime
from functools import cache
from typing import Any, NamedTuple, TypeVar

from flowkit.errors import NotFound
from flowkit.nodetype import node_type
from flowkit.problems import Problem, pointer
from flowkit.wire import INTERNAL, camel, iso, parse_iso

MAX_DEPTH = 100
"""Levels of arrays and objects that a document may nest."""
MAX_INTEGER_BITS = 1023

R = TypeVar("R", bound="Record")
_ALWAYS = {"always": True}


class _Absent:
    """Stands for a key that a document does not have; a class, so that it survives pickling."""


_ABSENT: Any = _Absent


class Record:
    """What `Flow`, `Node` and `Edge` share: lossless JSON, equality by it, and replacement."""

    extra: dict[str, Any]
    said: Mapping[str, tuple[Any, Any]]

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON document; its own copy."""
        written: dict[str, Any] = {}
        for key in keys_of(type(self)):
            value = getattr(self, key.name)
            read, raw = self.said.get(key.wire, (_ABSENT, _ABSENT))
            if read is _ABSENT or key.normalised or read != value:
                raw = key.written(value)
            if raw is not _ABSENT:
                written[key.wire] = raw
        return {**written, **copy(self.extra)}

    def replace(self: R, **changes: Any) -> R:
        """Return the record with other values in some fields."""
        return dataclasses.replace(self, **changes)  # type: ignore[type-var]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and self.to_dict() == other.to_dict()

    __hash__ = None  # type: ignore[assignment]


class _JsonType(NamedTuple):
    """How one type of field stands in JSON."""

    wanted: str
    is_a: Callable[[Any], bool]
    read: Callable[[Any], Any]
    write: Callable[[Any], Any]


def _same(value: Any) -> Any:
    return value


def _is_version(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53


def _is_moment(value: Any) -> bool:
    try:
        return isinstance(value, str) and parse_iso(value) is not None
    except (ValueError, OverflowError):
        return False


_JSON_TYPES: dict[Any, _JsonType] = {
    str: _JsonType("text", lambda value: isinstance(value, str), _same, _same),
    bool: _JsonType("true or false", lambda value: isinstance(value, bool), _same, _same),
    int: _JsonType("a whole number from 0 on", _is_version, _same, _same),
    dict: _JsonType("an object", lambda value: isinstance(value, dict), _same, lambda v: copy(v)),
    datetime: _JsonType("a moment such as 2026-11-22T10:00:00Z", _is_moment, parse_iso, iso),
}


class Key(NamedTuple):
    """One named key of a record."""

    wire: str
    name: str
    json: _JsonType
    default: Any
    required: bool
    always: bool
    normalised: bool

    def written(self, value: Any) -> Any:
        """Return the JSON of a value that no document has spelled; absent at the default."""
        if value is None or (value == self.default and not self.always):
            return _ABSENT
        return self.json.write(value)


def keys_of(record: type) -> tuple[Key, ...]:
    """Return the named keys of a record, from its fields."""
    return _keys_of(record)


@cache
def _keys_of(record: type) -> tuple[Key, ...]:
    hints = typing.get_type_hints(record)
    return tuple(
        Key(
            wire=camel(f.name),
            name=f.name,
            json=_JSON_TYPES[_plain_type(hints[f.name])],
            default=f.default_factory() if f.default_factory is not MISSING else f.default,
            required=f.default is MISSING and f.default_factory is MISSING,
            always=f.metadata.get("always", f.default is MISSING and f.default_factory is MISSING),
            normalised=f.metadata.get("normalised", False),
        )
        for f in dataclasses.fields(record)
        if f.metadata.get("wire", True) and _plain_type(hints[f.name]) in _JSON_TYPES
    )


def _plain_type(hint: Any) -> Any:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        hint = next(arg for arg in typing.get_args(hint) if arg is not type(None))
    return typing.get_origin(hint) or hint


def read_record(
    record: type, data: Any, path: str, found: list[Problem], apart: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Return the arguments that make a record of JSON data; what is wrong goes to `found`.

    Keys in `apart` are neither read nor kept as extra: the caller does it.
    """
    if not isinstance(data, dict):
        found.append(_wrong(path, "an object", data))
        return {}
    values: dict[str, Any] = {}
    said: dict[str, tuple[Any, Any]] = {}
    keys = keys_of(record)
    for key in keys:
        raw = data.get(key.wire, _ABSENT)
        if raw is _ABSENT and key.required:
            message = f"{key.wire!r} is missing; it must be {key.json.wanted}."
            found.append(Problem("document.missing", path + pointer(key.wire), message))
            continue
        left_out = raw is _ABSENT or (raw is None and not key.required)
        fits = not left_out and key.json.is_a(raw)
        if not fits and not left_out and not key.normalised:
            found.append(_wrong(path + pointer(key.wire), key.json.wanted, raw))
            continue
        value = values[key.name] = key.json.read(raw) if fits else key.default
        written = key.written(value)
        if key.normalised or (written is not raw and written != raw):
            said[key.wire] = (value, raw)
    known = {key.wire for key in keys} | set(apart)
    values["extra"] = {name: value for name, value in data.items() if name not in known}
    values["said"] = said
    return values


def _wrong(path: str, wanted: str, value: Any) -> Problem:
    named = {dict: "an object", list: "an array", str: "text", type(None): "null"}
    got = named.get(type(value), str(value)[:40])
    return Problem("document.type", path, f"This must be {wanted}, not {got}.")


def copy(value: Any) -> Any:
    """Return a deep copy of JSON data."""
    if isinstance(value, dict):
        return {key: copy(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [copy(item) for item in value]
    return value


def plain(value: Any, path: str, found: list[Problem], depth: int = 0) -> Any:
    """Return a deep copy of JSON data; what cannot be stored as JSON goes to `found`."""
    if isinstance(value, str):
        if not value.isascii() and any("\ud800" <= c <= "\udfff" for c in value):
            message = "The text has half of a surrogate pair, which cannot be stored."
            found.append(Problem("document.text", path, message))
    elif isinstance(value, float):
        if not math.isfinite(value):
            found.append(Problem("document.number", path, "NaN and infinity are no JSON numbers."))
    elif isinstance(value, int):
        if value.bit_length() > MAX_INTEGER_BITS:
            found.append(Problem("document.number", path, "The number is too large."))
    elif isinstance(value, (dict, list, tuple)):
        if depth >= MAX_DEPTH:
            message = f"The document nests deeper than {MAX_DEPTH} levels."
            found.append(Problem("document.depth", path, message))
            return None
        if not isinstance(value, dict):
            return [plain(item, f"{path}/{i}", found, depth + 1) for i, item in enumerate(value)]
        copied = {}
        for key, item in value.items():
            if not isinstance(key, str):
                found.append(Problem("document.type", path, f"The key {key!r} is no text."))
                continue
            inside = path + pointer(key)
            plain(key, path, found)
            copied[key] = plain(item, inside, found, depth + 1)
        return copied
    elif value is not None:
        message = f"A {type(value).__name__} is no JSON value."
        found.append(Problem("document.type", path, message))
    return value


@dataclass(frozen=True, eq=False)
class Node(Record):
    """A node of a flow.

    Parameters
    ----------
    id : str
        Unique in its flow; ``[A-Za-z0-9_-]{1,64}``, not ending in ``_v`` and digits.
    type : str
        Name of the node type.
    category : str
        Follows from the type; whatever is given is replaced.
    position : dict, optional
        ``{"x": ..., "y": ...}`` on the canvas.
    config : dict
        JSON config, as the node type declares it.
    extra : dict
        Every other key of the document, such as React Flow's ``data`` or ``measured``.
    """

    id: str
    type: str
    category: str = field(default="", metadata={"always": True, "normalised": True})
    position: dict[str, Any] | None = None
    config: dict[str, Any] = field(default_factory=dict, metadata=_ALWAYS)
    extra: dict[str, Any] = field(default_factory=dict, metadata=INTERNAL, repr=False)
    said: Mapping[str, tuple[Any, Any]] = field(default_factory=dict, metadata=INTERNAL, repr=False)

    def __post_init__(self) -> None:
        # The validator names a type that is unknown; its category stays as it was given.
        with contextlib.suppress(NotFound):
            object.__setattr__(self, "category", node_type(self.type).category)

    @property
    def given_category(self) -> Any:
        """What the document gave as category; None when nothing."""
        given = self.said.get("category", (None, None))[1]
        return None if given is _ABSENT else given


@dataclass(frozen=True, eq=False)
class Edge(Record):
    """An edge of a flow, from a handle of one node to another node.

    Parameters
    ----------
    id : str
        Unique in its flow.
    source, target : str
        Node ids.
    source_handle : str, optional
        The way out of the source; None is its single unnamed one.
    label : str, optional
        What a canvas shows on it.
    extra : dict
        Every other key of the document.
    """

    id: str
    source: str
    target: str
    source_handle: str | None = None
    label: str | None = None
    extra: dict[str, Any] = field(default_factory=dict, metadata=INTERNAL, repr=False)
    said: Mapping[str, tuple[Any, Any]] = field(default_factory=dict, metadata=INTERNAL, repr=False)
