"""What executions share, as pure functions: changes of contacts, buckets, caps; and their nodes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import flowkit as fk
from flowkit.contacts import Contact, changed, overlaid, shown
from flowkit.errors import NodeFailed
from flowkit.fields import parse
from flowkit.limits import take_token, take_turn
from flowkit.nodes.contact import UpdateContact
from flowkit.nodes.limits import FrequencyCap, RateLimit
from flowkit.problems import errors
from flowkit.wire import canonical, to_ms
from tests.sdk.test_nodes import Context

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def told(**attributes: Any) -> Contact:
    return Contact(id="c1", attributes=attributes, created_at=NOW, updated_at=NOW)


# ------------------------------------------------------------------------- contacts

names = st.sampled_from(["a", "b", "tags"])
changes = st.fixed_dictionaries(
    {},
    optional={
        "set": st.dictionaries(names, st.integers(0, 9) | st.none(), max_size=2),
        "unset": st.lists(names, max_size=2, unique=True),
        "increment": st.dictionaries(st.just("n"), st.integers(-3, 3)),
    },
)


@given(st.lists(changes, max_size=4), st.dictionaries(names, st.integers(), max_size=3))
def test_an_execution_sees_what_the_store_shows(made: list[Any], first: dict[str, Any]) -> None:
    contact, state, seen = told(**first), None, dict(first)
    for number, change in enumerate(made, start=1):
        # A name in both is set: what is unset goes first.
        state, answer = changed(contact, state, change, NOW + number * SECOND)
        canonical(state)
        seen = overlaid(seen, answer)
        assert shown(contact, state).attributes == seen


def test_the_later_news_of_an_attribute_counts() -> None:
    state, _ = changed(told(a=1, b=1), None, {"set": {"a": 2}, "unset": ["b"]}, NOW + SECOND)
    assert shown(told(a=1, b=1), state).attributes == {"a": 2}
    later = Contact(
        id="c1", attributes={"a": 3, "b": 3}, created_at=NOW, updated_at=NOW + 2 * SECOND
    )
    assert shown(later, state).attributes == {"a": 3, "b": 3}


@pytest.mark.parametrize(
    ("attributes", "change"),
    [
        ({"n": "many"}, {"increment": {"n": 1}}),
        ({"n": True}, {"increment": {"n": 1}}),
        ({"n": 1e308}, {"increment": {"n": 1e308}}),
        ({"tags": "vip"}, {"addTags": ["x"]}),
        ({"tags": [str(i) for i in range(200)]}, {"addTags": ["x"]}),
    ],
)
def test_what_cannot_be_changed_so_is_refused(attributes: Any, change: Any) -> None:
    with pytest.raises(NodeFailed) as caught:
        changed(told(**attributes), None, change, NOW)
    assert caught.value.code == "contact_change_invalid"


@pytest.mark.parametrize(
    ("config", "code", "path"),
    [
        ({}, "contact.nothing", ""),
        ({"set": {"id": 1}}, "contact.identity", "/set/id"),
        ({"unset": ["user_id"]}, "contact.identity", "/unset/0"),
        ({"set": {"a": 1}, "increment": {"a": 1}}, "contact.conflict", "/increment/a"),
        ({"set": {"tags": []}, "addTags": ["x"]}, "contact.conflict", "/set/tags"),
        ({"set": {"a": {"nope": 1}}}, "config.expression", "/set/a"),
    ],
)
def test_a_change_that_makes_no_sense(config: Any, code: str, path: str) -> None:
    made, (problem,) = parse(UpdateContact, config)
    assert made is None
    assert (problem.code, problem.path) == (code, path)


def test_values_are_worked_out_when_the_node_runs() -> None:
    node = UpdateContact(
        set={"total": fk.trigger.total, "vip": True},
        increment={"n": fk.trigger.total},
        add_tags=[" {{ contact.country }} "],
    )
    effect = node.run(Context(trigger={"total": 3}))
    assert (effect.kind, effect.on_unknown) == ("contact.update", "resend")
    request = {k: v for k, v in effect.request.items() if k != "known"}
    assert request == {
        "contactId": "c1",
        "set": {"total": 3, "vip": True},
        "unset": [],
        "increment": {"n": 3},
        "addTags": ["BR"],
        "removeTags": [],
    }


@pytest.mark.parametrize(
    ("config", "code"),
    [
        ({"increment": {"n": {"var": "contact.first_name"}}}, "contact_change_invalid"),
        ({"addTags": ["{{ contact.nothing }}"]}, "contact_change_invalid"),
        ({"set": {"a": {"var": "trigger.long"}}}, "contact_change_too_large"),
    ],
)
def test_values_that_do_not_fit_fail_the_node(config: Any, code: str) -> None:
    made, _ = parse(UpdateContact, config)
    assert made is not None
    with pytest.raises(NodeFailed) as caught:
        made.run(Context(trigger={"long": "x" * 9_000}))
    assert caught.value.code == code


# --------------------------------------------------------------------------- limits


@given(
    st.lists(st.integers(0, 3_000), min_size=1, max_size=30),
    st.sampled_from([0.5, 1, 3, 80]),
    st.integers(1, 5),
)
def test_a_bucket_lets_no_more_pass_than_it_holds_and_drips(
    pauses: list[int], per_second: float, burst: int
) -> None:
    now, state, passes = NOW, None, []
    for pause in pauses:
        now += timedelta(milliseconds=pause)
        state, answer = take_token(state, per_second=per_second, burst=burst, now=now)
        assert answer["until"] >= to_ms(now)
        passes.append(answer["until"])
    assert passes == sorted(passes)
    for first in range(len(passes)):
        for last in range(first, len(passes)):
            seconds = (passes[last] - passes[first]) / 1000
            assert last - first + 1 <= burst + seconds * per_second + 1e-3


def test_a_bucket_that_was_left_alone_holds_its_burst_and_no_more() -> None:
    state: Any = None
    for _ in range(9):
        state, _ = take_token(state, per_second=1, burst=3, now=NOW)
    later = NOW + timedelta(hours=1)
    waits = []
    for _ in range(5):
        state, answer = take_token(state, per_second=1, burst=3, now=later)
        waits.append(answer["until"] - to_ms(later))
    assert waits == [0, 0, 0, 1000, 2000]


def test_a_turn_is_refused_without_being_counted() -> None:
    state: Any = None
    allowed = []
    for period in ("d1", "d1", "d1", "d2", "d2", "d2"):
        state, answer = take_turn(state, period=period, maximum=2)
        allowed.append((answer["allowed"], answer["count"]))
    assert allowed == [(True, 1), (True, 2), (False, 2)] * 2


@pytest.mark.parametrize("node", [RateLimit(key="{{ trigger.key }}", per_second=1)])
@pytest.mark.parametrize("key", ["", "x" * 257])
def test_a_key_must_name_something(node: Any, key: str) -> None:
    with pytest.raises(NodeFailed) as caught:
        node.run(Context(trigger={"key": key}))
    assert caught.value.code == "key_invalid"


@pytest.mark.parametrize(
    ("zone", "period", "named"),
    [
        ("Pacific/Auckland", "day", "2026-11-23"),
        ("America/Sao_Paulo", "day", "2026-11-22"),
        ("Pacific/Auckland", "week", "2026-W48"),
        ("UTC", "week", "2026-W47"),
        ("Nowhere/Land", "day", "2026-11-22"),
    ],
)
def test_the_period_is_of_the_contacts_calendar(zone: str, period: Any, named: str) -> None:
    at = Context(now=NOW + timedelta(hours=3), contact={"timezone": zone})
    effect = FrequencyCap(maximum=1, period=period).run(at)
    assert effect.request["period"] == named
    assert effect.request["key"] == f"c1:{period}:messages"


def test_what_a_cap_holds_back_ends_unless_something_else_is_said() -> None:
    flow = fk.Flow("Cap", trigger="test").frequency_cap(maximum=1, period="day", id="cap")
    flow = flow.send(text="Hi", id="say").end()
    ways = {(e.source_handle, e.target) for e in flow.edges if e.source == "cap"}
    assert ways == {("allowed", "say"), ("suppressed", "end_1")}
    assert errors(flow.validate()) == []
