"""JSONLogic as a condition is written in Python: ``fk.contact.country == "BR"``.

Owns which documents the operators of `flowkit.expression` can make, and the text that makes
them. Others are written as the JSON that they are. Imports `expression` and `text`.
"""

from __future__ import annotations

import keyword
import re
from typing import Any

from flowkit.expression import Expr
from flowkit.source.text import Atom, Joined, Piece, call, literal, quoted

_ROOTS = {"contact": "contact", "trigger": "trigger", "vars": "variables", "nodes": "results"}
_INDEX = re.compile(r"0|[1-9][0-9]{0,17}")


class _Unfit(Exception):
    """The document is none that the operators make."""


def condition(logic: Any) -> Piece:
    """Return the source of a JSONLogic document."""
    try:
        return _expression(logic)
    except _Unfit:
        return literal(logic)


def _expression(logic: Any) -> Piece:
    """Return the source of an operation."""
    if not isinstance(logic, dict) or len(logic) != 1:
        raise _Unfit
    ((name, operands),) = logic.items()
    if name == "var":
        return Atom(_path(operands))
    if not isinstance(operands, list):
        raise _Unfit
    if name == "!" and len(operands) == 1:
        return Atom(f"~{_tight(_expression(operands[0]), operands[0])}")
    if name in ("and", "or") and len(operands) >= 2:
        return _chain(name, operands)
    if len(operands) != 2:
        raise _Unfit
    left, right = operands
    if name == "!=" and right is None:
        return Atom(f"{_tight(_expression(left), left)}.exists()")
    if name in ("==", "!=", "<", "<=", ">", ">="):
        return Atom(f"{_operand(left, first=True)} {name} {_operand(right)}")
    if name == "in" and isinstance(right, list):
        return Atom(f"{_operand(left, first=True)}.is_in({_listed(right)})")
    if name == "in":
        return Atom(f"{_operand(right, first=True)}.contains({_loose(left)})")
    raise _Unfit


def _chain(name: str, operands: list[Any]) -> Piece:
    """Return operands joined by ``&`` or ``|``, which flatten what is joined by the same."""
    if any(isinstance(operand, dict) and set(operand) == {name} for operand in operands):
        raise _Unfit
    if not any(isinstance(operand, dict) for operand in operands[:2]):
        raise _Unfit  # Python itself would join the two
    parts = [_expression(o).flat if _negated(o) else _operand(o) for o in operands]
    return Joined("&" if name == "and" else "|", [Atom(part) for part in parts])


def _negated(logic: Any) -> bool:
    return isinstance(logic, dict) and "!" in logic


def _operand(logic: Any, *, first: bool = False) -> str:
    """Return an operand of an operator; the `first` must be known only when the flow runs."""
    if isinstance(logic, dict):
        return _tight(_expression(logic), logic)
    if first:
        raise _Unfit
    return _listed(logic) if isinstance(logic, list) else literal(logic).flat


def _loose(logic: Any) -> str:
    """Return an operand that stands alone between brackets or commas."""
    return _expression(logic).flat if isinstance(logic, dict) else _operand(logic)


def _listed(items: list[Any]) -> str:
    return f"[{', '.join(map(_loose, items))}]"


def _tight(piece: Piece, logic: dict[str, Any]) -> str:
    """Return an operation so that any operator may stand beside it."""
    called = "in" in logic or logic.get("!=", [0])[-1] is None
    return piece.flat if "var" in logic or called else f"({piece.flat})"


def _path(path: Any) -> str:
    """Return a reference to a value by its path."""
    if not isinstance(path, str) or not path:
        raise _Unfit
    root, *keys = path.split(".")
    if root not in _ROOTS or "" in keys:
        return call("fk.var", Atom(quoted(path))).flat
    return f"fk.{_ROOTS[root]}" + "".join(map(_key, keys))


def _key(key: str) -> str:
    plain = key.isidentifier() and key.isascii() and not keyword.iskeyword(key)
    if plain and not key.startswith("_") and not hasattr(Expr, key):
        return f".{key}"
    return f"[{key}]" if _INDEX.fullmatch(key) else f"[{quoted(key)}]"
