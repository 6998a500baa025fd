"""The public names: visible in one place, sorted, and documented."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
from pathlib import Path

import pytest

import flowkit

SOURCE = Path(flowkit.__file__).read_text("utf-8")
BODY = ast.parse(SOURCE).body
IMPORTS = [node for node in BODY if isinstance(node, ast.ImportFrom) and node.module != "importlib"]
LATER = [node for branch in BODY if isinstance(branch, ast.If) for node in branch.body]
NAMES = [alias.asname for node in IMPORTS for alias in node.names]


@pytest.mark.parametrize("imports", [IMPORTS, LATER])
def test_each_name_is_exported_by_itself_and_in_order(imports: list[ast.ImportFrom]) -> None:
    assert all(len(node.names) == 1 for node in imports)
    keys = [(node.module, node.names[0].name) for node in imports]
    assert keys == sorted(keys)
    assert all(node.names[0].name == node.names[0].asname for node in imports)


def test_what_is_loaded_later_is_what_type_checkers_see() -> None:
    seen = {node.names[0].name: node.module for node in LATER if isinstance(node, ast.ImportFrom)}
    assert seen == flowkit._LATER
    assert list(flowkit._LATER) == sorted(flowkit._LATER)
    assert set(flowkit._LATER) <= set(dir(flowkit))


def test_there_is_nothing_else() -> None:
    visible = {
        name
        for name, value in vars(flowkit).items()
        if not name.startswith("_")
        and not (inspect.ismodule(value) and value.__name__.startswith("flowkit."))
    }
    # `validate` is a function and the package it lives in; the function is what one sees.
    assert visible == set(NAMES)


def test_no_module_takes_the_place_of_a_name() -> None:
    """A module that is imported late becomes an attribute of the package."""
    for module in pkgutil.walk_packages(flowkit.__path__, "flowkit."):
        importlib.import_module(module.name)
    for name in (*NAMES, *flowkit._LATER):
        assert not inspect.ismodule(getattr(flowkit, name)), name


def test_each_is_documented() -> None:
    for name in (*NAMES, *flowkit._LATER):
        value = getattr(flowkit, name)
        if inspect.isclass(value) or inspect.isfunction(value):
            assert inspect.getdoc(value), name
