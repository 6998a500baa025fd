"""What a node sees: its own branch's data and that of its ancestors, and nothing of siblings."""

from __future__ import annotations

from typing import Any

import pytest

from flowkit.engine import Limits
from tests.engine.driver import SAY, World, delay, flow_of


def say(value: str, name: str = "a") -> tuple[str, dict[str, Any]]:
    """Return a node that renders `value` into a variable and its result."""
    return ("TEST_REMEMBER", {"name": name, "value": value})


def said(world: World, node_id: str) -> Any:
    return (world.run_of(node_id).result or {}).get("said")


LATER = [None, "queued", "delayed"]
"""Whether the branches go on in one turn, are handed on, or come back after a delay."""


def ran(nodes: dict[str, Any], *ways: str, how: str | None) -> World:
    """Run a flow whose nodes are divided between turns in several ways."""
    world = World(flow_of(nodes, *ways), limits=Limits(fork_queue=2 if how == "queued" else 10))
    world.run()
    for _ in range(5):
        world.wait(days=1)
        world.run()
    assert world.execution.status == "completed"
    return world


@pytest.mark.parametrize("how", LATER)
def test_results_and_variables_are_seen_along_the_path(how: str | None) -> None:
    nodes = {
        "one": say("1"),
        "between": delay(hours=1) if how == "delayed" else say("b", "other"),
        "two": say("{{ vars.a }}+{{ nodes.one.said }}"),
        "three": say("{{ vars.a }}={{ nodes.two.said }}"),
    }
    world = ran(nodes, "start > one > between > two > three > end", how=how)
    assert said(world, "two") == "1+1"
    assert said(world, "three") == "1+1=1+1"


@pytest.mark.parametrize("how", LATER)
def test_siblings_do_not_see_each_other(how: str | None) -> None:
    look = "{{ vars.a }},{{ vars.mine }},{{ nodes.left.said }},{{ nodes.right.said }}"
    nodes = {
        "above": say("above"),
        "left": say("left", "mine"),
        "right": say("right", "mine"),
        "wait_l": delay(hours=1) if how == "delayed" else say("", "x"),
        "wait_r": delay(hours=2) if how == "delayed" else say("", "x"),
        "see_l": say(look, "seen"),
        "see_r": say(look, "seen"),
    }
    world = ran(
        nodes,
        "start > above > left > wait_l > see_l > end",
        "above > right > wait_r > see_r > end",
        how=how,
    )
    assert said(world, "see_l") == "above,left,left,"
    assert said(world, "see_r") == "above,right,,right"
    branches = {b.branch_id: b.vars for b in world.execution.branches}
    assert branches["root"] == {"a": "above"}
    assert branches["root_0"]["mine"] == "left"


def test_after_convergence_the_first_arrivals_data_count() -> None:
    nodes = {"left": say("left"), "slow": delay(hours=1), "right": say("right"), "meet": say("{{ vars.a }}")}  # fmt: skip  # noqa: E501
    world = ran(nodes, "start > slow > left > meet > end", "start > right > meet", how=None)
    assert said(world, "meet") == "right"


def test_what_every_node_sees() -> None:
    look = (
        "{{ contact.name }}|{{ trigger.coin }}|{{ flow.name }}|{{ flow.id }}|{{ flow.triggerType }}"
        "|{{ execution.id }}|{{ execution.flowVersion }}|{{ execution.createdAt }}|{{ now }}"
        "|{{ contact.nothing.at.all }}|{{ nodes.later.said }}"
    )
    world = World(flow_of({"look": say(look), "later": say("")}, "start > look > later > end"))
    world.wait(seconds=1)
    world.run()
    assert said(world, "look") == (
        "Ana|true|Drawn by hand|flow|test|x|1|2026-01-05T09:00:00.000Z|2026-01-05T09:00:01.000Z||"
    )


def test_the_result_of_an_effect_is_seen_behind_it() -> None:
    world = World(flow_of({"hello": SAY, "look": say("{{ nodes.hello.messageId }}")},
                          "start > hello > look > end"))  # fmt: skip
    world.run()
    assert said(world, "look") == "wamid.1"


def test_a_payload_without_a_contact_shows_an_empty_one() -> None:
    world = World(flow_of({"look": say("[{{ contact.name }}]")}, "start > look > end"), payload=[1])
    world.run()
    assert said(world, "look") == "[]"


@pytest.mark.parametrize("between", [say("", "x"), delay(hours=1)])
def test_a_result_looks_the_same_before_and_after_it_was_stored(between: Any) -> None:
    nodes = {
        "give": ("TEST_SHAPES", {}),
        "between": between,
        "look": say("{{ nodes.give.tuple }}{{ nodes.give.number['3'] }}"),
    }
    world = ran(nodes, "start > give > between > look > end", how=None)
    assert world.run_of("give").result == {"tuple": [1, 2], "number": {"3": "three"}}
    assert said(world, "look") == "12three"
