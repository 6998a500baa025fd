"""Held branches: what has ended is recorded, nothing new begins, and all goes on afterwards."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from flowkit import engine
from flowkit.engine import Limits, Resume
from tests.engine.driver import (
    COIN,
    LEASE,
    REFUSED,
    SAY,
    SAY_AGAIN,
    SENT,
    UNKNOWN,
    Worker,
    World,
    delay,
    flow_of,
)

CHAIN = flow_of({"check": COIN, "hello": SAY}, "start > check:true > hello > end")
HOLD = Limits(hold=True)


def held_inside(flow: Any) -> tuple[World, Worker]:
    """Return a world that is held while a worker is inside the effect of `hello`."""
    world = World(flow, outcomes=lambda performance: None)
    worker = Worker(world)
    worker.claim()
    worker.work()
    world.limits = HOLD
    return world, worker


def goes_on(world: World) -> None:
    """Let go, and see the execution complete with each effect begun once more at most."""
    world.limits, world.outcomes = Limits(), lambda performance: SENT
    assert world.run().status == "completed"


def test_nothing_begins() -> None:
    world = World(CHAIN, limits=HOLD)
    worker = Worker(world)
    worker.claim()
    worker.turn()
    assert (world.branches, world.nodes) == ({"root": "ready"}, {})
    goes_on(world)
    assert world.sent() == ["x_hello"]


def test_nobody_is_called_to_what_is_held() -> None:
    world = World(CHAIN)
    (claim,) = world.store.claim("a", now=world.now, lease_ms=1000, limit=1)
    turn = engine.advance(world.flow, claim, [Resume("root")], now=world.now, limits=HOLD)
    assert (turn.shared, turn.crowded, turn.effects) == (0, False, [])


def test_what_ends_meanwhile_is_recorded() -> None:
    flow = flow_of({"hello": SAY, "more": SAY}, "start > hello > more > end")
    world, worker = held_inside(flow)
    worker.end(worker.flying[0], SENT)
    worker.turn()
    assert world.nodes == {"start": "completed", "hello": "completed"}
    assert world.branches == {"root": "ready"}
    assert world.execution.branches[0].current_node_id == "more"
    goes_on(world)
    assert world.sent() == ["x_hello", "x_more"]


def test_a_failure_ends_its_branch_as_ever() -> None:
    world, worker = held_inside(CHAIN)
    worker.end(worker.flying[0], REFUSED)
    worker.turn()
    assert world.execution.status == "failed"


def test_a_fork_is_made_and_no_child_goes_on() -> None:
    flow = flow_of({"hello": SAY, "a": SAY, "b": SAY}, "start > hello > a > end", "hello > b > end")
    world, worker = held_inside(flow)
    worker.end(worker.flying[0], SENT)
    worker.turn()
    assert world.branches == {"root": "forked", "root_0": "ready", "root_1": "ready"}
    goes_on(world)


def test_a_delay_that_is_over_is_recorded_as_over() -> None:
    world = World(flow_of({"wait": delay(days=1), "hello": SAY}, "start > wait > hello > end"))
    world.run()
    world.limits = HOLD
    world.wait(days=1)
    worker = Worker(world)
    worker.claim()
    worker.turn()
    assert (world.nodes["wait"], world.branches) == ("completed", {"root": "ready"})
    assert world.performed == []
    goes_on(world)


@pytest.mark.parametrize("answered", [True, False])
def test_nothing_is_sent_again(answered: bool) -> None:
    world, worker = held_inside(flow_of({"hello": SAY_AGAIN}, "start > hello > end"))
    if answered:
        worker.end(worker.flying[0], UNKNOWN)
        worker.turn()
    else:
        world.now += LEASE + timedelta(seconds=1)
        heir = Worker(world, "b")
        heir.claim()
        heir.turn()
    assert world.branches == {"root": "ready"}
    assert len(world.performed) == 1
    goes_on(world)
    assert [p.attempt for p in world.performed] == [0, 1]
