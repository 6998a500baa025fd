"""How executions end before their branches do: goals, exits and failures."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from flowkit import engine
from flowkit.errors import Conflict
from flowkit.flow import Flow
from flowkit.testing import EPOCH
from tests.engine.driver import REFUSED, SAY, SENT, SILENT, Worker, World, delay, flow_of


def with_settings(flow: Flow, **settings: Any) -> Flow:
    return Flow.from_dict(flow.to_dict() | {"settings": settings})


def finish(world: World) -> str:
    patch = engine.finish(world.flow, world.execution, now=world.now)
    return world.commit(patch).outcome if patch else "nothing"


def goal(**config: Any) -> tuple[str, dict[str, Any]]:
    return ("GOAL", {"name": "purchase", **config})


def test_a_goal_records_a_conversion_and_goes_on() -> None:
    flow = flow_of(
        {"goal": goal(value={"var": "trigger.total"}), "hi": SAY}, "start > goal > hi > end"
    )
    world = World(flow, payload={"contact": {"id": "c1", "phone": "+5511999990000"}, "total": 20})
    assert world.run().status == "completed"
    assert world.run_of("goal").result == {"goal": "purchase", "value": 20}
    assert world.execution.ended_by is None
    assert "hi" in world.nodes


ENDING = flow_of(
    {
        "goal": goal(endExecution=True),
        "hi": SAY,
        "wait": delay(days=1),
        "say": SAY,
        "pause": delay(hours=1),
    },
    "start > pause > goal > hi > end",
    "start > wait > say > end",
)


def test_a_goal_that_ends_the_execution_lets_all_other_branches_go() -> None:
    world = World(ENDING)
    world.run()
    world.wait(hours=1)
    world.run()
    assert world.execution.status == "delayed", "the driver has not finished it yet"
    assert world.execution.ended_by == {
        "reason": "goal",
        "goal": "purchase",
        "nodeId": "goal",
        "branchId": "root_0",
    }
    assert finish(world) == "ok"
    assert world.execution.status == "completed"
    assert world.branches == {"root": "forked", "root_0": "completed", "root_1": "cancelled"}
    assert world.nodes["wait"] == "cancelled"
    assert finish(world) == "nothing"
    assert world.sent() == ["x_hi"]


def test_what_a_driver_left_undone_each_branch_does_for_itself() -> None:
    world = World(ENDING)
    world.run()
    world.wait(hours=1)
    world.run()
    world.wait(days=1)
    assert world.run().status == "completed"
    assert world.branches["root_1"] == "cancelled"
    assert world.sent() == ["x_hi"]


def test_a_goal_beside_a_message_that_is_under_way() -> None:
    nodes = {"goal": goal(endExecution=True), "pause": delay(seconds=5), "say": SAY, "more": SAY}
    flow = flow_of(nodes, "start > say > more > end", "start > pause > goal > end")
    world = World(flow, outcomes=lambda performance: None)
    worker = Worker(world)
    worker.claim()
    worker.work()
    world.wait(seconds=5)
    other = Worker(world, "b")
    other.claim()
    other.work()
    assert finish(world) == "ok"
    assert world.execution.status == "completed"
    assert world.nodes["say"] == "unknown"
    (performance,) = world.performed
    worker.end(performance, SENT)
    assert worker.turn() == "fenced"
    assert world.nodes["say"] == "completed", "what it came to is still recorded"
    assert world.execution.status == "completed"
    assert "more" not in world.nodes


EXIT = [{"event": "paid", "when": {">": [{"var": "event.total"}, 10]}}]
LONG = with_settings(
    flow_of(
        {"a": delay(days=5), "b": delay(days=9), "say": SAY},
        "start > a > say > end",
        "start > b > end",
    ),
    exit=EXIT,
)


def test_an_exit_ends_the_execution_in_the_middle_of_a_delay() -> None:
    world = World(LONG)
    world.run()
    world.wait(hours=1)
    assert world.receive("paid", {"total": 5}) == "ok"
    assert world.execution.status == "delayed"
    assert world.receive("paid", {"total": 11}) == "ok"
    execution = world.execution
    assert (execution.status, execution.ended_at) == ("completed", world.now)
    assert execution.ended_by == {"reason": "exit", "event": "paid", "eventId": "e2"}
    assert world.nodes == {"start": "completed", "a": "cancelled", "b": "cancelled"}
    assert world.receive("paid", {"total": 12}) == "ignored"
    world.wait(days=30)
    assert world.run().status == "completed"
    assert world.sent() == []


def test_an_exit_fences_who_is_at_work() -> None:
    world = World(LONG)
    worker = Worker(world)
    worker.claim()
    turn = worker.decide()
    assert world.receive("paid", {"total": 11}) == "ok"
    assert world.commit(turn.patch).outcome == "fenced"
    assert world.branches == {"root": "cancelled"}


def test_the_goal_of_a_flow_is_an_exit_that_converts() -> None:
    flow = with_settings(
        flow_of({"a": delay(days=5)}, "start > a > end"), goal={"name": "order", "event": "paid"}
    )
    world = World(flow)
    world.run()
    assert world.receive("paid") == "ok"
    ended_by = {"reason": "goal", "goal": "order", "event": "paid", "eventId": "e1"}
    assert world.execution.ended_by == ended_by


def test_a_condition_makes_the_contact_leave_before_the_next_node() -> None:
    late = {">": [{"var": "now"}, "2026-01-07"]}
    flow = flow_of(
        {"a": delay(days=1), "b": delay(days=2), "say": SAY}, "start > a > b > say > end"
    )
    world = World(with_settings(flow, exit=[{"when": late}]))
    for _ in range(3):
        world.run()
        world.wait(days=2)
    assert world.execution.status == "completed"
    assert world.execution.ended_by == {"reason": "exit", "event": None}
    assert world.sent() == []
    assert "say" not in world.nodes


FRAGILE = flow_of({"say": SAY, "wait": delay(days=1), "later": SAY}, "start > say > end",
                  "start > wait > later > end")  # fmt: skip


@pytest.mark.parametrize("say", [SAY, SILENT])
def test_a_failure_can_end_the_execution(say: Any) -> None:
    flow = flow_of({"say": say, "wait": delay(days=1), "later": SAY}, "start > wait > later > end",
                   "start > say > end")  # fmt: skip
    world = World(with_settings(flow, onFailure="end"), outcomes=lambda performance: REFUSED)
    world.run()
    assert finish(world) == "ok"
    assert world.execution.status == "failed"
    assert world.execution.ended_by == {"reason": "failure", "nodeId": "say", "branchId": "root_1"}
    assert world.branches == {"root": "forked", "root_0": "cancelled", "root_1": "failed"}


def test_what_failed_can_be_retried_although_the_others_ended() -> None:
    world = World(with_settings(FRAGILE, onFailure="end"), outcomes=lambda performance: REFUSED)
    world.run()
    finish(world)
    world.outcomes = lambda performance: SENT
    assert world.retry() == "ok"
    assert world.run().status == "completed"
    assert world.branches["root_1"] == "cancelled"


def test_who_left_cannot_be_retried() -> None:
    flow = with_settings(FRAGILE, exit=[{"event": "paid"}])
    world = World(flow, outcomes=lambda performance: REFUSED)
    world.run()
    assert world.receive() == "ok"
    assert world.execution.status == "failed"
    with pytest.raises(Conflict, match="left"):
        world.retry()


def test_without_settings_a_failure_stops_nobody() -> None:
    world = World(FRAGILE, outcomes=lambda performance: REFUSED)
    world.run()
    assert (world.execution.ended_by, finish(world)) == (None, "nothing")
    assert world.execution.resume_at == EPOCH + timedelta(days=1)


def test_a_goal_before_a_join_waits_for_nobody_that_was_let_go() -> None:
    nodes = {
        **{"goal": goal(endExecution=True), "wait": delay(days=1), "join": ("JOIN", {})},
        **{"pause": delay(hours=1), "a": SAY, "b": SAY},
    }
    ways = (
        "start > pause > goal > join",
        "start > wait > join",
        "join > a > end",
        "join > b > end",
    )
    world = World(flow_of(nodes, *ways))
    world.run()
    world.wait(hours=1)
    world.run()
    assert finish(world) == "ok"
    assert world.run().status == "completed"
    assert world.branches["root_1"] == "cancelled"
    assert world.sent() == ["x_a", "x_b"], "the forks behind the JOIN go on"


def test_an_exit_ends_who_stands_at_a_join() -> None:
    nodes = {"wait": delay(days=1), "join": ("JOIN", {})}
    ways = ("start > join", "start > wait > join", "join > end")
    world = World(with_settings(flow_of(nodes, *ways), exit=[{"event": "paid"}]))
    world.run()
    assert world.nodes["join"] == "waiting"
    assert world.receive() == "ok"
    assert (world.execution.status, world.nodes["join"]) == ("completed", "cancelled")
