"""Conditions written in Python, and the three languages in which a flow looks at its data.

``contact.country == "BR"`` builds JSONLogic; `evaluate` (JSONLogic), `render` (Liquid) and
`search` (JMESPath) read values out of a scope, each with its compilation cached.
Imports `errors`, `problems`, `jsonlogic`, `template` and jmespath.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NoReturn, overload

import jmespath  # type: ignore[import-untyped]
from jmespath.functions import Functions  # type: ignore[import-untyped]
from jmespath.parser import ParsedResult  # type: ignore[import-untyped]

from flowkit.errors import NodeFailed
from flowkit.jsonlogic import check_logic as check_logic
from flowkit.jsonlogic import evaluate as evaluate
from flowkit.jsonlogic import truthy as truthy
from flowkit.problems import Problem
from flowkit.template import check_template as check_template
from flowkit.template import render as render

FUNCTIONS = frozenset(Functions.FUNCTION_TABLE)
_NO_BOOL = """\
a condition has no truth value in Python; it is decided when the flow runs.
  instead of `a and b`      write `(a) & (b)`
  instead of `a or b`       write `(a) | (b)`
  instead of `not a`        write `~(a)`
  instead of `1 < x < 5`    write `(x > 1) & (x < 5)`
  instead of `x in [1, 2]`  write `x.is_in([1, 2])`
  instead of `"a" in x`     write `x.contains("a")`
  instead of `if a: ...`    write `flow.when(a, then=..., otherwise=...)`"""


class Expr:
    """A condition or value that is known only when the flow runs.

    Made from the roots `contact`, `trigger`, `variables`, `results` or by `var`; compared with
    ``== != < <= > >=`` and combined with ``& | ~``. It compiles to JSONLogic. Each is a `Ref` or
    an `Operation`.

    Examples
    --------
    >>> ((contact.country == "BR") & ~contact.tags.contains("vip")).to_jsonlogic()
    {'and': [{'==': [{'var': 'contact.country'}, 'BR']}, {'!': [{'in': ['vip', {'var': 'contact.tags'}]}]}]}
    """  # noqa: E501

    __slots__ = ("_logic",)

    def __init__(self, logic: Any) -> None:
        self._logic = logic

    def to_jsonlogic(self) -> Any:
        """Return the JSONLogic document that this stands for."""
        return self._logic

    def is_in(self, options: list[Any] | tuple[Any, ...]) -> Expr:
        """Return whether the value is one of `options`."""
        if not isinstance(options, (list, tuple)):
            raise TypeError(f"is_in takes a list of values, not {type(options).__name__}")
        return Operation({"in": [self._logic, _operand(options)]})

    def contains(self, item: Any) -> Expr:
        """Return whether the value, a list or a text, contains `item`."""
        return Operation({"in": [_operand(item), self._logic]})

    def exists(self) -> Expr:
        """Return whether the value is there and not null."""
        return Operation({"!=": [self._logic, None]})

    def __eq__(self, other: object) -> Expr:  # type: ignore[override]
        return Operation({"==": [self._logic, _operand(other)]})

    def __ne__(self, other: object) -> Expr:  # type: ignore[override]
        return Operation({"!=": [self._logic, _operand(other)]})

    def __lt__(self, other: Any) -> Expr:
        return Operation({"<": [self._logic, _operand(other)]})

    def __le__(self, other: Any) -> Expr:
        return Operation({"<=": [self._logic, _operand(other)]})

    def __gt__(self, other: Any) -> Expr:
        return Operation({">": [self._logic, _operand(other)]})

    def __ge__(self, other: Any) -> Expr:
        return Operation({">=": [self._logic, _operand(other)]})

    def __and__(self, other: Any) -> Expr:
        return _joined("and", self, other)

    def __or__(self, other: Any) -> Expr:
        return _joined("or", self, other)

    def __rand__(self, other: Any) -> Expr:
        return _joined("and", other, self)

    def __ror__(self, other: Any) -> Expr:
        return _joined("or", other, self)

    def __invert__(self) -> Expr:
        return Operation({"!": [self._logic]})

    # By identity: `==` builds an expression, so equal hashes must not lead to a comparison.
    __hash__ = object.__hash__

    def __bool__(self) -> NoReturn:
        raise TypeError(_NO_BOOL)

    def __contains__(self, item: object) -> NoReturn:
        raise TypeError(_NO_BOOL)

    def __iter__(self) -> Iterator[Any]:
        raise TypeError("an expression cannot be looped over; it is known when the flow runs")

    def __repr__(self) -> str:
        return f"Expr({json.dumps(self._logic, ensure_ascii=False)})"


class Operation(Expr):
    """What the operators make of values; or any JSONLogic document, as a condition in Python."""

    __slots__ = ()


# Not derived from `Operation`: Python asks the right side of a comparison first when its class
# derives from that of the left, and `(a == b) >= c` would come out as `c <= (a == b)`.
class Ref(Expr):
    """A value by its path: ``contact.country``, ``trigger["line items"][0].price``."""

    __slots__ = ()

    def __getattr__(self, name: str) -> Ref:
        if name.startswith("_"):  # what copy, pickle and notebooks probe for
            raise AttributeError(f"{name!r}; a key that begins with _ is written [{name!r}]")
        return self[name]

    @overload
    def __getitem__(self, key: str) -> Ref: ...
    @overload
    def __getitem__(self, key: int) -> Ref: ...
    def __getitem__(self, key: str | int) -> Ref:
        whole = isinstance(key, int) and not isinstance(key, bool) and key >= 0
        if not whole and not (isinstance(key, str) and key and "." not in key):
            raise TypeError(
                f"{key!r} is no key: a key is a text without dots, or a position from 0 on"
            )
        return Ref({"var": f"{self._logic['var']}.{key}"})


def var(path: str) -> Ref:
    """Return the value at a dotted path into the whole scope, such as ``flow.name``."""
    if not isinstance(path, str) or not path:
        raise TypeError(f"{path!r} is no path; write one such as 'contact.country'")
    return Ref({"var": path})


contact = var("contact")
"""The contact that the execution is for."""
event = var("event")
"""The payload of an event, in the condition of a node that waits for it."""
trigger = var("trigger")
"""The payload that started the execution, as it came."""
variables = var("vars")
"""What nodes have set on this branch."""
results = var("nodes")
"""Results of earlier nodes by node id: ``results.send_message_1.messageId``."""


def _joined(name: str, left: Any, right: Any) -> Expr:
    """Join two conditions; chains stay flat, so that a long one is not a deep one."""
    parts: list[Any] = []
    for side in (_operand(left), _operand(right)):
        parts += side[name] if isinstance(side, dict) and set(side) == {name} else [side]
    return Operation({name: parts})


def _operand(value: Any) -> Any:
    if isinstance(value, Expr):
        return value.to_jsonlogic()
    if isinstance(value, (list, tuple)):
        return [_operand(item) for item in value]
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise TypeError(
        f"{value!r} cannot be part of a condition; use text, finite numbers, booleans, None, "
        "lists of these, or other expressions"
    )


MAX_MAPPING = 1_024
"""Characters of a JMESPath expression."""


def search(path: str, data: Any) -> Any:
    """Return what a JMESPath expression finds in `data`; None when there is nothing.

    Raises
    ------
    NodeFailed
        ``mapping_invalid`` when `path` is malformed, ``mapping_failed`` when a function in it
        cannot work on the data.
    """
    compiled, wrong = _compiled(path)
    if compiled is None:
        raise NodeFailed("mapping_invalid", wrong)
    try:
        found = compiled.search(data)
        # Infinity and references to expressions can come out, which nothing could store.
        json.dumps(found, allow_nan=False)
        return found
    except Exception as error:  # functions of the library raise what they like on odd data
        raise NodeFailed("mapping_failed", f"{path!r} found no value: {_said(error)}") from error


def check_mapping(path: str, at: str = "") -> list[Problem]:
    """Return what is wrong with a JMESPath expression; the empty list when it can be used."""
    compiled, wrong = _compiled(path)
    return [] if compiled is not None else [Problem("config.jmespath", at, wrong)]


@lru_cache(maxsize=1024)
def _compiled(path: str) -> tuple[ParsedResult | None, str]:
    """Return the compiled expression; or None, and what is wrong with it."""
    if len(path) > MAX_MAPPING:
        return None, f"A JMESPath expression has at most {MAX_MAPPING} characters."
    try:
        compiled = jmespath.compile(path)
    except Exception as error:  # besides its own errors the parser lets others out
        shown = path if len(path) <= 60 else path[:57] + "..."
        return None, f"{shown!r} is not JMESPath: {_said(error)}"
    parts = [compiled.parsed]
    for part in parts:  # grows while it is read
        if part["type"] == "function_expression" and part["value"] not in FUNCTIONS:
            return None, f"JMESPath has no function {part['value']!r}."
        parts += (child for child in part["children"] if isinstance(child, dict))
    return compiled, ""


def _said(error: BaseException) -> str:
    lines = str(error).splitlines()
    return (lines[0] if lines else type(error).__name__).rstrip(":.")[:200] + "."
