"""What expressions and templates read of contact and payload, as far as their text says it.

Owns the two caches that stand in for evaluating and rendering the same again: over the same
values, the same comes out. An expression or template that might read anything else (results,
variables, the time) is evaluated and rendered each time. May import `template`.
"""

from __future__ import annotations

import marshal
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from flowkit.template import render

ROOTS = ("contact", "trigger")
KEPT_MOST = 10_000
"""Texts and values that are kept of one template or expression."""

_TAG = re.compile(r"\{\{-?(.*?)-?\}\}", re.DOTALL)
_ARGUMENT = r"(?:\"[^\"]*\"|'[^']*'|[0-9.]+)"
_READ = re.compile(
    rf"\s*((?:contact|trigger)(?:\.[A-Za-z_][A-Za-z0-9_]*)+)\s*"
    rf"(?:\|\s*(?!date)[a-z_]+\s*(?::\s*{_ARGUMENT}(?:\s*,\s*{_ARGUMENT})*\s*)?)*"
)
_BARE = re.compile(r"\{\{\s*((?:contact|trigger)(?:\.[A-Za-z_][A-Za-z0-9_]*)+)\s*\}\}")


class Paths:
    """Places in contact and payload."""

    __slots__ = ("kept", "paths", "single")

    def __init__(self, paths: frozenset[str]) -> None:
        self.paths = tuple(tuple(path.split(".")) for path in sorted(paths))
        self.single = self.paths[0] if [len(path) for path in self.paths] == [2] else None
        self.kept: dict[Any, Any] = {}

    def values(self, context: Mapping[str, Any]) -> str | bytes:
        """Return what is there, in a form that differs where anything does."""
        if self.single is not None:
            root = context.get(self.single[0])
            if type(root) is dict:
                value = root.get(self.single[1])
                if type(value) is str:
                    return value
        return self._marshalled(context)

    def _marshalled(self, context: Mapping[str, Any]) -> bytes:
        found = []
        for path in self.paths:
            value: Any = context
            for key in path:
                value = value.get(key) if isinstance(value, dict) else _Absent
                if value is _Absent:
                    break
            found.append(value if value is not _Absent else ())
        return marshal.dumps(found, 2)


class _Absent:
    """In place of what is inside something that is no object."""


def reads(logic: Any) -> Paths | None:
    """Return what a JSONLogic expression reads; None if that is more than contact and payload."""
    try:
        return _reads(marshal.dumps(logic, 2))
    except ValueError:
        return None


@lru_cache(maxsize=4096)
def _reads(key: bytes) -> Paths | None:
    found: set[str] = set()
    return Paths(frozenset(found)) if _gather(marshal.loads(key), found) else None


def _gather(logic: Any, found: set[str]) -> bool:
    """Add what an expression reads; False when that cannot be told from its text."""
    if isinstance(logic, list):
        return all(_gather(item, found) for item in logic)
    if not isinstance(logic, dict):
        return True
    for name, operands in logic.items():
        listed = operands if isinstance(operands, list) else [operands]
        if name == "var":
            path = listed[0] if listed else None
            if not isinstance(path, str) or path.partition(".")[0] not in ROOTS:
                return False
            # A position in a list or text is read with the whole of it.
            keys = path.split(".")
            whole = next((i for i, key in enumerate(keys) if key.isdigit()), len(keys))
            found.add(".".join(keys[: max(whole, 1)]))
            listed = listed[1:]
        elif name in ("map", "filter", "reduce", "all", "some", "none", "missing", "missing_some"):
            return False
        if not all(_gather(item, found) for item in listed):
            return False
    return True


def evaluated(logic: Any, context: Mapping[str, Any], evaluate: Callable[[Any], Any]) -> Any:
    """Return the value of an expression, perhaps as it came out before."""
    paths = reads(logic)
    if paths is None:
        return evaluate(logic)
    values = paths.values(context)
    if values in paths.kept:
        return paths.kept[values]
    value = evaluate(logic)
    if len(paths.kept) < KEPT_MOST and (value is None or isinstance(value, (bool, int, str))):
        paths.kept[values] = value
    return value


def reads_of(template: str) -> Paths | None:
    """Return what a template reads; None if that is more than contact and payload."""
    return _of_template(template)[0]


@lru_cache(maxsize=4096)
def _of_template(template: str) -> tuple[Paths | None, tuple[str, ...] | None]:
    """Return what a template reads, and the one place that it gives as it is."""
    bare = _BARE.fullmatch(template)
    if "{%" in template:
        return None, None
    found = set()
    for tag in _TAG.finditer(template):
        read = _READ.fullmatch(tag[1])
        if read is None:
            return None, None
        found.add(read[1])
    if _TAG.sub("", template).count("{{"):
        return None, None
    return Paths(frozenset(found)), tuple(bare[1].split(".")) if bare else None


def rendered(template: str, context: Mapping[str, Any], otherwise: Callable[[str], str]) -> str:
    """Return the text of a template, perhaps as it came out before.

    `otherwise` renders one that may read more than contact and payload.
    """
    if "{" not in template:
        return template
    paths, bare = _of_template(template)
    if paths is None:
        return otherwise(template)
    if bare is not None:
        value: Any = context
        for key in bare:
            value = value.get(key) if isinstance(value, dict) else None
        if type(value) is str:
            return value
    values = paths.values(context)
    text: str | None = paths.kept.get(values)
    if text is None:
        roots = {"contact": context.get("contact") or {}, "trigger": context.get("trigger")}
        text = render(template, roots)
        if len(paths.kept) < KEPT_MOST:
            paths.kept[values] = text
    return text
