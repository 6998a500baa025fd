"""Effects: recorded before they are performed, under one key, and what their outcomes lead to."""

from __future__ import annotations

from typing import Any

import pytest

from flowkit.engine import Ended, Limits
from flowkit.nodetype import Outcome
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
    flow_of,
)

FLOW = flow_of({"hello": SAY}, "start > hello > end")
AGAIN = flow_of({"hello": SAY_AGAIN}, "start > hello > end")


def inside(flow: Any = FLOW, **more: Any) -> tuple[World, Worker]:
    """Return a world with a worker inside the effect of `hello`."""
    world = World(flow, outcomes=lambda performance: None, **more)
    worker = Worker(world)
    worker.claim()
    worker.work()
    return world, worker


def test_an_effect_is_recorded_before_it_is_performed() -> None:
    world, worker = inside()
    run = world.run_of("hello")
    assert (run.status, run.end_time, run.idempotency_key) == ("running", None, "x_hello")
    (performance,) = worker.flying
    assert (performance.key, performance.attempt) == ("x_hello", 0)
    assert (performance.branch_id, performance.effect.kind) == ("root", "whatsapp.message")
    assert performance.effect.request["to"] == "+5511999990000"


def test_patches_around_effects_are_durable_and_pure_progress_is_not() -> None:
    from flowkit import engine
    from flowkit.engine import Resume

    world = World(flow_of({"check": COIN, "hello": SAY}, "start > check:true > hello > end"))
    (claim,) = world.store.claim("a", now=world.now, lease_ms=1000, limit=1)
    turn = engine.advance(world.flow, claim, [Resume("root")], now=world.now)
    assert turn.patch.durable
    turn = engine.advance(world.flow, turn.claim, [Ended("root", SENT, world.now)], now=world.now)
    assert turn.patch.durable
    pure = World(flow_of({"check": COIN}, "start > check:true > end"))
    (claim,) = pure.store.claim("a", now=world.now, lease_ms=1000, limit=1)
    assert not engine.advance(pure.flow, claim, [Resume("root")], now=world.now).patch.durable


def test_nothing_costs_more_than_one_commit_but_what_stops_a_turn() -> None:
    """Write ahead of effects, batch the rest: n effects in a row take n + 1 commits."""
    nodes = {"a": COIN, "b": SAY, "c": COIN, "d": SAY, "e": COIN}
    world = World(flow_of(nodes, "start > a:true > b > c:true > d > e:true > end"))
    world.run()
    assert world.answers == ["ok"] * 3


@pytest.mark.parametrize("outcome", [SENT, REFUSED])
def test_the_outcome_is_recorded_with_the_time_at_which_it_came(outcome: Outcome) -> None:
    world, worker = inside()
    world.wait(seconds=3)
    worker.end(worker.flying[0], outcome)
    world.wait(seconds=1)
    worker.turn()
    run = world.run_of("hello")
    assert (run.status, run.result, run.error) == (outcome.status, outcome.result, outcome.error)
    assert run.end_time is not None
    assert (world.now - run.end_time).total_seconds() == 1
    assert world.execution.status == outcome.status


def test_a_failure_ends_the_branch_there() -> None:
    world = World(FLOW, outcomes=lambda performance: REFUSED)
    assert world.run().status == "failed"
    assert (world.nodes["hello"], world.error("hello")) == ("failed", "refused")
    assert "end" not in world.nodes
    assert world.branches == {"root": "failed"}


def test_a_failure_without_a_reason_still_has_a_code() -> None:
    world = World(FLOW, outcomes=lambda performance: Outcome("failed"))
    world.run()
    assert world.error("hello") == "effect_failed"


# -- nobody knows


@pytest.mark.parametrize("died", [True, False])
def test_a_lost_outcome_fails_at_most_once(died: bool) -> None:
    world, worker = inside()
    if died:
        world.now += LEASE
        world.run("b")
    else:
        worker.end(worker.flying[0], UNKNOWN)
        worker.turn()
    assert world.execution.status == "failed"
    run = world.run_of("hello")
    assert (run.status, world.error("hello")) == ("failed", "outcome_unknown")
    assert run.retry_count == 0
    assert world.sent() == ["x_hello"]


def test_an_answer_that_never_comes_is_resent_a_bounded_number_of_times() -> None:
    world = World(AGAIN, outcomes=lambda performance: UNKNOWN)
    assert world.run().status == "failed"
    assert world.sent() == ["x_hello"] * 4
    assert [p.attempt for p in world.performed] == [0, 1, 2, 3]
    run = world.run_of("hello")
    assert (run.retry_count, world.error("hello")) == (3, "outcome_unknown")
    assert [a["status"] for a in run.attempts] == ["unknown"] * 3


