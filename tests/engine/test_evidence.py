"""Evidence: an outcome that was learned too late to lead on is taken where it settles a run."""

from __future__ import annotations

import pytest

from flowkit import engine
from flowkit.engine import Performance
from flowkit.nodetype import Outcome
from tests.engine.driver import (
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


def asleep(flow: object = FLOW) -> tuple[World, Performance]:
    """Return a world whose worker slept past its lease inside an effect."""
    world = World(flow, outcomes=lambda performance: None)  # type: ignore[arg-type]
    worker = Worker(world, "sleeper")
    worker.claim()
    worker.work()
    world.now += LEASE
    return world, worker.flying[0]


def test_before_anyone_takes_over_the_next_owner_goes_on_from_it() -> None:
    world, performance = asleep()
    assert world.offer(performance, SENT)
    assert world.nodes["hello"] == "completed"
    assert world.execution.status == "running"
    assert world.run("b").status == "completed"
    assert len(world.performed) == 1
    assert world.run_of("hello").retry_count == 0


def test_a_late_failure_ends_the_branch_and_is_not_tried_again() -> None:
    world, performance = asleep()
    assert world.offer(performance, REFUSED)
    assert world.nodes["hello"] == "failed"
    assert world.run("b").status == "failed"
    assert (world.error("hello"), world.branches) == ("refused", {"root": "failed"})
    assert len(world.performed) == 1, "nobody asked for a retry"
    world.outcomes = lambda performance: SENT
    world.retry()
    assert world.run().status == "completed"


@pytest.mark.parametrize("outcome", [SENT, REFUSED])
def test_an_owner_that_did_not_know_is_refused_and_reads_anew(outcome: Outcome) -> None:
    world, performance = asleep()
    worker = Worker(world, "b")
    worker.claim()
    assert world.offer(performance, outcome)
    assert worker.turn() == "conflict"
    assert len(world.performed) == 1
    expected = "completed" if outcome is SENT else "failed"
    assert world.run("c").status == expected


def test_after_it_was_given_up_the_run_is_corrected_and_a_retry_goes_on_from_it() -> None:
    world, performance = asleep()
    assert world.run("b").status == "failed"
    assert world.error("hello") == "outcome_unknown"
    assert world.offer(performance, SENT)
    run = world.run_of("hello")
    assert (run.status, run.result, run.error) == ("completed", SENT.result, None)
    assert world.execution.status == "failed", "the branch goes on only when it is asked to"
    world.retry("hello")
    assert world.run().status == "completed"
    assert len(world.performed) == 1, "it is not sent again"
    assert world.run_of("hello").retry_count == 0
    assert world.execution.branches[0].resume_data is None


def test_a_known_failure_replaces_one_that_was_not_understood() -> None:
    world, performance = asleep()
    world.run("b")
    assert world.offer(performance, REFUSED)
    assert world.error("hello") == "refused"
    assert not world.offer(performance, SENT), "that it was refused is known now"


@pytest.mark.parametrize("outcome", [SENT, REFUSED])
def test_between_the_request_for_a_retry_and_the_retry(outcome: Outcome) -> None:
    world, performance = asleep()
    world.run("b")
    world.retry()
    assert world.offer(performance, outcome)
    world.outcomes = lambda performance: SENT
    assert world.run("b").status == "completed"
    assert len(world.performed) == (1 if outcome is SENT else 2)


def test_of_another_attempt_it_proves_nothing() -> None:
    world, performance = asleep(flow_of({"hello": SAY_AGAIN}, "start > hello > end"))
    worker = Worker(world, "b")
    worker.claim()
    worker.work()
    assert [p.attempt for p in world.performed] == [0, 1]
    assert not world.offer(performance, SENT)
    assert world.nodes["hello"] == "running"


def test_what_knows_nothing_or_comes_after_the_end_is_no_evidence() -> None:
    world, performance = asleep()
    assert not world.offer(performance, UNKNOWN)
    world.offer(performance, SENT)
    assert not world.offer(performance, REFUSED)
    assert world.nodes["hello"] == "completed"


def test_of_two_who_bring_evidence_the_first_is_taken() -> None:
    world, performance = asleep()
    run = world.run_of("hello")
    patches = [
        engine.evidence("x", run, performance.attempt, outcome, world.now)
        for outcome in (SENT, REFUSED)
    ]
    assert [world.commit(p).outcome for p in patches if p] == ["ok", "conflict"]
    assert world.nodes["hello"] == "completed"


def test_it_survives_a_power_loss_and_is_bounded() -> None:
    world, performance = asleep()
    patch = engine.evidence(
        "x", world.run_of("hello"), 0, Outcome("completed", result={"a": "x" * 20_000}), world.now
    )
    assert patch is not None
    assert patch.durable
    (settle,) = patch.settle
    assert settle.run.result is not None
    assert list(settle.run.result) == ["omitted"]
    assert performance.attempt == 0
