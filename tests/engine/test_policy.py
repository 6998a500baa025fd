"""Retries by policy: what is tried again, when and how often; people and crashes in between."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowkit.engine import Limits
from flowkit.nodetype import Outcome
from flowkit.retry import ONCE, PATIENCE_SECONDS, RetryPolicy
from flowkit.testing import EPOCH
from tests.engine.driver import (
    LEASE,
    REFUSED,
    SAY,
    SENT,
    UNKNOWN,
    Worker,
    World,
    delay,
    flow_of,
)

BUSY = Outcome("failed", error={"code": "busy", "message": "later", "transient": True})


def say(**retry: Any) -> tuple[str, dict[str, Any]]:
    """Return a message with a policy of its own."""
    return ("SEND_MESSAGE", {"kind": "text", "text": "Hello", "retry": retry})


THRICE = say(maximumAttempts=3, initialInterval=10, backoffCoefficient=3)


def trying(node: tuple[str, dict[str, Any]] = THRICE, *outcomes: Outcome) -> World:
    """Return a world whose message ends as said, attempt by attempt; BUSY after these."""
    flow = flow_of({"hello": node}, "start > hello > end")
    return World(
        flow, outcomes=lambda p: outcomes[p.attempt] if p.attempt < len(outcomes) else BUSY
    )


# -- the policy alone


def test_waits_grow_up_to_the_longest_and_end() -> None:
    policy = RetryPolicy(maximum_attempts=5, initial_interval=2, maximum_interval=10)
    assert [policy.delay(attempt) for attempt in range(1, 7)] == [2, 4, 8, 10, None, None]
    assert ONCE.delay(1) is None


@given(
    attempts=st.integers(1, 10),
    first=st.floats(0.001, 86_400),
    growth=st.floats(1, 100),
    longest=st.floats(0.001, PATIENCE_SECONDS),
)
def test_every_policy_ends_and_never_hurries(
    attempts: int, first: float, growth: float, longest: float
) -> None:
    policy = RetryPolicy(
        maximum_attempts=attempts,
        initial_interval=first,
        backoff_coefficient=growth,
        maximum_interval=longest,
    )
    waits = [policy.delay(attempt) for attempt in range(1, attempts)]
    assert all(wait is not None and 0 < wait <= longest for wait in waits)
    assert waits == sorted(w for w in waits if w is not None)
    assert policy.delay(attempts) is None


@pytest.mark.parametrize(
    ("error", "wait"),
    [
        ({"code": "busy", "transient": True}, 5),
        ({"code": "busy", "transient": False}, None),
        ({"code": "busy", "transient": 1}, None),
        ({"code": "busy"}, None),
        ({"code": "full", "transient": True}, None),
        ({"code": ["full"], "transient": True}, 5),
        ({"transient": True}, 5),
        ({"transient": True, "retryAfterSeconds": 60}, 60),
        ({"transient": True, "retryAfterSeconds": 0.5}, 5),
        ({"transient": True, "retryAfterSeconds": -1}, 5),
        ({"transient": True, "retryAfterSeconds": 10**400}, PATIENCE_SECONDS),
        ({"transient": True, "retryAfterSeconds": "60"}, 5),
        ({"transient": True, "retryAfterSeconds": True}, 5),
        ({"transient": False, "retryAfterSeconds": 60}, None),
    ],
)
def test_which_errors_are_tried_again(error: dict[str, Any], wait: float | None) -> None:
    assert RetryPolicy(non_retryable=["full"]).after(error, 1) == wait
    assert ONCE.after(error, 1) is None


# -- in the engine


def test_a_transient_error_waits_and_is_tried_again_under_its_key() -> None:
    world = trying(THRICE, BUSY, SENT)
    execution = world.run()
    due = EPOCH + timedelta(seconds=10)
    assert (execution.status, execution.resume_at) == ("delayed", due)
    assert (execution.failed, execution.waiting, execution.ended_at) == (0, 1, None)
    (branch,) = execution.branches
    assert branch.resume_data == {"nextNodeIds": ["hello"], "context": {}, "branchId": "root"}
    run = world.run_of("hello")
    assert (run.status, run.error, run.end_time) == ("failed", BUSY.error, EPOCH)
    world.wait(seconds=10, milliseconds=-1)
    assert world.run() == execution
    world.wait(milliseconds=1)
    assert world.run().status == "completed"
    assert [(p.key, p.attempt) for p in world.performed] == [("x_hello", 0), ("x_hello", 1)]
    run = world.run_of("hello")
    assert (run.retry_count, run.status, run.error, run.start_time) == (1, "completed", None, due)
    (attempt,) = run.attempts
    assert (attempt["error"], attempt["retriedBy"]) == (BUSY.error, "policy")
    assert world.execution.branches[0].resume_at is None


def test_waits_count_from_the_end_of_the_attempt() -> None:
    world = trying()
    worker = Worker(world)
    worker.claim()
    worker.turn()
    worker.end(worker.flying[0], BUSY)
    world.wait(seconds=4)  # until the worker gets round to it
    worker.turn()
    assert world.execution.resume_at == EPOCH + timedelta(seconds=10)


def test_it_fails_when_the_attempts_are_used_up() -> None:
    world = trying()
    due = []
    while (execution := world.run()).status == "delayed":
        assert execution.resume_at is not None
        due.append((execution.resume_at - world.now).total_seconds())
        world.now = execution.resume_at
    assert due == [10, 30]
    assert (world.execution.status, world.execution.failed) == ("failed", 1)
    assert world.error("hello") == "busy"
    assert len(world.performed) == 3


@pytest.mark.parametrize(
    ("node", "outcome"),
    [
        (THRICE, REFUSED),
        (THRICE, UNKNOWN),
        (say(maximumAttempts=1), BUSY),
        (say(nonRetryable=["busy"]), BUSY),
        (("TEST_CHOOSE", {"way": "done"}), BUSY),
    ],
)
def test_what_is_not_tried_again(node: Any, outcome: Outcome) -> None:
    way = "act:done" if node[0] == "TEST_CHOOSE" else "act"
    world = World(flow_of({"act": node}, f"start > {way} > end"), outcomes=lambda p: outcome)
    assert world.run().status == "failed"
    assert len(world.performed) == 1


def test_a_message_is_tried_five_times_unless_it_says_otherwise() -> None:
    world = trying(SAY)
    while world.run().status == "delayed":
        world.wait(seconds=300)
    assert len(world.performed) == 5


def test_an_error_that_asks_for_patience_gets_it() -> None:
    assert BUSY.error is not None
    patient = Outcome("failed", error=BUSY.error | {"retryAfterSeconds": 3600})
    assert trying(THRICE, patient).run().resume_at == EPOCH + timedelta(hours=1)


def test_siblings_go_on_meanwhile() -> None:
    flow = flow_of({"a": THRICE, "b": SAY}, "start > a > end", "start > b > end")
    world = World(flow, outcomes=lambda p: BUSY if p.key == "x_a" and not p.attempt else SENT)
    assert world.run().status == "delayed"
    assert world.branches == {"root": "forked", "root_0": "waiting", "root_1": "completed"}
    world.wait(seconds=10)
    assert world.run().status == "completed"


def test_an_unknown_outcome_stays_with_its_own_policy_also_between_attempts() -> None:
    node = ("SEND_MESSAGE", {**THRICE[1], "onUnknown": "resend"})
    world = trying(node, UNKNOWN, BUSY, BUSY)
    world.run()
    world.wait(seconds=30)
    assert world.run().status == "failed", "one resent and two refused are the three attempts"
    run = world.run_of("hello")
    assert [a["status"] for a in run.attempts] == ["unknown", "failed"]
    blind = trying(THRICE, BUSY, UNKNOWN)
    blind.run()
    blind.wait(seconds=10)
    assert blind.run().status == "failed"
    assert blind.error("hello") == "outcome_unknown"


# -- people


def test_a_retry_by_hand_brings_the_attempt_forward_and_begins_anew() -> None:
    world = trying()
    world.run()
    world.wait(seconds=10)
    world.run()
    assert world.retry("hello") == "ok"
    assert world.branches == {"root": "ready"}
    assert (world.execution.resume_at, world.execution.waiting) == (None, 0)
    for _ in range(2):
        assert world.run().status == "delayed"
        world.wait(seconds=90)
    assert world.run().status == "failed"
    assert [a["retriedBy"] for a in world.run_of("hello").attempts] == [
        *("policy", "hand"),
        *("policy", "policy"),
    ]


def test_a_retry_by_hand_after_the_last_attempt_begins_anew() -> None:
    world = trying()
    while world.run().status == "delayed":
        world.wait(seconds=90)
    world.retry()
    assert world.run().status == "delayed"


def test_one_cannot_retry_what_waits_for_something_else() -> None:
    from flowkit.errors import Conflict

    world = World(flow_of({"wait": delay(days=1)}, "start > wait > end"))
    world.run()
    with pytest.raises(Conflict, match="no failed node"):
        world.retry()


def test_cancelling_ends_the_wait_at_once() -> None:
    world = trying()
    world.run()
    assert world.cancel() == "ok"
    assert world.branches == {"root": "cancelled"}
    assert world.nodes["hello"] == "failed"
    world.wait(days=1)
    assert world.run().status == "cancelled"
    assert len(world.performed) == 1


# -- crashes


def test_a_worker_that_dies_with_a_due_attempt_costs_none() -> None:
    world = trying(THRICE, BUSY, SENT)
    world.run()
    world.wait(seconds=10)
    Worker(world, "dead").claim()
    world.now += LEASE
    assert world.run("b").status == "completed"
    (attempt,) = world.run_of("hello").attempts
    assert attempt["retriedBy"] == "policy"


def test_without_room_the_attempt_stays_one_of_the_policy() -> None:
    world = trying()
    world.run()
    world.wait(seconds=10)
    world.limits = Limits(effects=0)
    worker = Worker(world)
    worker.claim()
    worker.turn()
    assert world.branches == {"root": "ready"}
    world.limits = Limits()
    assert world.run().status == "delayed"
    world.wait(seconds=30)
    assert world.run().status == "failed", "the third was the last"


def test_a_clock_that_goes_back_does_not_hurry_it() -> None:
    world = trying()
    world.run()
    world.wait(seconds=10)
    worker = Worker(world)
    worker.claim()
    world.wait(seconds=-5)
    worker.turn()
    assert world.branches == {"root": "waiting"}
    assert len(world.performed) == 1


def test_a_transient_failure_that_comes_to_light_late_is_tried_again_too() -> None:
    world = World(flow_of({"hello": THRICE}, "start > hello > end"), outcomes=lambda p: None)
    worker = Worker(world)
    worker.claim()
    worker.work()
    world.now += LEASE
    assert world.offer(worker.flying[0], BUSY)
    assert world.run("b").status == "delayed"
    assert world.execution.resume_at == world.now + timedelta(seconds=10)


def test_a_node_that_cannot_be_asked_for_its_policy_any_more_fails() -> None:
    world = trying()
    worker = Worker(world)
    worker.claim()
    worker.turn()
    world.flow = flow_of({"hello": ("TEST_ODD", {"how": "raises"})}, "start > hello > end")
    worker.end(worker.flying[0], BUSY)
    worker.turn()
    assert world.execution.status == "failed"
    assert world.error("hello") == "busy"
