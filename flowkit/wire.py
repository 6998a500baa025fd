"""JSON in and out of the record dataclasses, derived from their fields.

Owns the one translation between Python's names and the wire's: snake_case to camelCase,
aware datetimes to ISO 8601 in UTC with milliseconds. A field with the metadata
``{"wire": False}`` stays inside. Imports the standard library only.
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Any, TypeVar, cast, overload

R = TypeVar("R")

INTERNAL: dict[str, Any] = {"wire": False}
"""Field metadata of what a record carries but never shows on the wire."""


def camel(name: str) -> str:
    """Return the wire name of a Python name: ``start_time`` becomes ``startTime``."""
    head, *rest = name.split("_")
    return head + "".join(word.capitalize() for word in rest)


def cut(moment: datetime) -> datetime:
    """Return `moment` in UTC, cut to milliseconds.

    Raises
    ------
    ValueError
        When `moment` is naive: a time without a zone is not a moment.
    """
    if moment.tzinfo is None:
        raise ValueError(f"{moment!r} has no time zone; pass an aware datetime")
    moment = moment.astimezone(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def later(moment: datetime) -> datetime:
    """Return the next full millisecond, since what is kept must not come before its time."""
    return cut(moment + timedelta(microseconds=999))


@overload
def to_ms(moment: datetime) -> int: ...
@overload
def to_ms(moment: None) -> None: ...
def to_ms(moment: datetime | None) -> int | None:
    """Return a moment as milliseconds since 1970, the form in which stores keep it."""
    return None if moment is None else round(moment.timestamp() * 1000)


@overload
def from_ms(ms: int) -> datetime: ...
@overload
def from_ms(ms: None) -> None: ...
def from_ms(ms: int | None) -> datetime | None:
    """Return the moment that `to_ms` made `ms` of."""
    if ms is None:
        return None
    return _EPOCH + ms * _MILLISECOND


def iso(moment: datetime) -> str:
    """Return the wire form of a moment: ``2026-11-22T10:00:00.000Z``."""
    return cut(moment).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_iso(text: str) -> datetime:
    """Read an ISO 8601 moment that names its zone.

    Raises
    ------
    ValueError
        When `text` is no such moment.
    """
    return cut(datetime.fromisoformat(text))


_ENCODER = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
)


def canonical(value: Any) -> str:
    """Return `value` as canonical JSON text: sorted keys, no spaces, no NaN."""
    return _ENCODER.encode(value)


@cache
def fields_of(record: type) -> tuple[tuple[str, str, Any], ...]:
    """Return (python name, wire name, resolved type) of each field that is on the wire."""
    hints = typing.get_type_hints(record)
    return tuple(
        (f.name, camel(f.name), hints[f.name])
        for f in dataclasses.fields(record)
        if f.metadata.get("wire", True)
    )


def to_wire(value: Any) -> Any:
    """Return `value` as JSON data: records become objects, moments and days ISO text."""
    if isinstance(value, datetime):
        return iso(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, (list, tuple)):
        return [to_wire(item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {wire: to_wire(getattr(value, name)) for name, wire, _ in fields_of(type(value))}
    return value


def from_wire(record: type[R], data: dict[str, Any]) -> R:
    """Read a record from JSON data that `to_wire` wrote; fields that are absent keep defaults."""
    known = fields_of(cast(Any, record))
    return record(**{name: _read(hint, data[wire]) for name, wire, hint in known if wire in data})


def _read(hint: Any, value: Any) -> Any:
    if value is None:
        return None
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return _read(next(arg for arg in typing.get_args(hint) if arg is not type(None)), value)
    if origin in (list, tuple):
        item = typing.get_args(hint)[0]
        return origin(_read(item, element) for element in value)
    if hint is datetime:
        return parse_iso(value)
    if hint is date:
        return date.fromisoformat(value)
    if dataclasses.is_dataclass(hint):
        return from_wire(cast(type, hint), value)
    return value
