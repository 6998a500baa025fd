"""The worker's loop when leases, clocks, stores and executions are not as they should be."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest

from flowkit.clock import ManualClock
from flowkit.engine import Performance
from flowkit.execution import OUTCOME_UNKNOWN
from flowkit.flow import Flow
from flowkit.nodetype import Outcome
from flowkit.testing import EPOCH, check_invariants
from tests.processes import until
from tests.worker.stage import DONE, PATIENCE, Effects, Pool, Stage, fork, messages
from tests.worker.test_runner import delayed

ONE = messages("first")
TWO = messages("first", "second")
HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.worker.runner.PAUSE_AFTER_ERROR_SECONDS", 0.01)


def taken_over(stage: Stage, **options: Any) -> Effects:
    """Let another worker, whose clock is ahead, take over what runs; it cannot know more."""
    crew = Effects()
    other = stage.run(
        stage.runner("other", clock=stage.ahead(40), effects=crew, store=stage.watched(), **options)
    )
    stage.wait_for("failed")
    other.stop()
    stage.stopped(other)
    assert stage.run_of("first").error["code"] == OUTCOME_UNKNOWN
    return crew


# ------------------------------------------------------------------------- leases


def test_one_heartbeat_renews_all_that_a_worker_holds(stage: Stage) -> None:
    gate = stage.effects.hold("first")
    store = stage.watched()
    stage.start(ONE, 4)
    stage.run(stage.runner(store=store, lease_seconds=0.3))
    until(lambda: len(stage.effects.active) == 4, seconds=PATIENCE)
    for _ in range(5):
        stage.clock.advance(timedelta(seconds=0.2))
        seen = store.calls["renew"]
        until(lambda seen=seen: store.calls["renew"] >= seen + 3, seconds=PATIENCE)
        assert not stage.store.claim("thief", now=stage.clock.now(), lease_ms=300, limit=9)
    assert stage.clock.now() - EPOCH > timedelta(seconds=0.9)
    gate.set()
    stage.wait_for("completed", 4)
    assert len(stage.effects.performed) == 4


def test_an_idle_worker_writes_nothing(stage: Stage) -> None:
    store = stage.watched()
    stage.run(stage.runner(store=store, lease_seconds=0.06))
    until(lambda: store.calls["next_due"] > 10, seconds=PATIENCE)
    assert not store.calls["renew"]
    assert not store.calls["commit"]


@pytest.mark.parametrize("learned", ["from the commit", "from the heartbeat"])
def test_what_a_fenced_worker_learned_is_evidence(stage: Stage, learned: str) -> None:
    gate = stage.effects.hold("first")
    store = stage.watched()
    stage.start(TWO)
    worker = stage.run(stage.runner(store=store))
    until(lambda: stage.effects.active, seconds=PATIENCE)
    crew = taken_over(stage)
    if learned == "from the heartbeat":
        stage.clock.advance(timedelta(seconds=6))  # a jump makes it renew at once
        until(lambda: store.calls["renew"], seconds=PATIENCE)
    gate.set()
    until(lambda: stage.run_of("first").status == "completed", seconds=PATIENCE)
    assert stage.statuses() == {"failed": 1}, "evidence does not lead on by itself"
    stage.retry()
    worker.wake()
    stage.wait_for("completed")
    assert stage.effects.performed == ["x0_first", "x0_second"], "nothing is sent again"
    assert not crew.performed
    check_invariants(stage.execution())


@pytest.mark.parametrize("heartbeat", [False, True])
def test_a_worker_that_slept_past_its_lease_does_not_begin(stage: Stage, heartbeat: bool) -> None:
    """It stood still between the record of the effect and the effect."""
    pool: Any = Pool()
    worker = stage.runner(lease_seconds=0.1)
    stage.start(ONE)
    worker.step(pool)
    (begin,) = pool.kept
    taken_over(stage)
    threading.Event().wait(0.11)
    if heartbeat:
        worker.step(pool)
    begin()
    assert not stage.effects.performed
    stage.run(worker)
    until(
        lambda: stage.run_of("first").error["code"] == "lease_lost",
        seconds=PATIENCE,
        what="that it did not happen is evidence too",
    )
    stage.retry()
    stage.wait_for("completed")
    assert stage.effects.performed == ["x0_first"]


def test_an_effect_ends_before_its_lease_does(stage: Stage) -> None:
    """It gets its own time-out or two thirds of the lease, whichever is less."""
    pool: Any = Pool()
    timeouts: list[float] = []

    def perform(performance: Any) -> Any:
        timeouts.append(performance.effect.timeout)
        return DONE

    for name, lease in (("short", 6.0), ("long", 60.0)):
        worker = stage.runner(name, effects=perform, lease_seconds=lease)
        stage.start(ONE, prefix=name)
        worker.step(pool)
        pool.kept.pop()()
    assert timeouts == [4.0, 10.0]


def test_an_effect_that_would_outlast_the_lease_renews_it_first(stage: Stage) -> None:
    pool: Any = Pool()
    store = stage.watched()
    worker = stage.runner(store=store, lease_seconds=0.3)
    stage.start(ONE)
    worker.step(pool)
    threading.Event().wait(0.15)
    pool.kept[0]()
    assert store.calls["renew"] == 1
    assert stage.effects.performed == ["x0_first"]


def test_a_worker_whose_lease_nobody_took_begins_late(stage: Stage) -> None:
    pool: Any = Pool()
    worker = stage.runner(lease_seconds=0.1)
    stage.start(ONE)
    worker.step(pool)
    threading.Event().wait(0.11)
    pool.kept[0]()
    assert stage.effects.performed == ["x0_first"]
    stage.run(worker)
    stage.wait_for("completed")


def test_what_is_claimed_anew_is_no_longer_what_it_was(stage: Stage) -> None:
    """An outcome waits for the store; meanwhile another worker failed the branch, by hand it was
    retried, and the first worker claims it again."""
    store = stage.watched()
    stage.start(TWO)
    stage.run(stage.runner(store=store))
    gate = stage.effects.hold("first")
    until(lambda: stage.effects.active, seconds=PATIENCE)
    store.failing = {"commit", "renew", "claim"}
    gate.set()
    until(lambda: store.failures > 3, seconds=PATIENCE)
    taken_over(stage)
    stage.retry()
    store.failing = set()
    stage.wait_for("completed")
    assert stage.run_of("first").status == "completed"
    assert stage.effects.performed.count("x0_second") == 1
    check_invariants(stage.execution())


def test_the_outcome_of_an_attempt_is_not_taken_for_that_of_the_next(stage: Stage) -> None:
    """Both are under way in one worker: the branch was lost, failed, retried, claimed again."""
    gates = [threading.Event(), threading.Event()]

    def answer(performance: Performance) -> Outcome:
        assert gates[performance.attempt].wait(PATIENCE)
        return Outcome("completed", result={"attempt": performance.attempt})

    store = stage.watched()
    stage.effects.answer = answer
    stage.start(ONE)
    worker = stage.run(stage.runner(store=store))
    until(lambda: stage.effects.active, seconds=PATIENCE)
    taken_over(stage)
    stage.retry()
    worker.wake()
    until(lambda: len(stage.effects.performed) == 2, seconds=PATIENCE)
    seen = store.calls["get_execution"] + store.calls["commit"]
    gates[0].set()
    until(lambda: store.calls["get_execution"] + store.calls["commit"] > seen, seconds=PATIENCE)
    gates[1].set()
    stage.wait_for("completed")
    assert stage.run_of("first").result == {"attempt": 1}


def test_a_run_settled_by_evidence_while_it_is_taken_over(stage: Stage) -> None:
    """The other worker has read the run as running; what it decides from that is refused."""
    gate = stage.effects.hold("first")
    stage.start(TWO)
    worker = stage.run(stage.runner())
    until(lambda: stage.effects.active, seconds=PATIENCE)
    other = stage.watched()
    crew = Effects()

    def evidence_comes(claims: Any) -> None:
        if claims:
            other.after.clear()
            worker.stop()
            gate.set()
            until(lambda: stage.run_of("first").status == "completed", seconds=PATIENCE)

    other.after["claim"] = evidence_comes
    stage.run(stage.runner("b", store=other, clock=stage.ahead(40), effects=crew))
    stage.wait_for("completed")
    assert sorted(stage.effects.performed + crew.performed) == ["x0_first", "x0_second"]
    assert stage.leases() == []


def test_both_outcomes_of_a_cancelled_execution_are_recorded(stage: Stage) -> None:
    gate = stage.effects.hold("x0")
    flow = fork(2).to_dict()
    flow["nodes"].append({**flow["nodes"][1], "id": "after"})
    for edge in flow["edges"]:
        if edge["target"] == "end_1":
            edge["target"] = "after"
    flow["edges"].append({"id": "last", "source": "after", "target": "end_1"})
    stage.start(Flow.from_dict(flow))
    worker = stage.run(stage.runner())
    until(lambda: len(stage.effects.active) == 2, seconds=PATIENCE)
    stage.cancel()
    assert {stage.run_of(node).status for node in ("m0", "m1")} == {"unknown"}
    gate.set()
    for node in ("m0", "m1"):
        until(lambda node=node: stage.run_of(node).status == "completed", seconds=PATIENCE)
    worker.stop()
    stage.stopped(worker)
    assert stage.statuses() == {"cancelled": 1}
    assert sorted(stage.effects.performed) == ["x0_m0", "x0_m1"]
    assert stage.run_of("after") is None


def test_an_execution_cancelled_before_its_effect_begins(stage: Stage) -> None:
    pool: Any = Pool()
    worker = stage.runner(lease_seconds=0.1)
    stage.start(ONE)
    worker.step(pool)
    stage.cancel()
    threading.Event().wait(0.11)
    worker.step(pool)
    pool.kept[0]()
    assert not stage.effects.performed


# ------------------------------------------------------------------------- clocks


def test_a_clock_that_jumps_forward_takes_no_live_lease(stage: Stage) -> None:
    crew, looked = Effects(), threading.Semaphore(0)
    gate = stage.effects.hold("first")
    mine, other = stage.watched(), stage.watched()
    stage.start(TWO)
    stage.run(stage.runner(store=mine, lease_seconds=600.0))
    until(lambda: stage.effects.active, seconds=PATIENCE)
    stage.run(stage.runner("b", store=other, effects=crew, lease_seconds=600.0))
    until(lambda: other.calls["claim"], seconds=PATIENCE)
    # The worse order: the other worker looks for work before this one can renew its lease.
    mine.before["renew"] = lambda: [looked.acquire(timeout=PATIENCE) for _ in range(3)]
    other.after["claim"] = lambda claims: looked.release()
    stage.clock.advance(HOUR)
    until(lambda: mine.calls["renew"], seconds=PATIENCE)
    gate.set()
    stage.wait_for("completed")
    assert sorted(stage.effects.performed + crew.performed) == ["x0_first", "x0_second"]
    assert stage.run_of("first").attempts == ()


def test_a_clock_that_jumps_forward_leaves_no_dead_lease(stage: Stage) -> None:
    stage.start(ONE)
    assert stage.store.claim("dead", now=stage.clock.now(), lease_ms=200, limit=9)
    store = stage.watched()
    stage.run(stage.runner(store=store, lease_seconds=0.2))
    until(lambda: store.calls["next_due"], seconds=PATIENCE, what="the worker sleeps")
    stage.clock.advance(HOUR)
    stage.wait_for("completed")


def test_a_clock_that_jumps_back_strands_nothing_that_is_ready(stage: Stage) -> None:
    stage.start(ONE, 3)
    stage.clock.advance(-HOUR)
    stage.run(stage.runner())
    stage.wait_for("completed", 3)


def test_a_clock_that_jumps_back_moves_no_delay(stage: Stage) -> None:
    clock = stage.clock
    stage.start(delayed(10))
    stage.run(stage.runner())
    stage.wait_for("delayed")
    clock.advance(-HOUR)
    store = stage.watched()
    stage.run(stage.runner("b", store=store))
    until(lambda: store.calls["next_due"] > 3, seconds=PATIENCE)
    assert stage.statuses() == {"delayed": 1}
    clock.advance(HOUR + timedelta(seconds=10))
    stage.wait_for("completed")
    assert stage.run_of("wait").end_time == EPOCH + timedelta(seconds=10)


def test_a_clock_that_jumps_back_strands_no_lease_of_a_dead_worker(stage: Stage) -> None:
    """An idle worker takes over although the lease seems to hold for an hour, and nobody rings."""
    stage.start(ONE)
    assert stage.store.claim("dead", now=stage.clock.now(), lease_ms=200, limit=9)
    store = stage.watched()
    stage.run(stage.runner(store=store, lease_seconds=0.2))
    until(lambda: store.calls["next_due"], seconds=PATIENCE, what="the worker sleeps")
    stage.clock.advance(-HOUR)
    stage.wait_for("completed")


def test_a_clock_that_runs_back_costs_no_lease(stage: Stage) -> None:
    crew = Effects()
    gate = stage.effects.hold("first")
    mine, other = stage.watched(), stage.watched()
    stage.start(ONE)
    stage.run(stage.runner(store=mine, lease_seconds=600.0))
    until(lambda: stage.effects.active, seconds=PATIENCE)
    stage.run(stage.runner("b", store=other, effects=crew, lease_seconds=600.0))
    stage.clock.advance(-HOUR)
    until(lambda: mine.calls["renew"], seconds=PATIENCE)
    seen = other.calls["claim"]
    until(lambda: other.calls["claim"] > seen + 3, seconds=PATIENCE)
    gate.set()
    stage.wait_for("completed")
    assert stage.effects.performed == ["x0_first"]
    assert not crew.performed


# ------------------------------------------------------------------------- stores


@pytest.mark.parametrize(
    "verbs",
    [
        ["commit"],
        ["claim"],
        ["next_due"],
        ["renew"],
        ["claim", "commit", "get_execution", "get_version", "next_due", "release", "renew"],
    ],
    ids=lambda verbs: verbs[0] if len(verbs) == 1 else "all",
)
def test_a_store_that_fails_for_a_while_loses_no_outcome(stage: Stage, verbs: list[str]) -> None:
    store = stage.watched()
    gate = stage.effects.hold("first")
    stage.start(TWO, 3)
    stage.run(stage.runner(store=store, concurrency=3, lease_seconds=0.2))
    until(lambda: len(stage.effects.active) == 3, seconds=PATIENCE)
    store.failing = set(verbs)
    gate.set()
    until(lambda: store.failures > 5 or stage.statuses()["completed"] == 3, seconds=PATIENCE)
    stage.start(ONE, 3, prefix="later")
    store.failing = set()

    def completed_in_time() -> bool:
        # What did not begin, since its lease could not be renewed, is tried again by its policy.
        stage.clock.advance(timedelta(seconds=1))
        return stage.statuses()["completed"] == 6

    until(completed_in_time, seconds=PATIENCE)
    assert len(stage.effects.performed) == len(set(stage.effects.performed)) == 9


def test_evidence_waits_for_a_store_that_fails(stage: Stage) -> None:
    store = stage.watched()
    gate = stage.effects.hold("first")
    stage.start(ONE)
    stage.run(stage.runner(store=store))
    until(lambda: stage.effects.active, seconds=PATIENCE)
    taken_over(stage)
    stage.clock.advance(timedelta(seconds=6))
    until(lambda: store.calls["renew"], seconds=PATIENCE)
    store.failing = {"get_execution"}
    gate.set()
    until(lambda: store.failures > 2, seconds=PATIENCE)
    stage.start(ONE, prefix="next")
    stage.wait_for("completed")  # others need not wait with it
    store.failing = set()
    until(lambda: stage.run_of("first").status == "completed", seconds=PATIENCE)


def test_a_worker_stops_although_its_store_fails(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.worker.runner.STOP_SECONDS", 0.1)
    store = stage.watched()
    gate = stage.effects.hold("first")
    stage.start(ONE)
    worker = stage.run(stage.runner(store=store))
    until(lambda: stage.effects.active, seconds=PATIENCE)
    store.failing = {"commit", "release", "get_execution"}
    worker.stop()
    gate.set()
    stage.stopped(worker)


def test_what_a_stopping_worker_cannot_commit_is_recorded_when_the_store_is_back(
    stage: Stage,
) -> None:
    store = stage.watched()
    gate = stage.effects.hold("first")
    stage.start(TWO)
    worker = stage.run(stage.runner(store=store))
    until(lambda: stage.effects.active, seconds=PATIENCE)
    store.failing = {"commit"}
    worker.stop()
    gate.set()
    until(lambda: store.failures > 3, seconds=PATIENCE)
    assert stage.leases(), "nobody else may take it for an effect that nobody finished"
    store.failing = set()
    stage.stopped(worker)
    assert stage.run_of("first").status == "completed"
    assert stage.leases() == []
    stage.run(stage.runner("b"))
    stage.wait_for("completed")
    assert stage.effects.performed == ["x0_first", "x0_second"]


# --------------------------------------------------------------------- executions


def test_an_execution_that_cannot_go_on_stops_no_other(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is pinned to a version that nobody knows; no worker will ever be able to run it."""
    monkeypatch.setattr("service.worker.runner.PAUSE_AFTER_ERROR_SECONDS", 60.0)
    ghost = Flow.from_dict(ONE.to_dict() | {"id": "ghost"})
    stage.start_unpublished(ghost, 2, prefix="ghost")
    stage.start(TWO, 5)
    worker = stage.run(stage.runner())
    stage.wait_for("completed", 5)
    stage.start(ONE, 5, prefix="later")
    worker.wake()
    stage.wait_for("completed", 10)
    assert stage.statuses() == {"completed": 10, "running": 2}
    worker.stop()
    stage.stopped(worker)
    assert stage.leases() == []


