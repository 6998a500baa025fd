"""What the value of a config field may be: one small class per kind.

A kind reads JSON data (`read`), writes it back (`write`) and describes it as JSON Schema
(`schema`); the three must agree, and a property test holds them to it.
Imports `expression`, `template`, `problems`, `wire` and `zones`.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from flowkit.expression import MAX_MAPPING, Expr, check_logic, check_mapping, check_template
from flowkit.problems import Problem, pointer
from flowkit.template import MAX_TEMPLATE
from flowkit.wire import canonical
from flowkit.zones import check_time, check_zone

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
Read = tuple[Any, list[Problem]]
"""The value as Python holds it, and what is wrong with it."""


class Kind(Protocol):
    """What a field's value may be."""

    def read(self, value: Any, path: str) -> Read:
        """Check JSON data and return the Python value; None when there are problems."""
        ...

    def write(self, value: Any) -> Any:
        """Return the JSON data of a Python value."""
        ...

    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema of what `read` accepts."""
        ...


def _refused(code: str, path: str, message: str) -> Read:
    return None, [Problem(code, path, message)]


def _name(value: Any) -> str:
    """Return what JSON calls the type of `value`."""
    if value is None:
        return "null"
    for types, name in (
        (bool, "a boolean"),
        (str, "text"),
        ((int, float), "a number"),
        ((list, tuple), "an array"),
        (dict, "an object"),
    ):
        if isinstance(value, types):
            return name
    return f"a {type(value).__name__}"


def wrong_type(wanted: str, value: Any, path: str) -> Problem:
    """Return the problem of a value of the wrong type."""
    return Problem("config.type", path, f"This must be {wanted}, not {_name(value)}.")


@dataclass(frozen=True, slots=True)
class Text:
    """Text within a length, in a language of its own where `check` is given."""

    min_length: int | None = None
    max_length: int | None = None
    format: str | None = None
    check: Callable[[str, str], list[Problem]] | None = None

    def read(self, value: Any, path: str) -> Read:
        """Check the type, the length and the language."""
        if not isinstance(value, str):
            return None, [wrong_type("text", value, path)]
        if self.min_length is not None and len(value) < self.min_length:
            return _refused(
                "config.out_of_range",
                path,
                "This must not be empty."
                if self.min_length == 1
                else f"This must have at least {self.min_length} characters.",
            )
        if self.max_length is not None and len(value) > self.max_length:
            return _refused(
                "config.out_of_range",
                path,
                f"This must have at most {self.max_length} characters; it has {len(value)}.",
            )
        found = self.check(value, path) if self.check else []
        return (None if found else value), found

    def write(self, value: Any) -> Any:
        """Return the text."""
        return value

    def schema(self) -> dict[str, Any]:
        """Return a string schema."""
        bounds = {"minLength": self.min_length, "maxLength": self.max_length, "format": self.format}
        return {"type": "string"} | {k: v for k, v in bounds.items() if v is not None}


def template(min_length: int | None = None, max_length: int = MAX_TEMPLATE) -> Text:
    """Return the kind of text that is Liquid."""
    return Text(min_length, max_length, "liquid", check_template)


def jmespath(min_length: int = 1, max_length: int = MAX_MAPPING) -> Text:
    """Return the kind of text that is JMESPath."""
    return Text(min_length, max_length, "jmespath", check_mapping)


def time_of_day() -> Text:
    """Return the kind of text that is a time of day."""
    return Text(format="time-of-day", check=check_time)


def name() -> Text:
    """Return the kind of text that names a part of a config, such as a way out."""
    return Text(format="name", check=check_name)


def check_name(text: str, path: str) -> list[Problem]:
    """Return what is wrong with a name."""
    if _NAME.fullmatch(text):
        return []
    message = f"{text!r} cannot be a name here: use 1 to 64 of A-Z a-z 0-9 _ -."
    return [Problem("config.name", path, message)]


def time_zone() -> Text:
    """Return the kind of text that names a time zone."""
    return Text(format="time-zone", check=check_zone)


@dataclass(frozen=True, slots=True)
class Number:
    """A finite number within bounds; a boolean is none."""

    integer: bool = False
    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None

    def read(self, value: Any, path: str) -> Read:
        """Check the type and the bounds; a whole float is taken for an integer."""
        wanted = "a whole number" if self.integer else "a number"
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return None, [wrong_type(wanted, value, path)]
        if isinstance(value, float) and not math.isfinite(value):
            return _refused("config.type", path, f"This must be {wanted}, not NaN or infinity.")
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if self.integer and not isinstance(value, int):
            return _refused("config.type", path, "This must be a whole number.")
        for bound, holds, words in (
            (self.ge, operator.ge, "at least"),
            (self.gt, operator.gt, "more than"),
            (self.le, operator.le, "at most"),
            (self.lt, operator.lt, "less than"),
        ):
            if bound is not None and not holds(value, bound):
                return _refused("config.out_of_range", path, f"This must be {words} {bound}.")
        return value, []

    def write(self, value: Any) -> Any:
        """Return the number."""
        return value

    def schema(self) -> dict[str, Any]:
        """Return a number or integer schema."""
        bounds = {
            "minimum": self.ge,
            "exclusiveMinimum": self.gt,
            "maximum": self.le,
            "exclusiveMaximum": self.lt,
        }
        kind = {"type": "integer" if self.integer else "number"}
        return kind | {k: v for k, v in bounds.items() if v is not None}


@dataclass(frozen=True, slots=True)
class Flag:
    """True or false, and nothing that looks like it."""

    def read(self, value: Any, path: str) -> Read:
        """Check the type."""
        if not isinstance(value, bool):
            return None, [wrong_type("true or false", value, path)]
        return value, []

    def write(self, value: Any) -> Any:
        """Return the boolean."""
        return value

    def schema(self) -> dict[str, Any]:
        """Return a boolean schema."""
        return {"type": "boolean"}


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few texts."""

    options: tuple[str, ...]

    def read(self, value: Any, path: str) -> Read:
        """Check that the value is an option."""
        if value not in self.options:
            return _refused(
                "config.choice", path, f"This must be one of {', '.join(self.options)}."
            )
        return value, []

    def write(self, value: Any) -> Any:
        """Return the option."""
        return value

    def schema(self) -> dict[str, Any]:
        """Return an enumeration."""
        return {"enum": list(self.options)}


