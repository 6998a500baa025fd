"""Building flows in Python: what is joined to what, ids, mistakes, and the picture."""

from __future__ import annotations

import inspect
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowkit.errors import Invalid
from flowkit.expression import contact, trigger
from flowkit.flow import Flow
from flowkit.layout import COLUMN, ROW, layered
from flowkit.nodes.delays import Delay
from flowkit.nodes.logic import Condition
from flowkit.nodes.messages import SendMessage
from flowkit.problems import errors
from tests.examples import examples
from tests.sdk.strategies import flows


def start(**options: Any) -> Flow:
    return Flow("Test", trigger="started", **options)


def joined(flow: Flow) -> list[str]:
    return [
        f"{e.source}{'.' + e.source_handle if e.source_handle else ''} > {e.target}"
        for e in flow.edges
    ]


def abandoned_cart() -> Flow:
    return (
        Flow("Abandoned cart", trigger="cart_abandoned")
        .delay(seconds=2)
        .when(
            contact.country == "BR",
            then=lambda b: b.send(
                template="cart_reminder",
                language="pt_BR",
                parameters=["{{ contact.first_name }}"],
            ),
            otherwise=lambda b: b.send(
                template="cart_reminder",
                language="en_US",
                parameters=["{{ contact.first_name }}"],
            ),
        )
        .parallel(
            lambda b: b.send(text="one"),
            lambda b: b.send(text="two"),
            lambda b: b.delay(hours=1).send(text="three"),
        )
        .end()
    )


def test_the_readme_example() -> None:
    flow = abandoned_cart()
    assert errors(flow.validate()) == []
    assert [node.id for node in flow.nodes] == [
        "trigger_1",
        "delay_1",
        "condition_1",
        "send_message_1",
        "send_message_2",
        "send_message_3",
        "send_message_4",
        "delay_2",
        "send_message_5",
        "end_1",
    ]
    assert joined(flow) == [
        "trigger_1 > delay_1",
        "delay_1 > condition_1",
        "condition_1.true > send_message_1",
        "condition_1.false > send_message_2",
        "send_message_1 > send_message_3",
        "send_message_2 > send_message_3",
        "send_message_1 > send_message_4",
        "send_message_2 > send_message_4",
        "send_message_1 > delay_2",
        "send_message_2 > delay_2",
        "delay_2 > send_message_5",
        "send_message_3 > end_1",
        "send_message_4 > end_1",
        "send_message_5 > end_1",
    ]
    assert [e.label for e in flow.edges if e.source == "condition_1"] == ["Yes", "No"]
    assert flow.behaviour("send_message_1") == SendMessage(
        kind="template",
        template="cart_reminder",
        language="pt_BR",
        parameters=["{{ contact.first_name }}"],
    )
    assert flow == abandoned_cart()


def test_the_repr_reads_like_the_flow() -> None:
    assert repr(start().delay(days=2).end()) == (
        "Flow('Test', trigger='started')\n"
        "  trigger_1: TRIGGER() -> delay_1\n"
        '  delay_1: DELAY(amount=2, unit="days") -> end_1\n'
        "  end_1: END()"
    )


def test_the_trigger_s_config() -> None:
    flow = start(contact="customer.{phone: phone}", filter=trigger.total > 10)
    assert flow.nodes[0].config == {
        "contact": "customer.{phone: phone}",
        "filter": {">": [{"var": "trigger.total"}, 10]},
    }
    assert start().nodes[0].config == {}
    assert start(contact="contact").nodes[0].config == {"contact": "contact"}


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda: Flow("", trigger="x"), "flow.name"),
        (lambda: Flow("  ", trigger="x"), "flow.name"),
        (lambda: Flow(None, trigger="x"), "flow.name"),  # type: ignore[arg-type]
        (lambda: Flow("a", trigger=""), "flow.trigger_type"),
        (lambda: Flow("a", trigger="a b"), "flow.trigger_type"),
        (lambda: Flow("a", trigger="a\n"), "flow.trigger_type"),
        (lambda: Flow("a", trigger="x" * 129), "flow.trigger_type"),
        (lambda: Flow("a", trigger="x", contact="a b"), "config.jmespath"),
        (lambda: Flow("a", trigger="x", filter={"nope": 1}), "config.expression"),
        (lambda: Flow("a", trigger="x", settings={"a": float("nan")}), "document.number"),
        (lambda: start().end().delay(days=1), "build.ended"),
        (lambda: start().end().end(), "build.ended"),
        (lambda: start().end().parallel(lambda b: b), "build.ended"),
        (lambda: start().delay(), "config.delay"),
        (lambda: start().delay(days=1, hours=2), "config.delay"),
        (lambda: start().delay(days=0), "config.out_of_range"),
        (lambda: start().delay(days="1"), "config.type"),
        (lambda: start().send(), "config.missing"),
        (lambda: start().send(text="{{ a"), "config.template"),
        (lambda: start().delay(days=1, id="a b"), "node.id"),
        (lambda: start().delay(days=1, id="a_v2"), "node.id"),
        (lambda: start().delay(days=1, id=""), "node.id"),
        (lambda: start().delay(days=1, id="trigger_1"), "node.duplicate_id"),
        (lambda: start().end(id="trigger_1"), "node.duplicate_id"),
        (lambda: start().parallel(), "build.branch"),
        (lambda: start().parallel(lambda b: None), "build.branch"),
        (lambda: start().parallel(lambda b: start()), "build.branch"),
        (lambda: start().parallel(start().delay(days=1)), "build.branch"),
        (lambda: start().when(True, then="send"), "build.branch"),
        (lambda: start().then(Delay(amount=1, unit="days"), on={"true": None}), "build.handle"),
    ],
)
def test_mistakes_are_invalid_and_named(make: Any, code: str) -> None:
    with pytest.raises(Invalid) as caught:
        make()
    assert [problem.code for problem in caught.value.problems] == [code]


