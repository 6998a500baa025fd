"""``flow.diff``: by meaning, with renamed nodes recognised; as text and as a picture."""

from __future__ import annotations

import copy
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings

import flowkit as fk
from flowkit.errors import Invalid
from flowkit.flow import Flow
from flowkit.wire import canonical
from service.demo.flow import abandoned_cart
from tests.sdk.strategies import flows
from tests.sdk.test_flow_json import loadable


def start(**options: Any) -> Flow:
    return Flow("Test", trigger="started", **options)


def cart(wait: int = 1, text: str = "Hi", **options: Any) -> Flow:
    return (
        start(**options)
        .delay(hours=wait)
        .when(fk.contact.vip == True, then=lambda b: b.send(text=text))  # noqa: E712
        .end()
    )


def told(old: Flow, new: Flow) -> list[str]:
    return [str(change) for change in old.diff(new).changes]


def edited(flow: Flow, edit: Any) -> Flow:
    document = flow.to_dict()
    edit(document)
    return Flow.from_dict(document)


def renamed(flow: Flow, **ids: str) -> Flow:
    document = flow.to_dict()
    for node in document["nodes"]:
        node["id"] = ids.get(node["id"], node["id"])
    for edge in document["edges"]:
        for end in ("source", "target"):
            edge[end] = ids.get(edge[end], edge[end])
    return Flow.from_dict(document)


def test_the_same_flow() -> None:
    found = cart().diff(cart())
    assert not found
    assert str(found) == "no change"
    assert found.view == ()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (cart(1), cart(2), ["~ node delay_1 /config/amount: 1 -> 2"]),
        (
            cart(),
            edited(cart(), lambda d: d["nodes"][1].update(type="SLEEP")),
            ['~ node delay_1 /type: "DELAY" -> "SLEEP"'],
        ),
        (
            cart(settings={"goal": {"a": 1}, "b": 2}),
            cart(settings={"goal": {"a": 2}, "c": 3}),
            [
                "~ flow /settings/goal/a: 1 -> 2",
                "- flow /settings/b: 2",
                "+ flow /settings/c: 3",
            ],
        ),
        (cart(), cart().replace(name="Other"), ['~ flow /name: "Test" -> "Other"']),
        (
            start().delay(hours=1).end(),
            start().delay(hours=1).send(text="new").end(),
            [
                '+ node send_message_1: SEND_MESSAGE(kind="text", text="new")',
                "~ edge delay_1 -> send_message_1: was delay_1 -> end_1",
                "+ edge send_message_1 -> end_1",
            ],
        ),
        (
            start().delay(hours=1).send(text="old").end(),
            start().delay(hours=1).end(),
            [
                '- node send_message_1: SEND_MESSAGE(kind="text", text="old")',
                "~ edge delay_1 -> end_1: was delay_1 -> send_message_1",
                "- edge send_message_1 -> end_1",
            ],
        ),
        (
            start().when(True, then=lambda b: b.delay(days=1)).end(),
            start().when(True, otherwise=lambda b: b.delay(days=1)).end(),
            [
                "~ edge condition_1[false] -> delay_1: was condition_1[false] -> end_1",
                "~ edge condition_1[true] -> end_1: was condition_1[true] -> delay_1",
            ],
        ),
        (cart(), renamed(cart(), delay_1="pause"), ["~ node pause: was delay_1"]),
        (
            cart(),
            renamed(cart(), trigger_1="a", delay_1="b", condition_1="c", send_message_1="d"),
            [
                "~ node a: was trigger_1",
                "~ node b: was delay_1",
                "~ node c: was condition_1",
                "~ node d: was send_message_1",
            ],
        ),
        (
            start().parallel(lambda b: b.delay(days=1), lambda b: b.delay(days=2)).end(),
            edited(
                start().parallel(lambda b: b.delay(days=1), lambda b: b.delay(days=2)).end(),
                lambda d: d["edges"].reverse(),
            ),
            ['~ edge trigger_1: order ["delay_1", "delay_2"] -> ["delay_2", "delay_1"]'],
        ),
    ],
)
def test_what_is_told(old: Flow, new: Flow, said: list[str]) -> None:
    found = old.diff(new)
    assert sorted(map(str, found.changes)) == sorted(said)
    assert found
    ElementTree.fromstring(found.to_svg())


