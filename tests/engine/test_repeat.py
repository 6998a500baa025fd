"""REPEAT: how often it goes round, how visits are told apart, and what is in a loop."""

from __future__ import annotations

from typing import Any

import pytest

from flowkit.engine import Limits
from tests.engine.driver import COIN, REFUSED, SAY, SENT, SILENT, World, delay, flow_of

ALL = ("JOIN", {})


def repeat(maximum: int, **more: Any) -> tuple[str, dict[str, Any]]:
    return ("REPEAT", {"maximum": maximum, **more})


def reminders(loop: Any, **nodes: Any) -> World:
    """Return a world that says something every day."""
    given = {"loop": loop, "say": SAY, "wait": delay(days=1), "last": SAY, **nodes}
    ways = ("start > loop:again > say > wait > loop", "loop:done > last > end")
    return World(flow_of(given, *ways))


def run_all(world: World, days: int = 12) -> World:
    for _ in range(days):
        world.run()
        world.wait(days=1)
    world.run()
    return world


def test_it_goes_round_so_often_and_each_visit_has_its_own_key() -> None:
    world = run_all(reminders(repeat(3)))
    assert world.execution.status == "completed"
    assert world.sent() == ["x_say", "x_say_v2", "x_say_v3", "x_last"]
    runs = [(r.node_id, r.visit) for r in world.execution.executed_nodes]
    assert runs[:4] == [("start", 1), ("loop", 1), ("say", 1), ("wait", 1)]
    assert [v for n, v in runs if n == "loop"] == [1, 2, 3, 4]
    assert len({r.idempotency_key for r in world.execution.executed_nodes}) == len(runs)
    assert world.execution.branches[0].path.count("say") == 3


@pytest.mark.parametrize(
    ("more", "times"),
    [
        ({"while": {"==": [1, 2]}}, 0),
        ({"while": {"!": [{"var": "nodes.say.messageId"}]}}, 1),
        ({"until": {"==": [1, 1]}}, 1),
        ({"until": {"==": [1, 2]}}, 4),
    ],
)
def test_a_condition_is_looked_at_before_or_after_a_round(more: Any, times: int) -> None:
    world = run_all(reminders(repeat(4, **more)))
    assert world.execution.status == "completed"
    assert len(world.sent()) == times + 1


def test_a_loop_in_a_loop_counts_its_rounds_anew() -> None:
    nodes = {"outer": repeat(2), "inner": repeat(3), "say": SAY, "between": COIN}
    world = World(
        flow_of(
            nodes,
            *("start > outer:again > inner:again > say > inner", "outer:done > end"),
            "inner:done > between:true > outer",
        )
    )
    assert world.run().status == "completed"
    assert len(world.sent()) == 6
    assert world.sent()[-1] == "x_say_v1003"


def test_nodes_show_the_latest_visit() -> None:
    said = ("TEST_REMEMBER", {"name": "seen", "value": "{{ nodes.say.said }}+"})
    nodes = {"loop": repeat(3), "say": said, "last": ("TEST_REMEMBER", {
        "name": "end", "value": "{{ nodes.say.said }}"})}  # fmt: skip
    world = World(flow_of(nodes, "start > loop:again > say > loop", "loop:done > last > end"))
    assert world.run().status == "completed"
    assert world.execution.branches[0].vars["end"] == "+++"


def test_what_fails_in_a_round_is_retried_in_that_round() -> None:
    world = reminders(repeat(3))
    world.outcomes = lambda p: REFUSED if (p.key, p.attempt) == ("x_say_v2", 0) else SENT
    run_all(world, 3)
    assert world.execution.status == "failed"
    failed = [r.idempotency_key for r in world.execution.executed_nodes if r.status == "failed"]
    assert failed == ["x_say_v2"]
    assert world.retry("say") == "ok"
    run_all(world)
    assert world.execution.status == "completed"
    assert world.sent() == ["x_say", "x_say_v2", "x_say_v2", "x_say_v3", "x_last"]


@pytest.mark.parametrize("queue", [2, 10])
def test_a_fork_in_the_body_joins_in_it(queue: int) -> None:
    nodes = {"loop": repeat(3), "go": COIN, "a": SAY, "b": delay(hours=1), "join": ALL}
    world = World(
        flow_of(
            nodes,
            *("start > loop:again > go:true > a > join > loop", "go:true > b > join"),
            "loop:done > end",
        ),
        limits=Limits(fork_queue=queue),
    )
    run_all(world)
    assert world.execution.status == "completed"
    joins = [r for r in world.execution.executed_nodes if r.node_id == "join"]
    assert [r.visit for r in joins] == [1, 2, 3]
    assert [r.arrivals for r in joins] == [
        ("root_0", "root_1"),
        ("root_2", "root_3"),
        ("root_4", "root_5"),
    ]
    assert world.sent() == ["x_a", "x_a_v2", "x_a_v3"]


def test_who_is_left_behind_in_one_round_has_no_part_in_the_next() -> None:
    nodes = {"loop": repeat(2), "go": COIN, "a": SAY, "slow": delay(days=5)}
    nodes |= {"late": SAY, "join": ("JOIN", {"mode": "any"})}
    world = World(
        flow_of(
            nodes,
            *("start > loop:again > go:true > a > join > loop", "go:true > slow > late > join"),
            "loop:done > end",
        )
    )
    world.run()
    assert world.branches["root"] == "completed"
    run_all(world)
    assert world.execution.status == "completed"
    assert [b for b in world.branches.values() if b == "merged"] == ["merged"] * 2
    assert sorted(world.sent()) == ["x_a", "x_a_v2", "x_late", "x_late_v2"]


def test_a_failed_branch_of_a_round_fails_the_join_of_that_round() -> None:
    nodes = {"loop": repeat(2), "go": COIN, "a": COIN, "bad": SILENT, "join": ALL}
    world = World(
        flow_of(
            nodes,
            *("start > loop:again > go:true > a:true > join > loop", "go:true > bad > join"),
            "loop:done > end",
        )
    )
    assert world.run().status == "failed"
    (join,) = [r for r in world.execution.executed_nodes if r.node_id == "join"]
    assert (join.visit, join.status) == (1, "failed")


def test_a_hundred_rounds_in_one_turn() -> None:
    nodes = {"loop": repeat(100), "check": COIN}
    world = World(flow_of(nodes, "start > loop:again > check:true > loop", "loop:done > end"))
    assert world.run().status == "completed"
    assert world.answers == ["ok"]
    assert len(world.execution.executed_nodes) == 203
