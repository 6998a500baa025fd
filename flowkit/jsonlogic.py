"""JSONLogic: the stored form of conditions, checked, compiled to closures and evaluated.

The operators are a closed set, `flowkit.operators.OPERATORS`: one outside it, or with the wrong
number of operands, is a problem. A missing variable is null.
Imports `operators`, `errors` and `problems`.
"""

from __future__ import annotations

import marshal
import math
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from flowkit.errors import NodeFailed
from flowkit.operators import OPERATORS, Compiled, Unfit, constant, is_path, static_variable
from flowkit.operators import truthy as truthy
from flowkit.problems import Problem, pointer

MAX_DEPTH = 64
"""Levels of operators and arrays that one expression may nest."""


def evaluate(logic: Any, scope: Mapping[str, Any]) -> Any:
    """Return the value of a JSONLogic document over `scope`.

    Parameters
    ----------
    logic : JSON data
        The expression; a plain value stands for itself.
    scope : mapping
        What ``var`` sees.

    Raises
    ------
    NodeFailed
        ``expression_invalid`` when `logic` is malformed, ``expression_failed`` when its operands
        cannot be combined.
    """
    try:
        # marshal is an exact, fast stand-in for canonical JSON as the key; version 2 has no
        # back-references, whose presence would depend on reference counts.
        compiled = _compiled(marshal.dumps(logic, 2))
    except ValueError as error:
        raise NodeFailed("expression_invalid", f"The expression is not JSON: {error}.") from error
    try:
        return compiled(scope)
    except Unfit as error:
        raise NodeFailed("expression_failed", str(error)) from error
    except (ArithmeticError, LookupError, TypeError, ValueError, RecursionError) as error:
        # Hostile data only (numbers of thousands of digits, data nested past any sense).
        raise NodeFailed(
            "expression_failed", f"The expression cannot be evaluated: {error}."
        ) from error


def paths(logic: Any) -> Iterator[str]:
    """Yield the paths of the variables that an expression reads, where they are written out."""
    if isinstance(logic, list):
        for item in logic:
            yield from paths(item)
    elif isinstance(logic, dict):
        for name, operands in logic.items():
            first = operands[0] if isinstance(operands, list) and operands else operands
            if name == "var" and isinstance(first, str):
                yield first
            else:
                yield from paths(operands)


def check_logic(logic: Any, path: str = "") -> list[Problem]:
    """Return what is wrong with a JSONLogic document; the empty list when it can be evaluated."""
    found: list[Problem] = []
    _build(logic, path, 0, found)
    return found


@lru_cache(maxsize=4096)
def _compiled(key: bytes) -> Compiled:
    found: list[Problem] = []
    compiled = _build(marshal.loads(key), "", 0, found)
    if found:
        raise NodeFailed("expression_invalid", "; ".join(problem.message for problem in found))
    return compiled


def _build(logic: Any, path: str, depth: int, found: list[Problem]) -> Compiled:
    """Compile `logic`; what is wrong with it goes to `found`."""

    def wrong(message: str) -> Compiled:
        found.append(Problem("config.expression", path, message))
        return constant(None)

    if logic is None or isinstance(logic, (bool, int, str)):
        return constant(logic)
    if isinstance(logic, float):
        return constant(logic) if math.isfinite(logic) else wrong("NaN and infinity are no JSON.")
    if not isinstance(logic, (list, dict)):
        return wrong(f"An expression is JSON; {type(logic).__name__} is not.")
    if depth >= MAX_DEPTH:
        return wrong(f"The expression nests deeper than {MAX_DEPTH} levels; split it up.")
    if isinstance(logic, list):
        items = [_build(x, path + pointer(i), depth + 1, found) for i, x in enumerate(logic)]
        return lambda data: [item(data) for item in items]
    if len(logic) != 1:
        return wrong(
            'An operation is an object with one key, its operator, such as {"==": [1, 1]}; '
            f"this object has {len(logic)} keys."
        )
    name, operands = next(iter(logic.items()))
    rule = OPERATORS.get(name) if isinstance(name, str) else None
    if rule is None:
        return wrong(f"There is no operator {name!r}. The operators are {', '.join(OPERATORS)}.")
    listed = operands if isinstance(operands, list) else [operands]
    if not rule.least <= len(listed) <= rule.most:
        return wrong(f"The operator {name!r} takes {rule.arity}, not {len(listed)}.")
    if name == "var" and listed and not is_path(listed[0]):
        return wrong('"var" takes a path such as "contact.country".')
    inside = path + pointer(name)
    parts = [
        _build(x, inside + pointer(i) if listed is operands else inside, depth + 1, found)
        for i, x in enumerate(listed)
    ]
    if name == "var" and not (listed and isinstance(listed[0], dict)):
        return static_variable(listed, parts)
    return rule.compile(parts)
