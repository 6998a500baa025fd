"""SWITCH and SPLIT: which way is taken, and that a contact's arm is always the same."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import flowkit as fk
from flowkit.errors import Invalid
from flowkit.nodes.chance import Arm, Split, arm
from flowkit.nodes.logic import Case, Switch
from tests.engine.driver import PAYLOAD, World, flow_of

SPEND = {
    "cases": [
        {"id": "much", "expression": {">": [{"var": "trigger.spent"}, 100]}},
        {"id": "some", "expression": {">": [{"var": "trigger.spent"}, 10]}},
    ]
}


def spending(amount: Any) -> World:
    flow = flow_of(
        {"spend": ("SWITCH", SPEND)},
        *("start > spend", "spend:much > end", "spend:some > end", "spend:default > end"),
    )
    return World(flow, PAYLOAD | {"spent": amount})


@pytest.mark.parametrize(
    ("amount", "case"),
    [(200, "much"), (100, "some"), (11, "some"), (10, "default"), (None, "default")],
)
def test_the_first_case_that_holds_is_taken(amount: Any, case: str) -> None:
    world = spending(amount)
    assert world.run().status == "completed"
    run = world.run_of("spend")
    assert (run.source_handle, run.result) == (case, {"case": case})


@pytest.mark.parametrize(
    ("ids", "code", "path"),
    [
        (["a", "a"], "config.duplicate", "/cases/1/id"),
        (["default"], "config.duplicate", "/cases/0/id"),
        (["a b"], "config.name", "/cases/0/id"),
        ([], "config.out_of_range", "/cases"),
    ],
)
def test_cases_have_names_of_their_own(ids: list[str], code: str, path: str) -> None:
    with pytest.raises(Invalid) as refused:
        Switch(cases=[{"id": id, "expression": True} for id in ids])  # type: ignore[misc]
    assert [(p.code, p.path) for p in refused.value.problems] == [(code, path)]


def test_a_switch_is_built_with_a_branch_for_each_case() -> None:
    flow = (
        fk.Flow("Switch", trigger="t")
        .switch(
            {"vip": fk.contact.vip == True, "new": fk.contact.orders == 0},  # noqa: E712
            on={"vip": lambda b: b.delay(days=1), "new": lambda b: b.delay(days=2)},
            otherwise=lambda b: b.delay(days=3),
        )
        .end()
    )
    assert fk.validate(flow.to_dict()) == []
    ways = {e.source_handle: e.target for e in flow.edges if e.source == "switch_1"}
    assert ways == {"vip": "delay_1", "new": "delay_2", "default": "delay_3"}
    assert Switch.from_call({"a": True}) == Switch(cases=[Case(id="a", expression=True)])


# ------------------------------------------------------------------------ by lot

WEIGHTS = {"a": 45.0, "b": 45.0, "none": 10.0}


def arms(weights: dict[str, float], number: int = 4_000) -> list[str]:
    return [arm(f"contact-{i}", "flow", "test", weights) for i in range(number)]


def test_shares_are_as_the_weights() -> None:
    counts = Counter(arms(WEIGHTS))
    for name, weight in WEIGHTS.items():
        assert abs(counts[name] / 4_000 - weight / 100) < 0.03


def test_an_arm_never_changes_from_one_version_to_the_next() -> None:
    """These are recorded experiments: other arms would mix the groups of those under way."""
    assert [arm(f"contact-{i}", "flow", "test", WEIGHTS) for i in range(12)] == RECORDED


def test_a_change_of_one_weight_moves_only_whom_that_arm_gains() -> None:
    before, after = arms(WEIGHTS), arms(WEIGHTS | {"a": 90.0})
    moved = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    assert {new for _, new in moved} == {"a"}
    gained = 90 / 145 - 45 / 100
    assert abs(len(moved) / 4_000 - gained) < 0.03


def test_an_arm_that_is_added_takes_from_all_and_moves_nobody_else() -> None:
    before, after = arms(WEIGHTS), arms(WEIGHTS | {"c": 20.0})
    assert {new for old, new in zip(before, after, strict=True) if old != new} == {"c"}


def test_other_flows_and_salts_divide_independently() -> None:
    mine = arms({"a": 1, "b": 1})
    for flow, salt in (("other", "test"), ("flow", "other")):
        theirs = [arm(f"contact-{i}", flow, salt, {"a": 1, "b": 1}) for i in range(4_000)]
        same = sum(x == y for x, y in zip(mine, theirs, strict=True))
        assert abs(same / 4_000 - 0.5) < 0.04


@given(
    st.text(max_size=20),
    st.dictionaries(st.text(min_size=1, max_size=3), st.floats(0, 1e6), min_size=1),
)
def test_only_arms_with_a_weight_are_come_to(subject: str, weights: dict[str, float]) -> None:
    weights["sure"] = 1.0
    chosen = arm(subject, "flow", "salt", weights)
    assert weights[chosen] > 0
    assert arm(subject, "flow", "salt", dict(reversed(weights.items()))) == chosen


def split(**config: Any) -> World:
    branches = [{"id": "a", "weight": 1}, {"id": "b", "weight": 1, "holdout": True}]
    flow = flow_of(
        {"test": ("SPLIT", {"branches": branches} | config)},
        *("start > test", "test:a > end", "test:b > end"),
    )
    return World(flow)


def test_a_contact_s_arm_can_be_computed_offline() -> None:
    world = split()
    world.run()
    chosen = arm("c1", "flow", "test", {"a": 1, "b": 1})
    run = world.run_of("test")
    assert (run.source_handle, run.result) == (chosen, {"arm": chosen, "holdout": chosen == "b"})
    salted = split(salt="spring")
    salted.run()
    assert salted.run_of("test").source_handle == arm("c1", "flow", "spring", {"a": 1, "b": 1})


def test_without_a_contact_the_execution_is_divided() -> None:
    world = split()
    world.payload.pop("contact")
    world = World(world.flow, world.payload)
    world.run()
    assert world.run_of("test").source_handle == arm("x", "flow", "test", {"a": 1, "b": 1})


def test_a_split_is_built_by_weights() -> None:
    flow = fk.Flow("Test", trigger="t").split({"a": 9, "none": 1}, holdout="none").end()
    assert fk.validate(flow.to_dict()) == []
    assert Split.from_call({"a": 9, "none": 1}, holdout="none").branches == (
        Arm(id="a", weight=9),
        Arm(id="none", weight=1, holdout=True),
    )
    with pytest.raises(Invalid, match="weight above 0"):
        Split.from_call({"a": 0, "b": 0})
    with pytest.raises(Invalid, match="another way out 'a'"):
        Split(branches=[Arm(id="a", weight=1), Arm(id="a", weight=1)])


RECORDED = ["a", "a", "a", "a", "b", "a", "b", "b", "none", "a", "b", "a"]
