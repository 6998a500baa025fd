"""Retry by hand: which nodes, what it leaves alone, what it records, when it is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from flowkit import engine
from flowkit.engine import Limits
from flowkit.errors import Conflict, Invalid
from flowkit.execution import ExecutionStatus
from tests.engine.driver import (
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

THREE = flow_of({"a": SAY, "b": SAY, "c": SAY}, *(f"start > {n} > end" for n in "abc"))


def broken(*bad: str, flow: Any = THREE) -> World:
    """Return a world in which the messages of these nodes are refused, run to its end."""
    world = World(flow, outcomes=lambda p: REFUSED if p.key.removeprefix("x_") in bad else SENT)
    world.run()
    return world


def mended(world: World) -> World:
    world.outcomes = lambda performance: SENT
    return world


def test_all_that_failed_run_again_under_their_keys() -> None:
    world = mended(broken("a", "b"))
    world.wait(hours=1)
    assert world.retry() == "ok"
    execution = world.execution
    assert execution.status == "running"
    assert execution.ended_at is None
    assert (execution.open, execution.failed) == (2, 0)
    assert world.branches == {
        "root": "forked",
        "root_0": "ready",
        "root_1": "ready",
        "root_2": "completed",
    }
    execution = world.run()
    assert execution.status == "completed"
    assert execution.ended_at == world.now
    assert world.sent() == ["x_a", "x_b", "x_c", "x_a", "x_b"]
    assert [p.attempt for p in world.performed] == [0, 0, 0, 1, 1]
    assert world.run_of("end").arrivals == ("root_2", "root_0", "root_1")


def test_only_the_chosen_run_again() -> None:
    world = mended(broken("a", "b"))
    untouched = world.run_of("b"), world.run_of("c"), world.execution.branches[2:]
    world.retry("a")
    execution = world.run()
    assert (execution.status, execution.failed) == ("failed", 1)
    assert world.nodes["a"] == "completed"
    assert (world.run_of("b"), world.run_of("c"), execution.branches[2:]) == untouched
    assert execution.ended_at is not None


def test_an_attempt_is_kept_with_what_became_of_it() -> None:
    world = broken("a")
    began = world.now
    world.wait(hours=1)
    world.retry()
    world.run()
    run = world.run_of("a")
    assert (run.retry_count, run.status, run.start_time) == (1, "failed", world.now)
    assert run.attempts == (
        {
            "status": "failed",
            "startTime": "2026-01-05T09:00:00.000Z",
            "endTime": "2026-01-05T09:00:00.000Z",
            "result": None,
            "error": REFUSED.error,
            "retriedBy": "hand",
        },
    )
    assert world.now > began
    mended(world).retry()
    world.run()
    run = world.run_of("a")
    assert (run.retry_count, run.error, run.result) == (2, None, SENT.result)
    assert len(run.attempts) == 2


def test_the_last_ten_attempts_are_kept() -> None:
    world = broken("a")
    for _ in range(12):
        world.wait(minutes=1)
        world.retry()
        world.run()
    run = world.run_of("a")
    assert run.retry_count == 12
    assert [a["startTime"] for a in run.attempts] == [
        f"2026-01-05T09:{minute:02}:00.000Z" for minute in range(2, 12)
    ]


def test_a_node_without_effect_is_tried_again_too() -> None:
    world = World(flow_of({"bad": SILENT}, "start > bad > end"))
    world.run()
    world.retry("bad")
    world.run()
    assert world.run_of("bad").retry_count == 1
    assert world.error("bad") == "message_empty"


def test_it_is_possible_while_siblings_run_or_wait() -> None:
    flow = flow_of({"a": SAY, "slow": delay(days=1)}, "start > a > end", "start > slow > end")
    world = mended(broken("a", flow=flow))
    assert world.execution.status == "delayed"
    resume_at = world.execution.resume_at
    world.retry()
    assert world.execution.status == "running"
    assert world.execution.resume_at == resume_at
    assert world.run().status == "delayed"
    world.wait(days=1)
    assert world.run().status == "completed"


def test_a_retried_branch_says_where_it_goes_on() -> None:
    world = broken("a")
    world.retry()
    branch = world.execution.branches[1]
    assert branch.resume_data == {"nextNodeIds": ["a"], "context": {}, "branchId": "root_0"}
    mended(world).run()
    assert world.execution.branches[1].resume_data is None


def test_it_goes_on_behind_the_node_as_if_nothing_had_happened() -> None:
    flow = flow_of(
        {"a": SAY, "wait": delay(days=1), "b": SAY, "c": SAY},
        "start > a > wait > b > end",
        "wait > c > end",
    )
    world = mended(broken("a", flow=flow))
    world.retry()
    assert world.run().status == "delayed"
    world.wait(days=1)
    assert world.run().status == "completed"
    assert world.branches == {"root": "forked", "root_0": "completed", "root_1": "completed"}


def test_one_who_merged_at_a_failed_node_stays_merged() -> None:
    flow = flow_of({"a": SAY, "b": SAY, "meet": SAY}, "start > a > meet > end", "start > b > meet")
    world = mended(broken("meet", flow=flow))
    assert world.branches["root_1"] == "merged"
    world.retry()
    assert world.run().status == "completed"
    assert world.branches == {"root": "forked", "root_0": "completed", "root_1": "merged"}


def test_a_worker_that_dies_with_a_retried_branch_does_not_undo_the_retry() -> None:
    world = mended(broken("a"))
    world.retry()
    Worker(world, "dead").claim()
    world.now += LEASE
    assert world.run("b").status == "completed"


def test_a_retry_that_found_no_room_is_still_a_retry() -> None:
    world = mended(broken("a"))
    world.retry()
    world.limits = Limits(effects=0)
    worker = Worker(world)
    worker.claim()
    worker.turn()
    assert world.branches["root_0"] == "ready"
    assert world.nodes["a"] == "failed"
    world.limits = Limits()
    assert world.run().status == "completed"


@pytest.mark.parametrize("status", ["completed", "cancelled"])
def test_what_is_over_cannot_be_retried(status: ExecutionStatus) -> None:
    world = broken("a") if status == "cancelled" else broken()
    execution = replace(world.execution, status=status)
    for node_ids in (None, [], ["a"], ["nothing"]):
        with pytest.raises(Conflict, match=status):
            engine.retry(execution, node_ids, now=world.now)


def test_nothing_failed_is_a_conflict_also_while_it_runs() -> None:
    world = World(THREE)
    with pytest.raises(Conflict, match="no failed node"):
        engine.retry(world.execution, None, now=world.now)


@pytest.mark.parametrize("wrong", ["c", "end", "start", "nothing", ""])
def test_a_node_that_has_not_failed_spoils_the_whole_request(wrong: str) -> None:
    world = broken("a", "b")
    with pytest.raises(Invalid) as caught:
        engine.retry(world.execution, ["a", wrong], now=world.now)
    (problem,) = caught.value.problems
    assert (problem.code, problem.path) == ("retry.not_failed", "/nodeIds/1")


def test_of_two_at_once_one_wins() -> None:
    world = broken("a", "b")
    both = [engine.retry(world.execution, [node], now=world.now) for node in "ab"]
    assert [world.commit(patch).outcome for patch in both] == ["ok", "conflict"]
    assert world.branches["root_1"] == "failed"


def test_the_limit_of_resends_counts_over_all_attempts() -> None:
    flow = flow_of({"a": ("SEND_MESSAGE", SAY[1] | {"onUnknown": "resend"})}, "start > a > end")
    world = World(flow, outcomes=lambda performance: UNKNOWN)
    world.run()
    sent = len(world.performed)
    world.retry()
    assert world.run().status == "failed"
    assert sent < len(world.performed) <= 2 * sent, "it ends"
