"""What the README says is so."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

import flowkit as fk
from flowkit import nodetype
from flowkit.nodetype import describe
from flowkit.testing import example_of
from service.demo.flow import abandoned_cart
from service.settings import PREFIX, Settings
from tests.sdk.strategies import builtin_types

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def run(code: str, names: dict[str, object]) -> None:
    # As it would run where it is read: without this file's own future imports.
    exec(compile(code, "README.md", "exec", dont_inherit=True), names)


def test_the_first_example_is_the_flow_of_the_demonstration() -> None:
    names: dict[str, object] = {}
    run(BLOCKS[0], names)
    flow = names["flow"]
    assert isinstance(flow, fk.Flow)
    assert [node.type for node in flow.nodes] == [node.type for node in abandoned_cart.nodes]


def test_the_node_type_of_the_readme_works(monkeypatch: pytest.MonkeyPatch) -> None:
    nodetype.node_types()
    monkeypatch.setattr(nodetype, "_registry", dict(nodetype._registry))
    names: dict[str, object] = {"fk": fk, "__name__": "readme"}
    run(BLOCKS[2], names)
    flow = example_of(names["AddTag"])  # type: ignore[arg-type]
    assert flow.validate() == []


def test_the_script_of_the_readme_runs_as_it_stands(capsys: pytest.CaptureFixture[str]) -> None:
    assert len(BLOCKS[3].splitlines()) <= 60
    run(BLOCKS[3], {"__name__": "readme"})
    said = capsys.readouterr().out
    assert "voucher 1 day, 0:00:00" in said, "timing"
    assert "goes on by 'voucher'" in said, "explain"
    assert "~ node delay_1 /config/amount: 3 -> 1" in said, "diff"
    assert re.search(r"^voucher +\d+ +\d+ +\d+ +\d+ +\d+\.\d+$", said, re.MULTILINE), "compare"
    assert "Welcome: never published" in said, "plan"


def test_every_node_type_is_described_as_it_describes_itself() -> None:
    for cls in builtin_types():
        verb = f"`{cls.verb}`" if cls.verb else ""
        assert f"| {cls.type} | {verb} | {describe(cls)['description']} |" in README


def test_every_setting_is_described_with_its_default() -> None:
    for f in fields(Settings):
        default = "" if f.default is None else f"`{f.default}`"
        assert f"| `{PREFIX}{f.name.upper()}` | {default} | {f.metadata['help']} |" in README


def test_every_test_that_is_named_exists() -> None:
    everything = "\n".join(
        path.read_text("utf-8")
        for folder in ("tests", "flowkit/testing")
        for path in (ROOT / folder).rglob("*.py")
    )
    named = set(re.findall(r"\btest_[a-z_]+\b(?!\.py)", README))
    assert len(named) >= 4
    missing = [name for name in named if f"def {name}(" not in everything]
    assert not missing
    for path in re.findall(r"`((?:tests|flowkit|service)/[\w/.]+)", README):
        assert (ROOT / path).exists(), path
