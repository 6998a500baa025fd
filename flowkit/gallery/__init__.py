"""Starter flows: one file each, to be copied and changed; each defines ``flow``.

Owns how they are listed and read. Imports `errors`; the flows themselves import flowkit as a user
does, and only when they are asked for.
"""

from __future__ import annotations

import ast
import importlib
from importlib.resources import files

from flowkit.errors import NotFound
from flowkit.flow import Flow


def starters() -> dict[str, str]:
    """Return each starter flow's name, such as ``abandoned-cart``, and what it does."""
    names = sorted(
        entry.name.removesuffix(".py").replace("_", "-")
        for entry in files(__name__).iterdir()
        if entry.name.endswith(".py") and not entry.name.startswith("_")
    )
    return {name: _doc(name).splitlines()[0] for name in names}


def source(name: str) -> str:
    """Return the Python file of a starter flow.

    Raises
    ------
    NotFound
        When there is none of that name.
    """
    file = files(__name__) / f"{_module(name)}.py"
    if not _module(name).isidentifier() or name.startswith("_") or not file.is_file():
        raise NotFound(f"There is no starter flow {name!r}; there are {', '.join(starters())}.")
    return file.read_text("utf-8")


def starter(name: str) -> Flow:
    """Return a starter flow.

    Raises
    ------
    NotFound
        When there is none of that name.
    """
    source(name)
    flow = importlib.import_module(f"{__name__}.{_module(name)}").flow
    assert isinstance(flow, Flow)
    return flow


def _module(name: str) -> str:
    return name.replace("-", "_")


def _doc(name: str) -> str:
    return ast.get_docstring(ast.parse(source(name))) or ""
