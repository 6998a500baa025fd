"""The public names: visible in one place, sorted, and documented."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import flowkit

ROOT = Path(flowkit.__file__).parents[1]
BODY = ast.parse(Path(flowkit.__file__).read_text("utf-8")).body
SEEN = next(node for node in BODY if isinstance(node, ast.If)).body
NAMES = ["validate", *flowkit._LATER]


def run(code: str) -> str:
    """What a program prints that is run by itself."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return done.stdout


def test_each_name_is_exported_by_itself_and_in_order() -> None:
    assert all(isinstance(node, ast.ImportFrom) and len(node.names) == 1 for node in SEEN)
    keys = [(node.module, node.names[0].name) for node in SEEN]
    assert keys == sorted(keys)
    assert all(node.names[0].name == node.names[0].asname for node in SEEN)


def test_what_is_loaded_later_is_what_type_checkers_see() -> None:
    assert {node.names[0].name: node.module for node in SEEN} == flowkit._LATER
    assert list(flowkit._LATER) == sorted(flowkit._LATER)
    assert set(NAMES) <= set(dir(flowkit))


def test_there_is_nothing_else() -> None:
    visible = {
        name
        for name, value in vars(flowkit).items()
        if not name.startswith("_")
        and not (inspect.ismodule(value) and value.__name__.startswith("flowkit."))
    }
    # `validate` is a function and the package it lives in; the function is what one sees.
    assert "validate" in visible
    assert visible <= set(NAMES)
    with pytest.raises(AttributeError, match="no attribute 'Flwo'"):
        _ = flowkit.Flwo


def test_an_import_loads_no_more_than_it_must() -> None:
    loaded = run("import sys, flowkit; print(*sys.modules)").split()
    assert {name for name in loaded if name.startswith("flowkit")} == {
        "flowkit",
        "flowkit.validate",
    }


def test_a_star_takes_what_flows_are_written_with() -> None:
    taken = run("from flowkit import *; print(*dir()); import sys; print(*sys.modules)")
    names, modules = (set(line.split()) for line in taken.splitlines())
    assert {"Flow", "NodeType", "contact", "field", "function", "validate"} <= names
    assert not {"Client", "simulate", "test"} & names
    assert not {"httpx", "pandas", "flowkit.simulation"} & modules


FIRST = [
    "from flowkit import validate",
    "import flowkit; validate = flowkit.validate",
    "import flowkit.validate; validate = flowkit.validate",
    "import flowkit.validate.rules; validate = flowkit.validate",
    "from flowkit.validate import validate",
    "from flowkit import Flow; import flowkit.validate; from flowkit import validate",
]


def test_validate_is_the_function_whatever_was_imported_first() -> None:
    """Each in a process that has imported nothing yet, forked from one that has what is heavy."""
    code = (
        "import os, sys, dataclasses, jmespath, liquid\n"
        f"for first in {FIRST!r}:\n"
        "    if not os.fork():\n"
        "        exec(first)\n"
        "        from flowkit.validate import FINDINGS\n"
        "        print(validate({})[0].code in FINDINGS, flush=True)\n"
        "        os._exit(0)\n"
        "    os.wait()\n"
    )
    assert run(code).split() == ["True"] * len(FIRST)


def test_no_module_takes_the_place_of_a_name() -> None:
    """A module that is imported late becomes an attribute of the package."""
    for module in pkgutil.walk_packages(flowkit.__path__, "flowkit."):
        importlib.import_module(module.name)
    for name in NAMES:
        assert not inspect.ismodule(getattr(flowkit, name)), name


def test_each_is_documented() -> None:
    for name in NAMES:
        value = getattr(flowkit, name)
        if inspect.isclass(value) or inspect.isfunction(value):
            assert inspect.getdoc(value), name
