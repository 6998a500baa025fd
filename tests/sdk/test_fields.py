"""Config fields: what `parse` accepts is what the schema says, and nothing is lost on the way."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowkit.duration import Duration
from flowkit.errors import Invalid
from flowkit.expression import check_logic, check_mapping, check_template, contact
from flowkit.fields import field, json_schema, normalise, parse, specs, unparse
from flowkit.kinds import check_name
from flowkit.nodes.delays import Delay
from flowkit.nodes.logic import Condition
from flowkit.nodes.messages import SendMessage
from flowkit.nodes.system import Trigger
from flowkit.nodetype import Context, Next, NodeType
from flowkit.zones import check_time, check_zone
from tests.examples import examples
from tests.sdk.strategies import builtin_types, configs, json_values

formats = jsonschema.FormatChecker(formats=())
formats.checks("liquid")(lambda value: not isinstance(value, str) or not check_template(value))
formats.checks("jmespath")(lambda value: not isinstance(value, str) or not check_mapping(value))
for _format, _check in (
    ("name", check_name),
    ("time-of-day", check_time),
    ("time-zone", check_zone),
):
    formats.checks(_format)(
        lambda value, check=_check: not isinstance(value, str) or not check(value, "")
    )
formats.checks("jsonlogic")(lambda value: not check_logic(value))


@dataclass(frozen=True, kw_only=True)
class Size:
    """A part of a config."""

    wide: int = field(help="How wide.", ge=1)
    high: int | None = field(4, help="How high.")
    names: Sequence[str] = field((), help="What it is called.", max_length=2)

    def __post_init__(self) -> None:
        normalise(self)


class Everything(NodeType, type="TEST_EVERYTHING", category="ACTION"):
    """Have a field of every kind."""

    text: str = field(help="A text.", min_length=1, max_length=5)
    whole: int = field(3, help="A whole number.", ge=1, lt=10)
    ratio: float = field(0.5, help="A number.", gt=0, le=1)
    flag: bool = field(False, help="Yes or no.")
    mode: Literal["one", "two"] = field("one", help="Which way.")
    maybe: int | None = field(None, help="Perhaps a number.")
    never_null: str | None = field(help="Needed in mode two.", show_when={"mode": "two"})
    names: Sequence[str] = field((), help="Some texts.", max_length=3)
    greeting: str = field("hi", help="A template.", kind="template")
    path: str = field("a", help="A mapping.", kind="jmespath")
    rule: Any = field(None, help="A condition.", kind="expression")
    size: Size = field(Size(wide=2, high=3), help="A part.")
    maybe_size: Size | None = field(None, help="Perhaps a part.")
    sizes: Sequence[Size] = field((), help="Parts.", max_length=2)
    headers: Mapping[str, str] | None = field(
        None, help="Templates by name.", kind="template", max_length=2
    )
    data: Any = field(None, help="Anything.", kind="json")

    def run(self, ctx: Context) -> Next:
        return Next()


TYPES = [*builtin_types(), Everything]
WRONG = st.one_of(
    json_values,
    st.sampled_from(
        [True, 0, 1, 1.0, 2.5, 10, 10**400, "", "one", "two", "{{", "a b", [], [1], {}]
    ),
    st.sampled_from([{"wide": 0}, {"wide": 2}, {"high": None}, {"names": [1]}, {"deep": 1}]),
    st.sampled_from([{"maximumAttempts": 11}, {"maximumAttempts": 1}, {"initialInterval": 0}]),
    st.sampled_from([{"==": [1]}, {"nope": 1}, {"var": "a"}, ["x"] * 4, "sixsix", None, -1]),
)


@st.composite
def nearly(draw: Any, cls: type[NodeType]) -> dict[str, Any]:
    """A config with up to two places changed, removed or added."""
    config = draw(configs(cls))
    names = [spec.wire for spec in specs(cls)] + ["unknown"]
    for name in draw(st.lists(st.sampled_from(names), max_size=2)):
        if draw(st.booleans()):
            config[name] = draw(WRONG)
        else:
            config.pop(name, None)
    return config


@pytest.mark.parametrize("cls", TYPES, ids=lambda cls: cls.type)
@settings(max_examples=examples(30, 200))
@given(data=st.data())
def test_parse_accepts_what_the_schema_accepts(cls: type[NodeType], data: st.DataObject) -> None:
    config = data.draw(nearly(cls) | json_values)
    validator = jsonschema.Draft202012Validator(json_schema(cls), format_checker=formats)
    with pytest.MonkeyPatch.context() as patch:
        # Rules across fields are not a schema's matter.
        for checked in (cls, Duration):
            patch.setattr(checked, "check", lambda _: ())
        _, found = parse(cls, config)
    # Nor are those of a part; what they say of a message has codes of its own.
    found = [problem for problem in found if not problem.code.startswith("message.")]
    assert (found == []) == validator.is_valid(config)


@pytest.mark.parametrize("cls", TYPES, ids=lambda cls: cls.type)
@settings(max_examples=examples(10, 100))
@given(data=st.data())
def test_what_is_written_is_read_again(cls: type[NodeType], data: st.DataObject) -> None:
    made, found = parse(cls, data.draw(configs(cls)))
    assert made is not None
    written = unparse(made)
    json.dumps(written, allow_nan=False)
    assert parse(cls, written) == (made, found)
    assert unparse(made) == written


def problems_of(config: Any, cls: type[NodeType] = Everything) -> list[tuple[str, str]]:
    made, found = parse(cls, config, "/nodes/0/config")
    assert (made is None) == bool(found)
    return [(p.code, p.path.removeprefix("/nodes/0/config")) for p in found]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"text": None}, ("config.type", "/text")),
        ({"text": ""}, ("config.out_of_range", "/text")),
        ({"text": "sixsix"}, ("config.out_of_range", "/text")),
        ({"whole": True}, ("config.type", "/whole")),
        ({"whole": 2.5}, ("config.type", "/whole")),
        ({"whole": "3"}, ("config.type", "/whole")),
        ({"whole": 10}, ("config.out_of_range", "/whole")),
        ({"whole": 10**400}, ("config.out_of_range", "/whole")),
        ({"ratio": float("nan")}, ("config.type", "/ratio")),
        ({"ratio": float("inf")}, ("config.type", "/ratio")),
        ({"ratio": 0}, ("config.out_of_range", "/ratio")),
        ({"flag": 1}, ("config.type", "/flag")),
        ({"flag": "yes"}, ("config.type", "/flag")),
        ({"mode": "three"}, ("config.choice", "/mode")),
        ({"mode": ["one"]}, ("config.choice", "/mode")),
        ({"mode": "two"}, ("config.missing", "/neverNull")),
        ({"mode": "two", "neverNull": None}, ("config.type", "/neverNull")),
        ({"names": "abc"}, ("config.type", "/names")),
        ({"names": ["a", 1]}, ("config.type", "/names/1")),
        ({"names": ["a"] * 4}, ("config.out_of_range", "/names")),
        ({"greeting": "{{ a"}, ("config.template", "/greeting")),
        ({"greeting": "{{ a | nothing }}"}, ("config.template", "/greeting")),
        ({"path": "a b"}, ("config.jmespath", "/path")),
        ({"rule": {"and": [True, {"nope": []}]}}, ("config.expression", "/rule/and/1")),
        ({"size": None}, ("config.type", "/size")),
        ({"size": {"wide": 0}}, ("config.out_of_range", "/size/wide")),
        ({"size": {"names": ["a", 1]}}, ("config.type", "/size/names/1")),
        ({"maybeSize": {"high": 1}}, ("config.missing", "/maybeSize/wide")),
        ({"maybeSize": {"wide": 1, "deep": 1}}, ("config.unknown_field", "/maybeSize/deep")),
        ({"sizes": [{"wide": 1}, {"wide": 0}]}, ("config.out_of_range", "/sizes/1/wide")),
        ({"headers": ["a"]}, ("config.type", "/headers")),
        ({"headers": {"": "a"}}, ("config.out_of_range", "/headers/")),
        ({"headers": {"a/b": "{{ a"}}, ("config.template", "/headers/a~1b")),
        ({"headers": {"a": "1", "b": "2", "c": "3"}}, ("config.out_of_range", "/headers")),
        ({"data": {1, 2}}, ("config.type", "/data")),
        ({"never_null": "x"}, ("config.unknown_field", "/never_null")),
        ({"a/b~c": 1}, ("config.unknown_field", "/a~1b~0c")),
    ],
)
def test_problems_are_named_and_placed(change: dict[str, Any], expected: tuple[str, str]) -> None:
    assert problems_of({"text": "x"} | change) == [expected]


def test_every_problem_is_reported_at_once() -> None:
    found = problems_of({"whole": 0, "flag": 0, "other": 0})
    assert found == [
        ("config.unknown_field", "/other"),
        ("config.missing", "/text"),
        ("config.out_of_range", "/whole"),
        ("config.type", "/flag"),
    ]


@pytest.mark.parametrize("value", [None, [], "x", 3, True])
def test_a_config_is_an_object(value: Any) -> None:
    assert problems_of(value) == [("config.type", "")]


def test_whole_floats_are_integers_and_stay_small_on_the_wire() -> None:
    made, _ = parse(Everything, {"text": "x", "whole": 4.0, "maybe": 0.0})
    assert made is not None
    assert (made.whole, type(made.whole), made.maybe) == (4, int, 0)
    assert json.dumps(unparse(made)) == '{"text": "x", "whole": 4, "maybe": 0}'


def test_null_is_a_value_only_where_it_is_the_annotation_s() -> None:
    assert problems_of({"text": "x", "maybe": None}) == []
    assert problems_of({"text": "x", "whole": None}) == [("config.type", "/whole")]


def test_a_part_is_as_its_default_where_it_says_nothing() -> None:
    made, _ = parse(Everything, {"text": "x", "size": {"high": 9}, "maybeSize": {"wide": 1}})
    assert made is not None
    assert made.size == Size(wide=2, high=9)
    assert made.maybe_size == Size(wide=1, high=4)
    written = {"text": "x", "size": {"high": 9}, "maybeSize": {"wide": 1}}
    assert unparse(made) == written
    back = Everything(text="x", size=Size(wide=2, high=4))
    assert unparse(back) == {"text": "x", "size": {"high": 4}}, "not the class's default"
    shown = json_schema(Everything)["properties"]
    assert [shown["size"]["properties"][name]["default"] for name in ("wide", "high")] == [2, 3]
    assert (shown["size"]["required"], shown["maybeSize"]["required"]) == ([], ["wide"])


class TestInPython:
    """Constructors check as JSON is checked."""

    def test_bad_values_are_invalid(self) -> None:
        with pytest.raises(Invalid) as caught:
            Delay(amount=0, unit="years")  # type: ignore[arg-type]
        assert [p.path for p in caught.value.problems] == ["/amount", "/unit"]

    def test_rules_across_fields_hold_too(self) -> None:
        with pytest.raises(Invalid, match="5 years"):
            Delay(amount=262, unit="weeks")

    def test_a_list_becomes_a_tuple_so_that_the_node_stays_a_value(self) -> None:
        made = SendMessage(kind="template", template="a", language="en", parameters=["x"])
        assert made.parameters == ("x",)
        assert hash(made) == hash(parse(SendMessage, unparse(made))[0])

    def test_an_expression_is_kept_as_jsonlogic(self) -> None:
        made = Condition(expression=contact.country == "BR")
        assert made.expression == {"==": [{"var": "contact.country"}, "BR"]}
        assert unparse(made) == {"expression": made.expression}

    def test_what_is_needed_only_when_shown(self) -> None:
        with pytest.raises(Invalid, match="'text' is missing"):
            SendMessage(kind="text")
        with pytest.raises(Invalid, match="'language' is missing"):
            SendMessage(kind="template", template="a")

    def test_a_part_is_an_instance_or_its_json(self) -> None:
        sized = Everything(text="x", size=Size(wide=2, high=1))
        assert sized == Everything(text="x", size={"high": 1})  # type: ignore[arg-type]
        assert hash(sized) == hash(Everything(text="x", size=Size(wide=2, high=1)))
        with pytest.raises(Invalid) as caught:
            Everything(text="x", size={"wide": 0})  # type: ignore[arg-type]
        assert [p.path for p in caught.value.problems] == ["/size/wide"]
        with pytest.raises(Invalid, match="at least 1"):
            Size(wide=0)

    def test_nodes_are_frozen(self) -> None:
        with pytest.raises(AttributeError):
            Trigger().contact = "x"  # type: ignore[misc]


def test_a_field_without_help_or_of_a_strange_type_is_refused() -> None:
    class Bare(NodeType, type="TEST_BARE", category="ACTION"):
        """Lack help."""

        size: int = 3

    class Strange(NodeType, type="TEST_STRANGE", category="ACTION"):
        """Have a field of no kind."""

        when: complex = field(help="What.")

    with pytest.raises(TypeError, match=r"'size' must be declared with field"):
        specs(Bare)
    with pytest.raises(TypeError, match=r"'when'.*complex"):
        specs(Strange)


@pytest.fixture(autouse=True, scope="module")
def _registry() -> Iterator[None]:
    """Take this module's node types out of the registry afterwards."""
    from flowkit import nodetype

    before = {name: cls for name, cls in nodetype._registry.items() if not name.startswith("TEST_")}
    yield
    nodetype._registry.clear()
    nodetype._registry.update(before)
