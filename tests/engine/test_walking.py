"""Branches: how they are numbered, handed on, brought together, and what one's failure means."""

from __future__ import annotations

import sys
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest

from flowkit import engine
from flowkit.engine import Limits
from flowkit.testing import EPOCH
from tests.engine.driver import COIN, REFUSED, SAY, SENT, SILENT, Worker, World, delay, flow_of


def fan(number: int, node: Any = SAY) -> World:
    """Return a world whose flow forks into `number` branches of one node each."""
    nodes = {f"n{i}": node for i in range(number)}
    return World(flow_of(nodes, *(f"start > n{i} > end" for i in range(number))))


def test_a_flow_runs_to_its_end() -> None:
    world = World(flow_of({"hello": SAY, "check": COIN}, "start > hello > check:true > end"))
    execution = world.run()
    assert execution.status == "completed"
    assert execution.ended_at == EPOCH
    assert world.nodes == dict.fromkeys(("start", "hello", "check", "end"), "completed")
    assert execution.branches[0].path == ["start", "hello", "check", "end"]
    assert [r.sequence for r in execution.executed_nodes] == [0, 1, 2, 3]
    assert world.run_of("check").source_handle == "true"
    assert world.run_of("hello").result == {"messageId": "wamid.1"}


def test_children_are_numbered_in_the_order_of_the_edges() -> None:
    nodes = {"a": SAY, "b": SAY, "c": SAY, "d": SAY}
    world = World(
        flow_of(nodes, "start > b", "start > a", "a > d", "a > c", "b > end", "c > end", "d > end")
    )
    world.run()
    ran = {run.node_id: run.branch_id for run in world.execution.executed_nodes}
    assert (ran["b"], ran["a"]) == ("root_0", "root_1")
    assert (ran["d"], ran["c"]) == ("root_1_0", "root_1_1")
    assert world.branches == {
        "root": "forked",
        "root_0": "completed",
        "root_1": "forked",
        "root_1_0": "completed",
        "root_1_1": "completed",
    }
    assert world.execution.branches[3].path == ["start", "a", "d", "end"]


def test_branches_and_runs_are_in_the_order_of_numbers_not_of_letters() -> None:
    world = fan(12)
    world.run()
    assert [b.branch_id for b in world.execution.branches] == [
        "root",
        *(f"root_{i}" for i in range(12)),
    ]
    assert [r.node_id for r in world.execution.executed_nodes] == [
        "start",
        "n0",
        "end",  # the first arrival was root_0's
        *(f"n{i}" for i in range(1, 12)),
    ]


@pytest.mark.parametrize(("number", "limit", "stays"), [(9, 10, True), (10, 10, False)])
def test_children_stay_with_their_worker_while_they_are_few(
    number: int, limit: int, stays: bool
) -> None:
    world = fan(number)
    world.limits = Limits(fork_queue=limit)
    worker = Worker(world)
    worker.claim()
    worker.turn()
    children = {k: status for k, status in world.branches.items() if k != "root"}
    assert len(children) == number
    assert set(children.values()) == {"running" if stays else "ready"}
    assert len(worker.flying) == (number if stays else 0)
    assert Worker(world, "b").claim() == (0 if stays else number)


def test_a_queued_fork_costs_no_run_twice() -> None:
    world = fan(30)
    world.limits = Limits(fork_queue=2)
    assert world.run().status == "completed"
    assert len(world.performed) == 30


def test_end_keeps_one_run_with_the_set_of_arrivals() -> None:
    nodes = {"soon": delay(hours=1), "late": delay(hours=3)}
    world = World(flow_of(nodes, "start > end", "start > soon > end", "start > late > end"))
    assert world.run().status == "delayed"
    world.wait(hours=1)
    assert world.run().status == "delayed"
    world.wait(hours=2)
    assert world.run().status == "completed"
    end = world.run_of("end")
    assert end.arrival_count == 3
    assert end.arrivals == ("root_0", "root_1", "root_2")
    assert end.start_time == EPOCH, "the first arrival"
    assert end.end_time == EPOCH + timedelta(hours=3), "the last arrival"
    assert end.status == "completed"


def test_the_first_arrival_goes_on_and_the_others_merge() -> None:
    world = World(
        flow_of({"a": SAY, "b": SAY, "meet": SAY}, "start > a > meet > end", "start > b > meet")
    )
    assert world.run().status == "completed"
    assert world.branches == {"root": "forked", "root_0": "completed", "root_1": "merged"}
    assert world.run_of("end").arrivals == ("root_0",)
    assert world.sent() == ["x_a", "x_b", "x_meet"]


def test_who_merges_waits_for_nothing() -> None:
    nodes = {"a": COIN, "b": COIN, "meet": delay(days=1)}
    world = World(flow_of(nodes, "start > a:true > meet", "start > b:true > meet", "meet > end"))
    assert world.run().status == "delayed"
    assert world.branches == {"root": "forked", "root_0": "waiting", "root_1": "merged"}