def test_wrong_names_are_python_s_errors_with_a_hint() -> None:
    with pytest.raises(AttributeError, match=r"no 'dely'; did you mean 'delay'\?"):
        start().dely(days=1)
    with pytest.raises(AttributeError, match=r"steps are .*send"):
        start().xyzzy()
    with pytest.raises(TypeError, match=r"send\(\) got an unexpected keyword argument 'txt'.*text"):
        start().send(txt="hi")
    with pytest.raises(TypeError, match=r"when\(\) missing a required argument: 'expression'"):
        start().when()
    with pytest.raises(TypeError, match="write `\\(a\\) & \\(b\\)`"):
        start().when(contact.a and contact.b)


def test_the_methods_show_their_arguments_and_help() -> None:
    send = start().send
    parameters = inspect.signature(send).parameters
    assert list(parameters)[:3] == ["kind", "text", "preview_url"]
    assert list(parameters)[-1] == "id"
    assert send.__name__ == "send"
    assert "WhatsApp" in (send.__doc__ or "")
    assert "Name of the approved template." in (send.__doc__ or "")
    assert list(inspect.signature(start().when).parameters) == [
        "expression",
        "then",
        "otherwise",
        "id",
    ]
    assert {"send", "delay", "when", "then", "parallel", "end"} <= set(dir(start()))


class TestWhen:
    """A condition has two sides; a side that is left out goes on to the next step."""

    def test_one_side(self) -> None:
        flow = start().when(contact.vip, then=lambda b: b.delay(days=1)).send(text="hi").end()
        assert joined(flow) == [
            "trigger_1 > condition_1",
            "condition_1.true > delay_1",
            "delay_1 > send_message_1",
            "condition_1.false > send_message_1",
            "send_message_1 > end_1",
        ]
        assert errors(flow.validate()) == []

    def test_no_side(self) -> None:
        flow = start().when(True).end()
        assert joined(flow)[1:] == ["condition_1.true > end_1", "condition_1.false > end_1"]

    def test_a_side_that_ends(self) -> None:
        flow = start().when(True, otherwise=lambda b: b.end()).delay(days=1).end()
        assert joined(flow) == [
            "trigger_1 > condition_1",
            "condition_1.false > end_1",
            "condition_1.true > delay_1",
            "delay_1 > end_1",
        ]

    def test_a_side_that_does_nothing(self) -> None:
        flow = start().when(True, then=lambda b: b).end()
        assert joined(flow) == joined(start().when(True).end())

    def test_then_takes_the_sides_by_handle(self) -> None:
        node = Condition(expression=True)
        flow = start().then(node, on={"true": lambda b: b.delay(days=1)}).end()
        assert flow == start().when(True, then=lambda b: b.delay(days=1)).end()


class TestParallel:
    """A fork starts every branch where the flow stood."""

    def test_nested(self) -> None:
        flow = (
            start()
            .parallel(
                lambda b: b.parallel(lambda c: c.delay(days=1), lambda c: c.delay(days=2)),
                lambda b: b.delay(days=3),
            )
            .end()
        )
        assert flow.targets("trigger_1", None) == ("delay_1", "delay_2", "delay_3")
        assert errors(flow.validate()) == []

    def test_a_branch_that_does_nothing_goes_on_to_the_next_step(self) -> None:
        flow = start().parallel(lambda b: b.delay(days=1), lambda b: b, lambda b: b).end()
        assert joined(flow) == ["trigger_1 > delay_1", "delay_1 > end_1", "trigger_1 > end_1"]

    def test_branches_can_be_made_in_a_loop(self) -> None:
        days = (1, 3, 7)
        flow = start().parallel(*[lambda b, n=n: b.delay(days=n) for n in days]).end()
        assert [flow.behaviour(f"delay_{i}").amount for i in (1, 2, 3)] == [1, 3, 7]  # type: ignore[attr-defined]


