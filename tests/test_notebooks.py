"""Each notebook runs from top to bottom, and is stored without what it showed."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


def show(value: Any) -> None:
    """Do what a notebook does with the value of a cell's last expression."""
    if value is not None:
        repr(value)
        getattr(value, "_repr_html_", lambda: None)()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_it_runs(path: Path) -> None:
    document = json.loads(path.read_text("utf-8"))
    assert (document["nbformat"], document["nbformat_minor"]) == (4, 5)
    names: dict[str, Any] = {"__name__": "notebook"}
    for cell in document["cells"]:
        if cell["cell_type"] != "code":
            continue
        assert (cell["outputs"], cell["execution_count"]) == ([], None), "clear all outputs"
        tree = ast.parse("".join(cell["source"]))
        shown = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, f"{path.name} {cell['id']}", "exec", dont_inherit=True), names)
        if isinstance(shown, ast.Expr):
            value = compile(ast.Expression(shown.value), path.name, "eval", dont_inherit=True)
            show(eval(value, names))


def test_there_are_some() -> None:
    assert NOTEBOOKS