def test_a_resend_that_is_answered_goes_on() -> None:
    world = World(AGAIN, outcomes=lambda p: SENT if p.attempt == 2 else UNKNOWN)
    assert world.run().status == "completed"
    assert world.run_of("hello").retry_count == 2


def test_a_worker_that_dies_inside_is_followed_by_one_that_resends() -> None:
    world, _ = inside(AGAIN)
    world.now += LEASE
    world.outcomes = lambda performance: SENT
    assert world.run("b").status == "completed"
    assert [p.attempt for p in world.performed] == [0, 1]
    (attempt,) = world.run_of("hello").attempts
    assert attempt["status"] == "unknown"
    assert attempt["startTime"] == "2026-01-05T09:00:00.000Z"


def test_a_node_that_cannot_be_asked_for_its_policy_any_more_fails() -> None:
    world, _ = inside(AGAIN)
    world.now += LEASE
    world.flow = flow_of({"hello": ("TEST_ODD", {"how": "raises"})}, "start > hello > end")
    assert world.run("b").status == "failed"
    assert world.error("hello") == "outcome_unknown"


# -- room


def test_no_effect_begins_without_room_for_it() -> None:
    nodes = {f"n{i}": SAY for i in range(5)}
    world = World(flow_of(nodes, *(f"start > n{i} > end" for i in range(5))))
    world.limits = Limits(effects=2)
    worker = Worker(world)
    worker.claim()
    worker.turn()
    assert len(worker.flying) == 2
    statuses = list(world.branches.values())
    assert (statuses.count("running"), statuses.count("ready")) == (2, 3)
    assert list(world.nodes) == ["start", "n0", "n1"], "those without room have no run"
    assert world.run("b").status == "running"
    worker.world.outcomes = lambda performance: SENT
    worker.work()
    assert world.run().status == "completed"
    assert sorted(world.sent()) == sorted(f"x_n{i}" for i in range(5))


def test_a_stopping_worker_begins_no_resend_either() -> None:
    world, worker = inside(AGAIN)
    world.limits = Limits(effects=0)
    worker.end(worker.flying[0], UNKNOWN)
    worker.turn()
    assert len(world.performed) == 1
    assert world.branches == {"root": "ready"}
    world.limits, world.outcomes = Limits(), lambda performance: SENT
    assert world.run("b").status == "completed"
    assert [p.attempt for p in world.performed] == [0, 1]


def test_a_turn_says_when_it_was_crowded() -> None:
    from flowkit import engine
    from flowkit.engine import Resume

    world = World(FLOW)
    (claim,) = world.store.claim("a", now=world.now, lease_ms=1000, limit=1)
    for room, crowded in ((0, True), (1, False), (None, False)):
        turn = engine.advance(
            world.flow, claim, [Resume("root")], now=world.now, limits=Limits(effects=room)
        )
        assert (turn.crowded, turn.shared, len(turn.effects)) == (crowded, crowded, not crowded)


# -- what channels answer


@pytest.mark.parametrize(
    "result",
    [{"a": "x" * 20_000}, {"a": object()}, {"a": float("nan")}, ["list"], {"a": "\ud800"}],
)
def test_a_result_that_cannot_be_kept_does_not_undo_what_happened(result: Any) -> None:
    world = World(FLOW, outcomes=lambda performance: Outcome("completed", result=result))
    assert world.run().status == "completed"
    kept = world.run_of("hello").result
    assert kept is not None
    assert list(kept) == ["omitted"]


def test_an_error_that_cannot_be_kept_is_still_a_failure() -> None:
    error = {"code": "refused", "message": "x" * 20_000}
    world = World(FLOW, outcomes=lambda performance: Outcome("failed", error=error))
    assert world.run().status == "failed"
    assert world.error("hello") == "result_too_large"


def test_the_limit_of_a_result_is_the_drivers_and_in_bytes() -> None:
    for text, status in (("x" * 92, "completed"), ("x" * 93, "omitted"), ("é" * 47, "omitted")):
        result = {"a": text}
        world = World(
            FLOW,
            outcomes=lambda p, result=result: Outcome("completed", result=result),
            limits=Limits(result_bytes=100),
        )
        world.run()
        assert (world.run_of("hello").result == result) == (status == "completed"), text


# -- ways out of effects


def test_an_effect_whose_way_leads_nowhere_is_not_performed() -> None:
    """After it, it would be too late: a retry would perform it again."""
    world = World(flow_of({"act": ("TEST_CHOOSE", {"way": "more"})}, "start > act:done > end"))
    assert world.run().status == "failed"
    assert world.error("act") == "handle_unconnected"
    assert world.performed == []
    good = World(flow_of({"act": ("TEST_CHOOSE", {"way": "done"})}, "start > act:done > end"))
    assert good.run().status == "completed"
    assert good.run_of("act").source_handle == "done"
