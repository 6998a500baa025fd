"""The operators of JSONLogic: what each does to its operands, and how many it takes.

They behave as https://jsonlogic.com describes, loose ``==`` and the truth of empty arrays
included, with these differences:

* ``<``, ``<=``, ``>`` and ``>=`` compare numbers with numbers (a text that reads as a number is
  one) and text with text. With null, a missing variable included, they are false. Anything else
  is an error that names the operator; nothing is guessed.
* ``==`` compares arrays and objects by content.
* Arithmetic on what is no number, and division by zero, are errors.

A new operator is a line in `OPERATORS`. Imports the standard library only.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

MAX_BITS = 1023
"""Size of a whole number as the result of arithmetic; a larger one is no double either."""

Compiled = Callable[[Any], Any]
"""An expression as a function of the data."""
_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


class Unfit(Exception):
    """Operands that an operator cannot combine."""


def truthy(value: Any) -> bool:
    """Return whether JSONLogic counts `value` as true: 0, "", null and [] are false, {} is not."""
    return True if isinstance(value, dict) else bool(value)


def constant(value: Any) -> Compiled:
    """Return the expression that is a value."""
    return lambda _data: value


# --- variables --------------------------------------------------------------------------------


def is_path(value: Any) -> bool:
    """Return whether `value` can be the first operand of ``var``."""
    return value is None or (isinstance(value, (str, int, dict)) and not isinstance(value, bool))


def static_variable(listed: list[Any], parts: list[Compiled]) -> Compiled:
    """Return ``var`` for a path that is written out, taken apart once."""
    keys = _keys(listed[0]) if listed else ()
    if len(listed) > 1:
        fallback = parts[1]

        def with_default(data: Any) -> Any:
            value = _look_up(data, keys)
            return fallback(data) if value is None else value

        return with_default
    return lambda data: _look_up(data, keys)


def _variable(parts: list[Compiled]) -> Compiled:
    def dynamic(data: Any) -> Any:
        path = parts[0](data)
        if not is_path(path) or isinstance(path, dict):
            raise Unfit(f'"var" needs a path, not {_show(path)}.')
        value = _look_up(data, _keys(path))
        return parts[1](data) if value is None and len(parts) > 1 else value

    return dynamic


def _keys(path: str | int | None) -> tuple[str, ...]:
    return () if path is None or path == "" else tuple(str(path).split("."))


def _look_up(data: Any, keys: tuple[str, ...]) -> Any:
    for key in keys:
        if isinstance(data, Mapping):
            data = data.get(key)
        elif isinstance(data, (list, str)) and key.isascii() and key.isdigit() and len(key) < 10:
            index = int(key)
            data = data[index] if index < len(data) else None
        else:
            return None
    return data


def _missing(parts: list[Compiled]) -> Compiled:
    def missing(data: Any) -> list[Any]:
        names = [part(data) for part in parts]
        if names and isinstance(names[0], list):
            names = names[0]
        for name in names:
            if not is_path(name) or isinstance(name, dict):
                raise Unfit(f'"missing" needs paths, not {_show(name)}.')
        return [name for name in names if _look_up(data, _keys(name)) in (None, "")]

    return missing


# --- comparison -------------------------------------------------------------------------------


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _number(value: Any) -> int | float | None:
    """Return `value` as JavaScript's Number() reads it; None where that is NaN."""
    if isinstance(value, (int, float)):
        return value  # a bool is 0 or 1 in arithmetic as it is
    if value is None:
        return 0
    if not isinstance(value, str):
        return None
    text = value.strip()
    if not text:
        return 0
    if not _NUMBER.fullmatch(text):
        return None
    # float() takes texts of any length; int() refuses more than 4,300 digits.
    return int(text) if len(text) < 300 and text.lstrip("+-").isdigit() else float(text)