@dataclass(frozen=True, slots=True)
class Listing:
    """Values of one kind; a tuple in Python."""

    item: Kind
    min_length: int | None = None
    max_length: int | None = None

    def read(self, value: Any, path: str) -> Read:
        """Check the type, the length and each item."""
        if not isinstance(value, (list, tuple)):
            return None, [wrong_type("an array", value, path)]
        for bound, holds, words in (
            (self.min_length, operator.ge, "at least"),
            (self.max_length, operator.le, "at most"),
        ):
            if bound is not None and not holds(len(value), bound):
                return _refused(
                    "config.out_of_range", path, f"This must have {words} {bound} items."
                )
        items = [self.item.read(item, path + pointer(i)) for i, item in enumerate(value)]
        found = [problem for _, problems in items for problem in problems]
        return (None if found else tuple(item for item, _ in items)), found

    def write(self, value: Any) -> Any:
        """Return a list of the written items."""
        return [self.item.write(item) for item in value]

    def schema(self) -> dict[str, Any]:
        """Return an array schema."""
        bounds = {"minItems": self.min_length, "maxItems": self.max_length}
        return {"type": "array", "items": self.item.schema()} | {
            k: v for k, v in bounds.items() if v is not None
        }


@dataclass(frozen=True, slots=True)
class Table:
    """Values of one kind by name; names are not empty."""

    item: Kind
    max_length: int | None = None

    def read(self, value: Any, path: str) -> Read:
        """Check the type, the number, the names and each value."""
        if not isinstance(value, dict):
            return None, [wrong_type("an object", value, path)]
        if self.max_length is not None and len(value) > self.max_length:
            return _refused(
                "config.out_of_range", path, f"This must have at most {self.max_length} names."
            )
        found: list[Problem] = []
        items = {}
        for name, item in value.items():
            place = path + pointer(str(name))
            if not isinstance(name, str) or not name:
                found.append(Problem("config.out_of_range", place, "A name must not be empty."))
            else:
                items[name], wrong = self.item.read(item, place)
                found += wrong
        return (None if found else items), found

    def write(self, value: Any) -> Any:
        """Return the written values by name."""
        return {name: self.item.write(item) for name, item in value.items()}

    def schema(self) -> dict[str, Any]:
        """Return the schema of an object with any names."""
        bounds = {} if self.max_length is None else {"maxProperties": self.max_length}
        return {
            "type": "object",
            "additionalProperties": self.item.schema(),
            "propertyNames": {"minLength": 1},
        } | bounds


@dataclass(frozen=True, slots=True)
class Data:
    """Any JSON data."""

    def read(self, value: Any, path: str) -> Read:
        """Check that it can be written as JSON."""
        try:
            canonical(value)
        except (TypeError, ValueError, RecursionError) as error:
            return _refused("config.type", path, f"This must be JSON data: {error}.")
        return value, []

    def write(self, value: Any) -> Any:
        """Return the data."""
        return value

    def schema(self) -> dict[str, Any]:
        """Return the schema that anything satisfies."""
        return {}


@dataclass(frozen=True, slots=True)
class Logic:
    """A JSONLogic document; in Python also an `Expr`."""

    def read(self, value: Any, path: str) -> Read:
        """Compile the expression, so that what is accepted can be evaluated."""
        if isinstance(value, Expr):
            value = value.to_jsonlogic()
        found = check_logic(value, path)
        return (None if found else value), found

    def write(self, value: Any) -> Any:
        """Return the JSONLogic document."""
        return value

    def schema(self) -> dict[str, Any]:
        """Return a schema that leaves the language to its format."""
        return {"format": "jsonlogic"}