@pytest.mark.parametrize("failing", [SILENT, SAY])
def test_who_comes_to_a_failed_node_merges(failing: Any) -> None:
    nodes = {"a": COIN, "b": delay(days=1), "meet": failing}
    world = World(
        flow_of(nodes, "start > a:true > meet", "start > b > meet", "meet > end"),
        outcomes=lambda performance: REFUSED,
    )
    world.run()
    world.wait(days=1)
    assert world.run().status == "failed"
    assert world.branches == {"root": "forked", "root_0": "failed", "root_1": "merged"}
    assert world.run_of("meet").retry_count == 0


def test_a_failing_branch_does_not_stop_its_siblings() -> None:
    nodes = {"bad": SILENT, "good": SAY, "slow": delay(days=1)}
    world = World(flow_of(nodes, "start > bad > end", "start > good > end", "start > slow > end"))
    assert world.run().status == "delayed", "not failed while a sibling is open"
    assert world.branches["root_0"] == "failed"
    assert world.execution.ended_at is None
    world.wait(days=1)
    execution = world.run()
    assert (execution.status, execution.failed) == ("failed", 1)
    assert execution.ended_at == world.now
    assert world.run_of("end").arrivals == ("root_1", "root_2")


def test_an_effect_under_way_keeps_the_execution_running_beside_a_delay() -> None:
    world = World(
        flow_of({"a": SAY, "b": delay(days=1)}, "start > a > end", "start > b > end"),
        outcomes=lambda performance: None,
    )
    worker = Worker(world)
    worker.claim()
    worker.work()
    assert world.execution.status == "running"
    assert world.execution.resume_at == EPOCH + timedelta(days=1)
    worker.end(worker.flying[0], SENT)
    worker.turn()
    assert world.execution.status == "delayed"


def test_only_leaves_count() -> None:
    world = World(
        flow_of(
            {"a": COIN, "b": SAY, "c": SILENT, "d": SAY},
            *("start > a", "a:true > b > end", "a:true > c > end", "start > d > end"),
        )
    )
    execution = world.run()
    assert (execution.open, execution.waiting, execution.failed) == (0, 0, 1)
    assert execution.status == "failed"


# -- size


def calls_of_the_engine(world: World, monkeypatch: pytest.MonkeyPatch) -> int:
    """Run a world to its end and return how many functions the engine called."""
    number = 0
    advance = engine.advance

    def count(frame: Any, happened: str, argument: Any) -> None:
        nonlocal number
        number += happened in ("call", "c_call")

    def counted(*args: Any, **kwargs: Any) -> Any:
        sys.setprofile(count)
        try:
            return advance(*args, **kwargs)
        finally:
            sys.setprofile(None)

    with monkeypatch.context() as patched:
        patched.setattr(engine, "advance", counted)
        assert world.run().status == "completed"
    return number


def chain(number: int) -> World:
    """Return a world whose flow has `number` conditions in a row, which all read results."""
    logic = {"!": [{"var": "nodes.nothing"}]}
    nodes = {f"c{i}": ("CONDITION", {"expression": logic}) for i in range(number)}
    ways = (f"c{i}:true > c{i + 1}" for i in range(number - 1))
    return World(flow_of(nodes, "start > c0", *ways, f"c{number - 1}:true > end"))


def test_a_deep_chain_is_one_turn() -> None:
    world = chain(2_000)
    world.run()
    assert world.answers == ["ok"]
    assert len(world.execution.executed_nodes) == 2_002


@pytest.mark.parametrize("make", [chain, fan])
def test_work_grows_with_the_flow_and_not_with_its_square(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(100).run()  # compiles expressions
    small, large = (calls_of_the_engine(make(size), monkeypatch) for size in (100, 400))
    assert large < 5 * small


def test_200_branches_of_several_nodes() -> None:
    nodes: dict[str, Any] = {"meet": SAY}
    ways = []
    for i in range(200):
        nodes |= {f"a{i}": SAY, f"b{i}": delay(hours=1 + i % 3), f"c{i}": SAY}
        ways.append(f"start > a{i} > b{i} > c{i} > " + ("meet" if i % 2 else "end"))
    world = World(flow_of(nodes, *ways, "meet > end"))
    world.run()
    for _ in range(3):
        world.wait(hours=1)
        world.run()
    execution = world.execution
    assert execution.status == "completed"
    counted = [b.status for b in execution.branches]
    assert (counted.count("merged"), counted.count("completed")) == (99, 101)
    assert world.run_of("end").arrival_count == 101
    assert len(world.sent()) == len(set(world.sent())) == 401
    assert all(a.start_time <= b.start_time for a, b in pairwise(execution.executed_nodes))