def test_twins_that_were_renamed_are_not_guessed() -> None:
    def twins(*ids: str) -> Flow:
        return start().parallel(*[lambda b, i=i: b.delay(days=1, id=i) for i in ids]).end()

    kinds = [c.kind for c in twins("a", "b").diff(twins("c", "d")).changes if c.what == "node"]
    assert kinds == ["removed", "removed", "added", "added"]


def test_what_a_canvas_shows_is_told_apart() -> None:
    def move(document: dict[str, Any]) -> None:
        document["nodes"][1] |= {"position": {"x": 7, "y": 140}, "data": {"open": True}}
        document["edges"][0] |= {"id": "e", "label": "go"}
        document["viewport"] = {"zoom": 2}

    found = cart().diff(edited(cart(), move))
    assert not found
    assert [(c.what, c.path) for c in found.view] == [
        ("flow", "/viewport"),
        ("node", "/position/x"),
        ("node", "/data"),
        ("edge", "/id"),
        ("edge", "/label"),
    ]
    assert str(found) == "no change\n  (and 5 in what a canvas shows)"


def test_what_a_store_notes_is_no_difference() -> None:
    stored = cart().replace(id="x", is_active=True, version=4)
    assert not cart().diff(stored)
    assert not cart().diff(stored).view


def readable(data: Any) -> Flow | None:
    try:
        return Flow.from_dict(data)
    except Invalid:
        return None


@settings(max_examples=20)
@given(one=flows(), other=flows())
def test_a_difference_is_one_of_meaning(one: Flow, other: Flow) -> None:
    assert not one.diff(copy.deepcopy(one))
    found = one.diff(other)
    assert bool(found) == (canonical(one.content()) != canonical(other.content()))
    back = other.diff(one)
    assert len(back.changes) == len(found.changes)
    ElementTree.fromstring(found.to_svg())


@settings(max_examples=40)
@given(one=loadable, other=loadable)
def test_any_two_documents(one: Any, other: Any) -> None:
    old, new = readable(one), readable(other)
    assert old is not None
    assert new is not None
    assert bool(old.diff(new)) == (canonical(old.content()) != canonical(new.content()))
    for drawing in (old.to_svg(), old.diff(new).to_svg()):
        ElementTree.fromstring(drawing)


class TestPicture:
    """Pictures are well-formed, say what they show in words, and do not rely on colours."""

    def test_of_a_flow(self) -> None:
        root = ElementTree.fromstring(abandoned_cart.to_svg())
        words = ["".join(part.itertext()) for part in root.iter("{http://www.w3.org/2000/svg}text")]
        assert "Abandoned cart" in "".join(root[0].itertext())
        assert root[1].text == "9 nodes and 13 edges, started by cart_abandoned."
        assert {"TRIGGER", "DELAY", "reminder_pt", "true"} <= set(words)
        assert root.get("role") == "img"
        named = (root.get("aria-labelledby") or "").split()
        assert [part.get("id") for part in root[:2]] == named
        assert abandoned_cart._repr_html_() == abandoned_cart.to_svg()

    def test_it_follows_the_canvas(self) -> None:
        moved = edited(cart(), lambda d: d["nodes"][1].update(position={"x": 5000, "y": 9}))
        assert 'x="5000"' in moved.to_svg()

    def test_of_a_difference(self) -> None:
        new = start().delay(hours=2).send(text="new").end()
        root = ElementTree.fromstring(start().delay(hours=1).when(True).end().diff(new).to_svg())
        words = ["".join(part.itertext()) for part in root.iter("{http://www.w3.org/2000/svg}text")]
        assert {"+", "-", "~", "- true"} <= set(words)
        assert "+ node send_message_1" in (root[1].text or "")

    def test_text_cannot_become_markup(self) -> None:
        flow = start().send(text="</svg><script>&\x00", id="a").end()
        flow = flow.replace(name="<b>\x01")
        assert "<script" not in flow.to_svg()
        assert "<b>" not in flow.to_svg()
        ElementTree.fromstring(flow.to_svg())