def test_what_a_stopping_worker_cannot_release_it_releases_when_the_store_is_back(
    stage: Stage,
) -> None:
    store = stage.watched()
    stage.start_unpublished(ONE)
    worker = stage.run(stage.runner(store=store))
    until(lambda: store.calls["get_version"], seconds=PATIENCE)
    store.failing = {"release"}
    worker.stop()
    until(lambda: store.failures > 3, seconds=PATIENCE)
    store.failing = set()
    stage.stopped(worker)
    assert stage.leases() == []


def test_an_execution_that_could_not_go_on_is_tried_again(stage: Stage) -> None:
    ghost = Flow.from_dict(ONE.to_dict() | {"id": "ghost"})
    stage.start_unpublished(ghost)
    store = stage.watched()
    stage.run(stage.runner(store=store))
    until(lambda: store.calls["get_version"] > 1, seconds=PATIENCE)
    stage.store.insert_flow(ghost, publish=True)
    stage.wait_for("completed")


def test_a_claim_that_waited_for_the_write_lock_takes_no_live_lease(stage: Stage) -> None:
    """Its idea of now is older than the lease that was given while it waited."""
    stage.start(ONE)
    early = ManualClock(stage.clock.now())
    now = stage.clock.advance(timedelta(milliseconds=20))
    (claim,) = stage.store.claim("a", now=now, lease_ms=30_000, limit=9)
    assert claim.head.id == "x0"
    assert not stage.store.claim("b", now=early.now(), lease_ms=30_000, limit=9)