def _text(value: Any) -> str:
    """Return `value` as JavaScript's String() writes it."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e21:
        return str(int(value))
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, list):
        return ",".join(_text(item) for item in value)
    raise Unfit("An object cannot be written as text.")


def _strictly_equal(a: Any, b: Any) -> bool:
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    return bool(a == b)


def _loosely_equal(a: Any, b: Any) -> bool:
    if type(a) is type(b):
        return bool(a == b)
    if a is None or b is None or isinstance(a, dict) or isinstance(b, dict):
        return bool(a == b)
    if isinstance(a, list):
        a = _text(a)
    if isinstance(b, list):
        b = _text(b)
    if isinstance(a, str) and isinstance(b, str):
        return a == b
    left, right = _number(a), _number(b)
    return left is not None and right is not None and left == right


def _ordered(name: str, compare: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def ordered(a: Any, b: Any) -> bool:
        if a is None or b is None:
            return False
        if isinstance(a, str) and isinstance(b, str):
            return compare(a, b)
        left = _number(a) if _is_number(b) and isinstance(a, str) else a
        right = _number(b) if _is_number(a) and isinstance(b, str) else b
        if not _is_number(left) or not _is_number(right):
            raise Unfit(f'"{name}" cannot compare {_show(a)} with {_show(b)}.')
        return compare(left, right)

    return ordered


def _show(value: Any) -> str:
    if isinstance(value, (list, dict)):
        return "an array" if isinstance(value, list) else "an object"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = repr(value) if not isinstance(value, int) or value.bit_length() < 256 else "a number"
    return text if len(text) <= 40 else text[:37] + "..."


def _contains(needle: Any, haystack: Any) -> bool:
    if isinstance(haystack, str):
        return isinstance(needle, (str, int, float)) and _text(needle) in haystack
    if isinstance(haystack, list):
        return any(_strictly_equal(needle, item) for item in haystack)
    return False


# --- arithmetic -------------------------------------------------------------------------------


def _operand(name: str, value: Any) -> int | float:
    number = None if value is None or isinstance(value, bool) else _number(value)
    if number is None or value == "":
        raise Unfit(f'"{name}" needs numbers, not {_show(value)}.')
    return number


def _bounded(name: str, value: int | float) -> int | float:
    if isinstance(value, int) and value.bit_length() > MAX_BITS:
        raise Unfit(f'The result of "{name}" is too large.')
    if isinstance(value, float) and not math.isfinite(value):
        raise Unfit(f'The result of "{name}" is not a number.')
    return value


def _folded(name: str, fold: Callable[[Any, Any], Any]) -> Callable[[list[Compiled]], Compiled]:
    def build(parts: list[Compiled]) -> Compiled:
        def run(data: Any) -> Any:
            total = _operand(name, parts[0](data))
            for part in parts[1:]:
                total = _bounded(name, fold(total, _operand(name, part(data))))
            return total

        return run

    return build


def _minus(parts: list[Compiled]) -> Compiled:
    if len(parts) == 1:
        return lambda data: -_operand("-", parts[0](data))
    return _folded("-", operator.sub)(parts)


def _divide(a: Any, b: Any) -> Any:
    if b == 0:
        raise Unfit('"/" cannot divide by zero.')
    whole = isinstance(a, int) and isinstance(b, int) and a % b == 0
    return a // b if whole else a / b


def _remainder(a: Any, b: Any) -> Any:
    if b == 0:
        raise Unfit('"%" cannot divide by zero.')
    if isinstance(a, int) and isinstance(b, int):
        rest = abs(a) % abs(b)
        return -rest if a < 0 else rest  # the sign of the dividend, as in JavaScript
    return math.fmod(a, b)


# --- the table --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Operator:
    """How many operands an operator takes, and how it is compiled."""

    least: int
    most: int | float
    compile: Callable[[list[Compiled]], Compiled]

    @property
    def arity(self) -> str:
        """Return the number of operands in words."""
        if self.least == self.most:
            return f"{self.least} operand{'s' if self.least > 1 else ''}"
        if self.most == math.inf:
            return f"at least {self.least} operand{'s' if self.least > 1 else ''}"
        return f"{self.least} to {self.most} operands"


def _unary(function: Callable[[Any], Any]) -> Callable[[list[Compiled]], Compiled]:
    def build(parts: list[Compiled]) -> Compiled:
        only = parts[0]
        return lambda data: function(only(data))

    return build


def _binary(function: Callable[[Any, Any], Any]) -> Callable[[list[Compiled]], Compiled]:
    def build(parts: list[Compiled]) -> Compiled:
        left, right = parts
        return lambda data: function(left(data), right(data))

    return build


def _chain(name: str, compare: Callable[[Any, Any], bool]) -> Callable[[list[Compiled]], Compiled]:
    ordered = _ordered(name, compare)

    def build(parts: list[Compiled]) -> Compiled:
        if len(parts) == 2:
            return _binary(ordered)(parts)
        low, middle, high = parts

        def between(data: Any) -> bool:
            value = middle(data)
            return ordered(low(data), value) and ordered(value, high(data))

        return between

    return build


def _and(parts: list[Compiled]) -> Compiled:
    def run(data: Any) -> Any:
        value = None
        for part in parts:
            value = part(data)
            if not truthy(value):
                return value
        return value

    return run


def _or(parts: list[Compiled]) -> Compiled:
    def run(data: Any) -> Any:
        value = None
        for part in parts:
            value = part(data)
            if truthy(value):
                return value
        return value

    return run


def _if(parts: list[Compiled]) -> Compiled:
    pairs = list(zip(parts[0:-1:2], parts[1::2], strict=False))
    last = parts[-1] if len(parts) % 2 else constant(None)

    def run(data: Any) -> Any:
        for condition, value in pairs:
            if truthy(condition(data)):
                return value(data)
        return last(data)

    return run


def _cat(parts: list[Compiled]) -> Compiled:
    return lambda data: "".join([_text(part(data)) for part in parts])


def _extreme(name: str, choose: Callable[[Any], Any]) -> Callable[[list[Compiled]], Compiled]:
    return lambda parts: lambda data: choose([_operand(name, part(data)) for part in parts])


OPERATORS: dict[str, Operator] = {
    "var": Operator(0, 2, _variable),
    "missing": Operator(0, math.inf, _missing),
    "==": Operator(2, 2, _binary(_loosely_equal)),
    "!=": Operator(2, 2, _binary(lambda a, b: not _loosely_equal(a, b))),
    "===": Operator(2, 2, _binary(_strictly_equal)),
    "!==": Operator(2, 2, _binary(lambda a, b: not _strictly_equal(a, b))),
    "<": Operator(2, 3, _chain("<", operator.lt)),
    "<=": Operator(2, 3, _chain("<=", operator.le)),
    ">": Operator(2, 3, _chain(">", operator.gt)),
    ">=": Operator(2, 3, _chain(">=", operator.ge)),
    "!": Operator(1, 1, _unary(lambda value: not truthy(value))),
    "!!": Operator(1, 1, _unary(truthy)),
    "and": Operator(1, math.inf, _and),
    "or": Operator(1, math.inf, _or),
    "if": Operator(1, math.inf, _if),
    "in": Operator(2, 2, _binary(_contains)),
    "cat": Operator(0, math.inf, _cat),
    "+": Operator(1, math.inf, _folded("+", operator.add)),
    "-": Operator(1, 2, _minus),
    "*": Operator(1, math.inf, _folded("*", operator.mul)),
    "/": Operator(2, 2, _folded("/", _divide)),
    "%": Operator(2, 2, _folded("%", _remainder)),
    "min": Operator(1, math.inf, _extreme("min", min)),
    "max": Operator(1, math.inf, _extreme("max", max)),
}
"""Every operator that an expression may use."""
