"""The registry of node types: each is documented, and one class is all that a new one takes."""

from __future__ import annotations

import doctest
import importlib
import inspect
import warnings
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from typing import Any

import jsonschema
import pytest

from flowkit import nodes, nodetype, plugins
from flowkit.errors import Invalid, NotFound
from flowkit.fields import alternatives, field, json_schema, specs, unparse
from flowkit.flow import Flow
from flowkit.nodetype import (
    Context,
    Handle,
    Next,
    NodeType,
    describe,
    node_type,
    node_types,
    read_node,
)
from flowkit.problems import errors
from tests.sdk.strategies import builtin_types

BUILT_IN = pytest.mark.parametrize("cls", builtin_types(), ids=lambda cls: cls.type)


@pytest.fixture(autouse=True)
def _registry() -> Iterator[None]:
    """Leave the registry as it was."""
    node_types()
    before = dict(nodetype._registry)
    yield
    nodetype._registry.clear()
    nodetype._registry.update(before)


def test_the_catalogue_has_what_flows_begin_with() -> None:
    assert {"CONDITION", "DELAY", "END", "SEND_MESSAGE", "TRIGGER"} <= {
        cls.type for cls in builtin_types()
    }
    assert nodes.Delay is node_type("DELAY")
    assert list(node_types()) == sorted(node_types())
    with pytest.raises(NotFound, match="no node type 'NOTHING'; there are CONDITION"):
        node_type("NOTHING")


@BUILT_IN
def test_every_type_is_documented(cls: type[NodeType]) -> None:
    shown = describe(cls)
    assert shown["description"].endswith(".")
    assert shown["title"]
    assert (inspect.getdoc(cls.run) or "").endswith(".")
    for spec in specs(cls):
        assert spec.help.endswith("."), f"help of {spec.name}"
        assert shown["schema"]["properties"][spec.wire]["description"] == spec.help


@BUILT_IN
def test_every_schema_is_one(cls: type[NodeType]) -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema(cls))


@BUILT_IN
def test_every_default_passes_its_own_bounds(cls: type[NodeType]) -> None:
    for spec in specs(cls):
        if not spec.required and spec.default is not None:
            value, found = spec.kind.read(spec.kind.write(spec.default), "")
            assert (value, found) == (spec.default, [])


@BUILT_IN
def test_conditions_of_showing_name_options_of_other_fields(cls: type[NodeType]) -> None:
    known = {spec.wire: spec for spec in specs(cls)}
    for spec in specs(cls):
        for name, values in (spec.show_when or {}).items():
            for value in alternatives(values):
                assert known[name].kind.read(value, "") == (value, [])


def test_verbs_are_no_attributes_of_a_flow() -> None:
    for cls in builtin_types():
        assert cls.verb is None or not hasattr(Flow, cls.verb)


def test_a_new_node_type_is_one_class() -> None:
    class Lottery(NodeType, type="TEST_LOTTERY", category="LOGIC", verb="lottery"):
        """Draw lots.

        The rest of the docstring is for readers of the code.
        """

        handles = (Handle("won", "Won"), Handle("lost", "Lost"), Handle("void", required=False))

        chance: float = field(0.5, help="Share of the winners.", ge=0, le=1)

        def run(self, ctx: Context) -> Next:
            return Next(handle="won" if self.chance == 1 else "lost")

    assert node_types()["TEST_LOTTERY"] is Lottery
    flow = (
        Flow("Prize", trigger="entered")
        .lottery(chance=0.9, won=lambda b: b.send(text="You won!"), id="draw")
        .end()
    )
    assert flow.validate() == []
    assert flow.behaviour("draw") == Lottery(chance=0.9)
    assert [(e.source_handle, e.target) for e in flow.edges if e.source == "draw"] == [
        ("won", "send_message_1"),
        ("lost", "end_1"),
    ]
    assert Flow.from_json(flow.to_json()).nodes[1].category == "LOGIC"
    broken = flow.to_dict()
    broken["nodes"][1]["config"]["chance"] = 2
    broken["edges"] = [e for e in broken["edges"] if e.get("sourceHandle") != "lost"]
    assert [(p.code, p.path) for p in errors(Flow.from_dict(broken).validate())] == [
        ("config.out_of_range", "/nodes/1/config/chance"),
        ("handle.unconnected", "/nodes/1"),
    ]
    shown = describe(Lottery)
    assert (shown["title"], shown["description"]) == ("Test lottery", "Draw lots.")
    assert [handle["id"] for handle in shown["handles"]] == ["won", "lost", "void"]
    assert list(inspect.signature(flow.lottery).parameters) == [
        "chance",
        "won",
        "lost",
        "void",
        "id",
    ]


