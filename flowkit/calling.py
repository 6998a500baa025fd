"""How the builder's method of a node type is called.

Owns the signature that follows from a type's declaration. Imports `nodetype`.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from flowkit.nodetype import NodeType


def signature(cls: type[NodeType]) -> inspect.Signature:
    """Return the signature of a node type's builder method.

    It is that of `from_call`, whose ``**`` stands for the fields that it does not name, then the
    ways out by keyword, ``on`` where the ways out depend on the config, then ``id``.
    """
    named: dict[str, inspect.Parameter] = {}
    rest = _parameters(cls)
    for name, parameter in _parameters(cls.from_call).items():
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            named |= {name: rest[name] for name in rest if name not in named}
        elif parameter.kind is not inspect.Parameter.VAR_POSITIONAL:
            named[name] = parameter
    dynamic = () if cls.outputs is NodeType.outputs else ("on",)
    for name in (*branch_keywords(cls), *dynamic, "id"):
        named.setdefault(
            name, inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None)
        )
    return inspect.Signature(list(named.values()))


def _parameters(callable_: Any) -> Mapping[str, inspect.Parameter]:
    try:
        return inspect.signature(callable_, eval_str=True).parameters
    except NameError:  # annotations that name what a function defined
        return inspect.signature(callable_).parameters


def branch_keywords(cls: type[NodeType]) -> dict[str, str]:
    """Return the builder arguments that take what follows a handle, and that handle's id."""
    words = {}
    for handle in cls.handles:
        if handle.id is not None:
            word = handle.keyword or handle.id
            if word.isidentifier():
                words[word] = handle.id
    return words
