"""Delays: when they are due, what is kept for the way on, and that nothing comes early or twice."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowkit.testing import EPOCH
from tests.engine.driver import LEASE, SAY, Worker, World, delay, flow_of

FLOW = flow_of({"wait": delay(hours=2), "hello": SAY}, "start > wait > hello > end")


def test_a_delay_counts_from_its_arrival_and_keeps_what_the_way_on_needs() -> None:
    world = World(flow_of({"set": ("TEST_REMEMBER", {"name": "a", "value": "1"}),
                           "wait": delay(hours=2)}, "start > set > wait > end"))  # fmt: skip
    execution = world.run()
    assert execution.status == "delayed"
    assert execution.resume_at == EPOCH + timedelta(hours=2)
    (branch,) = execution.branches
    assert (branch.status, branch.resume_at) == ("waiting", EPOCH + timedelta(hours=2))
    assert branch.resume_data == {
        "nextNodeIds": ["end"],
        "context": {"a": "1"},
        "branchId": "root",
    }
    run = world.run_of("wait")
    assert (run.status, run.start_time, run.end_time) == ("waiting", EPOCH, None)
    assert execution.ended_at is None


def test_it_goes_on_when_it_is_due_and_not_before() -> None:
    world = World(FLOW)
    world.run()
    world.wait(hours=2, milliseconds=-1)
    assert world.run().status == "delayed"
    assert world.sent() == []
    world.wait(milliseconds=1)
    execution = world.run()
    assert execution.status == "completed"
    assert execution.resume_at is None
    run = world.run_of("wait")
    assert (run.status, run.start_time) == ("completed", EPOCH)
    assert run.end_time == EPOCH + timedelta(hours=2)
    (branch,) = execution.branches
    assert (branch.resume_at, branch.resume_data) == (None, None)


def test_a_resumption_late_by_days_recomputes_nothing() -> None:
    world = World(FLOW)
    world.run()
    world.wait(days=9)
    world.run()
    assert world.run_of("wait").start_time == EPOCH
    assert world.run_of("hello").start_time == world.now
    assert world.sent() == ["x_hello"]


def test_a_claim_that_came_before_the_time_waits_on() -> None:
    """As when the clock goes back between the claim and the turn."""
    world = World(FLOW)
    world.run()
    world.wait(hours=2)
    worker = Worker(world)
    assert worker.claim() == 1
    assert world.execution.status == "running"
    assert world.execution.resume_at is None
    world.wait(hours=-1)
    assert worker.turn() == "ok"
    execution = world.execution
    assert execution.status == "delayed"
    assert execution.resume_at == EPOCH + timedelta(hours=2)
    assert world.nodes["wait"] == "waiting"
    assert worker.claim() == 0
    world.wait(hours=1)
    assert world.run().status == "completed"


def test_a_worker_that_dies_with_a_due_delay_loses_nothing() -> None:
    world = World(FLOW)
    world.run()
    world.wait(hours=2)
    Worker(world, "dead").claim()
    world.now += LEASE
    assert world.run("b").status == "completed"
    assert world.sent() == ["x_hello"]


def test_the_earliest_of_several_is_the_executions() -> None:
    nodes = {"a": delay(days=3), "b": delay(days=1), "c": delay(days=2)}
    world = World(flow_of(nodes, *(f"start > {n} > end" for n in nodes)))
    for days, expected in ((0, 1), (1, 2), (1, 3)):
        world.wait(days=days)
        assert world.run().resume_at == EPOCH + timedelta(days=expected)
    world.wait(days=1)
    assert world.run().status == "completed"


def test_a_fork_behind_a_delay() -> None:
    nodes = {"wait": delay(days=1), "a": SAY, "b": SAY}
    world = World(flow_of(nodes, "start > wait > a > end", "wait > b > end"))
    world.run()
    assert world.execution.branches[0].resume_data["nextNodeIds"] == ["a", "b"]  # type: ignore[index]
    world.wait(days=1)
    assert world.run().status == "completed"
    assert world.branches == {"root": "forked", "root_0": "completed", "root_1": "completed"}
    assert all(b.resume_data is None for b in world.execution.branches)


def test_delays_in_a_row_each_count_from_their_own_arrival() -> None:
    nodes = {"a": delay(hours=1), "b": delay(hours=1)}
    world = World(flow_of(nodes, "start > a > b > end"))
    world.run()
    world.wait(hours=5)
    assert world.run().resume_at == EPOCH + timedelta(hours=6)


@given(microseconds=st.integers(0, 5_000_000), offset=st.integers(0, 999))
def test_what_is_shorter_than_a_millisecond_is_not_cut_off(microseconds: int, offset: int) -> None:
    world = World(FLOW)
    world.flow = flow_of({"wait": ("TEST_PAUSE", {"microseconds": microseconds})},
                         "start > wait > end")  # fmt: skip
    world.run()
    (branch,) = world.execution.branches
    if microseconds:
        assert branch.resume_at is not None
        early = branch.resume_at - EPOCH - timedelta(microseconds=microseconds)
        assert timedelta() <= early < timedelta(milliseconds=1)
        assert branch.resume_at.microsecond % 1000 == 0


def test_a_delay_beyond_the_calendar_fails_its_node() -> None:
    world = World(flow_of({"wait": delay(weeks=200)}, "start > wait > end"))
    world.now = datetime(9999, 12, 30, tzinfo=UTC)
    assert world.run().status == "failed"
    assert world.error("wait") == "node_error"


@pytest.mark.parametrize("hours", [0, -5])
def test_a_clock_that_goes_back_delays_but_loses_nothing(hours: int) -> None:
    world = World(FLOW)
    world.run()
    world.wait(hours=hours)
    world.run()
    world.wait(hours=2 - hours)
    assert world.run().status == "completed"