class TestEnd:
    """END is one node unless it is named."""

    def test_the_way_to_end_is_one_edge(self) -> None:
        flow = start().parallel(lambda b: b.end(), lambda b: b.end(), lambda b: b).end()
        assert joined(flow) == ["trigger_1 > end_1"]

    def test_a_named_end_is_another(self) -> None:
        flow = start().when(True, then=lambda b: b.end(id="bought")).end()
        assert joined(flow)[1:] == ["condition_1.true > bought", "condition_1.false > bought"]
        flow = start().when(True, then=lambda b: b.end(id="bought")).end(id="left")
        assert joined(flow)[1:] == ["condition_1.true > bought", "condition_1.false > left"]


class TestIds:
    """Ids are the user's or counted, and never clash."""

    def test_given(self) -> None:
        flow = start().delay(days=1, id="pause").send(text="hi", id="delay_1").delay(days=1).end()
        assert [node.id for node in flow.nodes] == [
            "trigger_1",
            "pause",
            "delay_1",
            "delay_2",
            "end_1",
        ]

    def test_edges_have_ids_of_their_ends(self) -> None:
        flow = start().when(True).end()
        assert [edge.id for edge in flow.edges] == [
            "trigger_1>condition_1",
            "condition_1.true>end_1",
            "condition_1.false>end_1",
        ]


def test_a_flow_is_a_value() -> None:
    base = start().delay(days=1)
    one, other = base.send(text="one").end(), base.send(text="two").end()
    assert [node.id for node in base.nodes] == ["trigger_1", "delay_1"]
    assert one.nodes[1] is other.nodes[1]
    assert one != other
    with pytest.raises(AttributeError):
        base.name = "other"  # type: ignore[misc]


def test_a_loaded_flow_can_be_built_on_where_it_is_open() -> None:
    draft = Flow.from_dict(start().when(contact.vip, then=lambda b: b.end()).to_dict())
    flow = draft.delay(days=1).end()
    assert joined(flow)[-2:] == ["condition_1.false > delay_1", "delay_1 > end_1"]
    assert errors(flow.validate()) == []
    with pytest.raises(Invalid, match="every way of the flow has ended"):
        Flow.from_dict(flow.to_dict()).delay(days=1)


@settings(max_examples=examples(15, 100))
@given(flow=flows())
def test_what_is_built_has_no_errors_and_is_deterministic(flow: Flow) -> None:
    assert errors(flow.validate()) == []
    twice = [edge.id for edge in flow.edges]
    assert len(set(twice)) == len(twice)


def overlapping(places: list[tuple[float, float]]) -> bool:
    return any(
        abs(a[0] - b[0]) < COLUMN and abs(a[1] - b[1]) < ROW
        for i, a in enumerate(places)
        for b in places[:i]
    )


@settings(max_examples=examples(15, 100))
@given(flow=flows())
def test_nodes_have_places_that_do_not_overlap_and_lead_down(flow: Flow) -> None:
    nodes = {node["id"]: node["position"] for node in flow.to_dict()["nodes"]}
    assert not overlapping([(p["x"], p["y"]) for p in nodes.values()])
    for edge in flow.edges:
        assert nodes[edge.source]["y"] < nodes[edge.target]["y"]


@settings(max_examples=examples(15, 100))
@given(flow=flows(), days=st.integers(1, 9))
def test_places_that_were_given_stay_and_new_nodes_keep_off_them(flow: Flow, days: int) -> None:
    document = flow.to_dict()
    ends = [node["id"] for node in document["nodes"] if node["type"] == "END"]
    document["nodes"] = [node for node in document["nodes"] if node["id"] not in ends]
    document["edges"] = [edge for edge in document["edges"] if edge["target"] not in ends]
    grown = Flow.from_dict(document).delay(days=days).end()
    places = [node["position"] for node in grown.to_dict()["nodes"]]
    assert places[: len(document["nodes"])] == [node["position"] for node in document["nodes"]]
    assert not overlapping([(p["x"], p["y"]) for p in places])


def test_a_document_without_places_is_not_given_any() -> None:
    document = start().end().to_dict()
    for node in document["nodes"]:
        del node["position"]
    assert Flow.from_dict(document).to_dict() == document


def test_layout_of_a_fork_is_centred_and_of_a_cycle_comes_last() -> None:
    assert layered(["a", "b", "c", "d"], [("a", "b"), ("a", "c"), ("b", "d"), ("c", "d")]) == {
        "a": (0, 0),
        "b": (-COLUMN // 2, ROW),
        "c": (COLUMN // 2, ROW),
        "d": (0, 2 * ROW),
    }
    looped = layered(["a", "b", "c"], [("a", "b"), ("b", "c"), ("c", "b"), ("x", "a")])
    assert Counter(y for _, y in looped.values()) == {0: 1, ROW: 2}