def test_ways_out_can_follow_from_the_config() -> None:
    class Turns(NodeType, type="TEST_TURNS", category="LOGIC", verb="turns"):
        """Go many ways."""

        count: int = field(help="How many ways.", ge=1, le=9)

        def outputs(self) -> tuple[Handle, ...]:
            return tuple(Handle(str(n)) for n in range(self.count))

    flow = Flow("Turns", trigger="x").then(Turns(count=3), on={"1": lambda b: b.delay(days=1)})
    assert [(e.node_id, e.handle) for e in flow.open_ends] == [
        ("test_turns_1", "0"),
        ("delay_1", None),
        ("test_turns_1", "2"),
    ]
    assert flow.end().validate() == []
    # Where the config is wrong the ways out are unknown, and no edge is blamed for it.
    document = flow.end().to_dict()
    document["nodes"][1]["config"]["count"] = 0
    assert [p.code for p in Flow.from_dict(document).validate()] == ["config.out_of_range"]


def test_fields_are_inherited() -> None:
    class Base(NodeType, type="TEST_BASE", category="ACTION"):
        """Have one field."""

        one: int = field(1, help="One.")

    class More(Base, type="TEST_MORE", category="ACTION"):
        """Have two."""

        two: int = field(2, help="Two.")

    assert [spec.name for spec in specs(More)] == ["one", "two"]
    assert unparse(More(one=5)) == {"one": 5}
    assert node_type("TEST_BASE") is Base


class TestDeclaring:
    """Mistakes in a declaration are found when the class is defined."""

    def test_the_same_class_again_replaces_itself(self) -> None:
        def define(text: str) -> type[NodeType]:
            class Again(NodeType, type="TEST_AGAIN", category="ACTION", verb="again"):
                """Be run twice in a notebook."""

                word: str = field(text, help="A word.")

            return Again

        define("old")
        newer = define("new")
        assert node_type("TEST_AGAIN") is newer
        assert newer().word == "new"  # type: ignore[attr-defined]

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"type": "DELAY", "category": "TIME"}, "DELAY is defined by Delay"),
            ({"type": "TEST_X", "category": "TIME", "verb": "delay"}, "'delay' belongs to DELAY"),
            ({"type": "test", "category": "TIME"}, "no name of a node type"),
            ({"type": "X" * 65, "category": "TIME"}, "no name of a node type"),
            ({"type": "TEST_X", "category": "OTHER"}, "no category"),
            ({"type": "TEST_X", "category": "TIME", "verb": "a b"}, "no name of a method"),
            ({"type": "TEST_X", "category": "TIME", "verb": "_x"}, "no name of a method"),
        ],
    )
    def test_names(self, options: dict[str, Any], words: str) -> None:
        with pytest.raises(TypeError, match=words):
            type("Wrong", (NodeType,), {"__doc__": "Be wrong."}, **options)
        assert "TEST_X" not in node_types()

    def test_field_names_that_are_taken(self) -> None:
        with pytest.raises(TypeError, match=r"\['handles', 'type'\] cannot be config fields"):

            class Taken(NodeType, type="TEST_TAKEN", category="ACTION"):
                """Take names."""

                type: str = field(help="No.")
                handles: str = field(help="No.")


def test_a_node_is_read_from_its_wire_form() -> None:
    assert read_node("DELAY", {"amount": 1, "unit": "days"}) == nodes.Delay(amount=1, unit="days")
    with pytest.raises(Invalid) as caught:
        read_node("DELAY", {"amount": 1, "unit": "days", "x": 1}, "/nodes/4")
    assert [p.path for p in caught.value.problems] == ["/nodes/4/config/x"]
    with pytest.raises(Invalid) as caught:
        read_node("NOTHING", {}, "/nodes/4")
    assert [p.path for p in caught.value.problems] == ["/nodes/4/type"]


class TestPlugIns:
    """Installed packages bring node types by an entry point."""

    @pytest.fixture(autouse=True)
    def _fresh(self) -> Iterator[None]:
        nodetype._load.cache_clear()
        yield
        nodetype._load.cache_clear()
        node_types()

    def test_one_that_works(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
        (tmp_path / "plug_in_that_works.py").write_text(
            "from flowkit.nodetype import NodeType\n"
            "class Plugged(NodeType, type='TEST_PLUGGED', category='ACTION'):\n"
            "    'Be plugged in.'\n"
        )
        monkeypatch.syspath_prepend(tmp_path)
        self.install(monkeypatch, "plug_in_that_works")
        assert "TEST_PLUGGED" in node_types()

    def test_one_that_is_broken_takes_no_other_down(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.install(monkeypatch, "plug_in_that_is_not_there")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            assert "DELAY" in node_types()
        assert "plug_in_that_is_not_there" in str(caught[0].message)

    @staticmethod
    def install(monkeypatch: pytest.MonkeyPatch, module: str) -> None:
        def entry_points(group: str) -> list[EntryPoint]:
            assert group == "flowkit.node_types"
            return [EntryPoint("x", module, group)]

        monkeypatch.setattr(plugins, "entry_points", entry_points)


@pytest.mark.parametrize("name", ["expression", "flow", "nodetype"])
def test_examples_in_docstrings(name: str) -> None:
    module = importlib.import_module(f"flowkit.{name}")
    result = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.attempted > 0
    assert result.failed == 0
