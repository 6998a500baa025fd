"""The table of findings is all that validation says, and says it of each of WhatsApp's rules."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowkit.problems import Problem
from flowkit.validate import FINDINGS, UNDECIDED, validate
from flowkit.validate.codes import __file__ as CODES
from tests.examples import examples
from tests.sdk.strategies import json_values, mangled

FLOWKIT = Path(CODES).parents[1]
README = (FLOWKIT.parent / "README.md").read_text("utf-8")
READ_BY_VALIDATION = (
    *("kinds.py", "fields.py", "graph.py", "options.py", "whatsapp.py", "filling.py"),
    *(
        "template.py",
        "expression.py",
        "jsonlogic.py",
        "build.py",
        "nodetype.py",
        "zones.py",
        "nodes",
        "validate",
    ),
)
ELSEWHERE = ("build.", "templates.")
"""Begin the codes of what building and a wrong snapshot raise."""


def written() -> set[str]:
    """The codes that are written in what validation reads a flow with."""
    files = [
        file
        for name in READ_BY_VALIDATION
        for file in ([FLOWKIT / name] if name.endswith(".py") else (FLOWKIT / name).glob("*.py"))
        if file != Path(CODES)
    ]
    calls = [node for file in files for node in ast.walk(ast.parse(file.read_text("utf-8")))]
    found = set()
    for call in calls:
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.args:
            first = call.args[0]
            named = call.func.id in ("Problem", "Finding", "_refused")
            if named and isinstance(first, ast.Constant) and isinstance(first.value, str):
                found.add(first.value)
    return {code for code in found if not code.startswith(ELSEWHERE)}


def test_every_code_is_declared_and_every_declaration_is_of_a_code() -> None:
    assert written() == set(FINDINGS)


@pytest.mark.parametrize("code", sorted(FINDINGS))
def test_each_says_what_it_means(code: str) -> None:
    finding = FINDINGS[code]
    assert finding.meaning.endswith(".")
    assert finding.code == code


def test_each_rule_is_watched_over_or_said_to_be_undecidable() -> None:
    rules = {f"W{number:02}" for number in range(1, 23)}
    watched = {rule for finding in FINDINGS.values() for rule in finding.rules}
    assert watched | set(UNDECIDED) == rules
    assert not watched & set(UNDECIDED)


def test_the_readme_has_the_table() -> None:
    for rule in (f"W{number:02}" for number in range(1, 23)):
        codes = [f"`{code}`" for code, finding in FINDINGS.items() if rule in finding.rules]
        said = ", ".join(codes) if codes else UNDECIDED[rule]
        assert f"| {rule} | {said} |" in README


@settings(max_examples=examples(40, 200))
@given(document=json_values | mangled(), listed=st.booleans())
def test_whatever_is_said_is_declared(document: Any, listed: bool) -> None:
    for problem in validate(document, templates=[] if listed else None):
        assert isinstance(problem, Problem)
        assert FINDINGS[problem.code].severity == problem.severity
