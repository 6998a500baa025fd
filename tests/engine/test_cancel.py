"""Cancel: what ends at once, what an effect under way still tells, when it is refused."""

from __future__ import annotations

import pytest

from flowkit import engine
from flowkit.errors import Conflict
from tests.engine.driver import (
    COIN,
    LEASE,
    REFUSED,
    SAY,
    SENT,
    SILENT,
    UNKNOWN,
    Worker,
    World,
    delay,
    flow_of,
)

FLOW = flow_of(
    {"hello": SAY, "wait": delay(days=1), "check": COIN},
    *("start > hello > end", "start > wait > end", "start > check:true > end"),
)


def under_way() -> tuple[World, Worker]:
    """Return a world with one branch in an effect, one in a delay and one that has ended."""
    world = World(FLOW, outcomes=lambda performance: None)
    worker = Worker(world)
    worker.claim()
    worker.work()
    return world, worker


def test_open_branches_end_at_once() -> None:
    world, _ = under_way()
    world.wait(hours=1)
    assert world.cancel() == "ok"
    execution = world.execution
    assert (execution.status, execution.ended_at) == ("cancelled", world.now)
    assert (execution.open, execution.waiting, execution.resume_at) == (0, 0, None)
    assert world.branches == {
        "root": "forked",
        "root_0": "cancelled",
        "root_1": "cancelled",
        "root_2": "completed",
    }
    assert world.nodes["wait"] == "cancelled"
    assert world.run_of("wait").end_time == world.now
    assert world.nodes["hello"] == "unknown"
    assert all(b.resume_at is None and b.resume_data is None for b in execution.branches)


def test_nothing_of_it_goes_on() -> None:
    world, worker = under_way()
    world.cancel()
    world.now += LEASE
    world.wait(days=2)
    world.outcomes = lambda performance: SENT
    assert world.run("b").status == "cancelled"
    worker.end(worker.flying[0], SENT)
    assert worker.turn() == "cancelled"
    assert "root_0" not in world.run_of("end").arrivals
    assert world.branches["root_0"] == "cancelled"


@pytest.mark.parametrize(
    ("outcome", "status", "taken"),
    [(SENT, "completed", True), (REFUSED, "failed", True), (UNKNOWN, "unknown", False)],
)
def test_the_outcome_of_an_effect_under_way_is_recorded(
    outcome: object, status: str, taken: bool
) -> None:
    world, worker = under_way()
    world.cancel()
    ended_at = world.execution.ended_at
    world.wait(seconds=5)
    assert world.offer(worker.flying[0], outcome) == taken  # type: ignore[arg-type]
    assert world.nodes["hello"] == status
    assert world.execution.status == "cancelled"
    assert world.execution.ended_at == ended_at
    assert (world.run_of("hello").end_time == world.now) == taken
    assert world.offer(worker.flying[0], SENT) == (not taken), "until it is known"


def test_a_turn_that_was_decided_before_comes_to_nothing() -> None:
    world = World(FLOW)
    worker = Worker(world)
    worker.claim()
    world.cancel()
    before = world.execution
    assert worker.turn() == "cancelled"
    assert world.execution == before
    assert world.performed == []


def test_a_waiting_branch_that_was_just_claimed_is_cancelled_too() -> None:
    world = World(flow_of({"wait": delay(days=1)}, "start > wait > end"))
    world.run()
    world.wait(days=1)
    worker = Worker(world)
    worker.claim()
    world.cancel()
    assert (world.nodes["wait"], world.branches["root"]) == ("cancelled", "cancelled")
    assert worker.turn() == "cancelled"


def test_a_fresh_execution_can_be_cancelled() -> None:
    world = World(FLOW)
    world.cancel()
    assert world.execution.status == "cancelled"
    assert world.run().executed_nodes == []


def test_what_has_ended_cannot_be_cancelled() -> None:
    done = World(flow_of({"check": COIN}, "start > check:true > end"))
    done.run()
    bad = World(flow_of({"bad": SILENT}, "start > bad > end"))
    bad.run()
    gone = World(FLOW)
    gone.cancel()
    for world in (done, bad, gone):
        with pytest.raises(Conflict, match=world.execution.status):
            engine.cancel(world.execution, now=world.now)


def test_against_a_commit_that_ended_it_first_it_loses() -> None:
    world = World(flow_of({"check": COIN}, "start > check:true > end"))
    patch = engine.cancel(world.execution, now=world.now)
    world.run()
    assert world.commit(patch).outcome == "conflict"
    assert world.execution.status == "completed"


def test_a_claim_between_reading_and_cancelling_fences_the_request() -> None:
    """A claim is no change of the execution, but the branch is no longer where it was seen."""
    world = World(FLOW)
    patch = engine.cancel(world.execution, now=world.now)
    Worker(world).claim()
    assert world.commit(patch).outcome == "fenced"
    assert world.cancel() == "ok"
