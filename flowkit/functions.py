"""Named functions of an installation, which flows call by name: code that is never in a flow.

Owns the registry. Imports `plugins`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

from flowkit import plugins

F = TypeVar("F", bound=Callable[..., Any])

_registry: dict[str, Callable[..., Any]] = {}


def function(name: str) -> Callable[[F], F]:
    """Register a function under a name, for the node type PYTHON.

    It is called with the node's arguments by keyword, in the middle of a turn of the engine: it
    must be quick, change nothing and return JSON data. What it returned is recorded; after a
    crash before that it may be called again. A package offers its functions to workers by an
    entry point of the group ``flowkit.functions`` that names the module they are in.

    Raises
    ------
    TypeError
        When the name is taken by another function, or is none: letters, digits, ``_``, ``.``
        and ``-``, at most 64.

    Examples
    --------
    >>> @function("score")
    ... def score(total: float) -> int:
    ...     return int(total // 10)
    """
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", name):
        raise TypeError(f"{name!r} is no name of a function: use 1 to 64 of A-Z a-z 0-9 _ . -")

    def register(made: F) -> F:
        known = _registry.get(name, made)
        if (known.__module__, known.__qualname__) != (made.__module__, made.__qualname__):
            raise TypeError(f"the function {name!r} is {known.__module__}.{known.__qualname__}")
        _registry[name] = made
        return made

    return register


@cache
def _load() -> None:
    plugins.load("flowkit.functions", "functions")


def named(name: str) -> Callable[..., Any] | None:
    """Return the function of that name, or None."""
    if name not in _registry:
        _load()
    return _registry.get(name)
