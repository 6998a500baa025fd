"""The worker's loop: claims, effects, commits, and when it looks for work."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest

import flowkit as fk
from flowkit.clock import SystemClock
from flowkit.engine import Limits, Performance
from flowkit.flow import Flow
from flowkit.nodetype import Outcome
from flowkit.testing import EPOCH, check_invariants
from tests.processes import until
from tests.worker.stage import (
    DONE,
    PATIENCE,
    CountingClock,
    Effects,
    Stage,
    fork,
    messages,
    published,
)

ONE = messages("first")
TWO = messages("first", "second")
SLEEPY = {"sweep_seconds": 60.0, "lease_seconds": 600.0}
"""A worker that neither sweep nor heartbeat wakes while a test lasts."""


def delayed(seconds: float) -> Flow:
    return published(fk.Flow("Delay", trigger="test").delay(seconds=seconds, id="wait").end())


# ---------------------------------------------------------------------- effects


def test_effects_of_a_claimed_batch_run_at_once(stage: Stage) -> None:
    meeting = threading.Barrier(8)

    def meet(performance: Performance) -> Outcome:
        meeting.wait(PATIENCE)
        return DONE

    stage.effects.answer = meet
    stage.start(ONE, 8)
    stage.run(stage.runner(concurrency=8))
    stage.wait_for("completed", 8)


def test_effects_of_one_execution_run_at_once(stage: Stage) -> None:
    meeting = threading.Barrier(3)
    stage.effects.answer = lambda performance: (meeting.wait(PATIENCE), DONE)[1]
    stage.start(fork(3))
    stage.run(stage.runner())
    stage.wait_for("completed")
    assert stage.run_of("end_1").arrival_count == 3


def test_nothing_is_begun_without_a_thread_for_it(stage: Stage) -> None:
    gate = stage.effects.hold("first")
    stage.start(ONE, 10)
    worker = stage.run(stage.runner(concurrency=3))
    until(lambda: len(stage.effects.active) == 3, seconds=PATIENCE)
    worker.wake()
    begun = stage.rows("SELECT execution_id FROM node_runs WHERE node_id='first'")
    assert {f"{name}_first" for (name,) in begun} == stage.effects.active
    assert len(stage.leases()) == 3, "the rest is there for others"
    gate.set()
    stage.wait_for("completed", 10)
    assert sorted(stage.effects.performed) == [f"x{i}_first" for i in range(10)]
    assert stage.effects.most == 3


def test_a_fork_wider_than_the_worker_leaves_the_rest_to_others(stage: Stage) -> None:
    others = Effects()
    gate = stage.effects.hold("x0")
    stage.start(fork(5))
    stage.run(stage.runner(concurrency=2))
    until(lambda: len(stage.effects.active) == 2, seconds=PATIENCE)
    stage.run(stage.runner("b", effects=others))
    until(lambda: len(others.performed) == 3, seconds=PATIENCE)
    gate.set()
    stage.wait_for("completed")
    performed = stage.effects.performed + others.performed
    assert sorted(performed) == [f"x0_m{i}" for i in range(5)]


def test_branches_are_claimed_beside_those_of_the_same_execution(stage: Stage) -> None:
    gate = stage.effects.hold("m0")
    stage.start(fork(6))
    stage.run(stage.runner(concurrency=2))
    others = {f"x0_m{i}" for i in range(1, 6)}
    until(lambda: others <= set(stage.effects.performed), seconds=PATIENCE)
    gate.set()
    stage.wait_for("completed")
    assert sorted(stage.effects.performed) == [f"x0_m{i}" for i in range(6)]
    check_invariants(stage.execution())


def test_a_slow_effect_holds_up_nobody_else(stage: Stage) -> None:
    gate = stage.effects.hold("x0")
    stage.start(TWO, 5)
    stage.run(stage.runner(concurrency=4))
    stage.wait_for("completed", 4)
    assert stage.run_of("first").status == "running"
    assert stage.start(delayed(1), prefix="later")
    stage.wait_for("delayed")
    gate.set()
    stage.wait_for("completed", 5)


@pytest.mark.parametrize("error", [RuntimeError("broke"), SystemExit(3)])
def test_an_effect_that_breaks_off_is_unknown(stage: Stage, error: BaseException) -> None:
    def break_off(performance: Performance) -> Outcome:
        raise error

    stage.effects.answer = break_off
    stage.start(TWO)
    stage.run(stage.runner(concurrency=1))
    stage.wait_for("failed")
    run = stage.run_of("first")
    assert run.error["code"] == "outcome_unknown"
    assert "the channel broke off" in run.error["message"]
    assert stage.effects.performed == ["x0_first"]
    stage.effects.answer = lambda performance: DONE
    stage.start(ONE, prefix="next")
    stage.wait_for("completed")


def test_what_is_to_be_sent_again_is(stage: Stage) -> None:
    def answer(performance: Performance) -> Outcome:
        if performance.attempt < 2:
            raise RuntimeError("broke")
        return DONE

    stage.effects.answer = answer
    flow = fk.Flow("Resend", trigger="test").send(text="a", id="first", on_unknown="resend")
    stage.start(published(flow.end()))
    stage.run(stage.runner())
    stage.wait_for("completed")
    assert stage.effects.performed == ["x0_first"] * 3


def test_a_node_of_a_type_unknown_to_this_worker_fails_and_says_so(stage: Stage) -> None:
    document = ONE.to_dict()
    document["nodes"][1] |= {"type": "TELEPORT"}
    strange = Flow.from_dict(document | {"id": "strange"})
    stage.start(strange, prefix="strange")
    stage.start(ONE)
    stage.run(stage.runner())
    stage.wait_for("completed")
    stage.wait_for("failed")
    assert "TELEPORT" in stage.run_of("first", "strange0").error["message"]


# ---------------------------------------------------------------- several workers


def test_two_workers_share_the_work_and_nothing_runs_twice(stage: Stage) -> None:
    both = threading.Barrier(2)
    crews = [Effects(), Effects()]
    for crew in crews:

        def meet(performance: Performance, crew: Effects = crew) -> Outcome:
            if crew.performed[0] == performance.key:
                both.wait(PATIENCE)
            return DONE

        crew.answer = meet
    stage.start(TWO, 40)
    for owner, crew in zip("ab", crews, strict=True):
        stage.run(stage.runner(owner, effects=crew, batch=4, concurrency=2))
    stage.wait_for("completed", 40)
    performed = crews[0].performed + crews[1].performed
    assert len(performed) == len(set(performed)) == 80
    assert all(crew.performed for crew in crews)
    for i in range(40):
        check_invariants(stage.execution(f"x{i}"))


@pytest.mark.parametrize(("limit", "shared"), [(4, True), (5, False)])
def test_a_fork_of_the_limit_is_shared(stage: Stage, limit: int, shared: bool) -> None:
    rings: list[int] = []
    stage.start(fork(4))
    stage.run(stage.runner(limits=Limits(fork_queue=limit), ring=lambda: rings.append(1)))
    stage.wait_for("completed")
    assert bool(rings) == shared
    assert sorted(stage.effects.performed) == [f"x0_m{i}" for i in range(4)]


def test_branches_of_one_execution_run_on_two_workers(stage: Stage) -> None:
    """And meet: the node behind both runs once, whoever comes second merges."""
    both = threading.Barrier(2)
    crews = [Effects(), Effects()]

    def meet(performance: Performance) -> Outcome:
        if not performance.key.endswith("_meet"):
            both.wait(PATIENCE)
        return DONE

    flow = fork(2).to_dict()
    flow["nodes"].append({**flow["nodes"][1], "id": "meet"})
    for edge in flow["edges"]:
        if edge["target"] == "end_1":
            edge["target"] = "meet"
    flow["edges"].append({"id": "last", "source": "meet", "target": "end_1"})
    stage.start(Flow.from_dict(flow))
    for owner, crew in zip("ab", crews, strict=True):
        crew.answer = meet
        stage.run(stage.runner(owner, effects=crew, concurrency=1, limits=Limits(fork_queue=2)))
    stage.wait_for("completed")
    performed = crews[0].performed + crews[1].performed
    assert sorted(performed) == ["x0_m0", "x0_m1", "x0_meet"]
    assert sorted(b.status for b in stage.execution().branches) == [
        "completed",
        "forked",
        "merged",
    ]


def test_more_work_than_a_batch_rings_for_others(stage: Stage) -> None:
    rung = threading.Event()
    stage.start(delayed(1), 5)
    stage.run(stage.runner(batch=5, ring=rung.set))
    assert rung.wait(PATIENCE)


def test_less_work_than_a_batch_rings_for_nobody(stage: Stage) -> None:
    rung = threading.Event()
    stage.start(delayed(1), 4)
    stage.run(stage.runner(batch=5, ring=rung.set))
    stage.wait_for("delayed", 4)
    assert not rung.is_set()


# --------------------------------------------------------------- looking for work


def test_a_bell_ends_the_sleep(stage: Stage) -> None:
    store = stage.watched()
    worker = stage.run(stage.runner(store=store, **SLEEPY, clock=SystemClock()))
    until(lambda: store.calls["next_due"], seconds=PATIENCE, what="the worker sleeps")
    stage.start(ONE)
    worker.wake()
    stage.wait_for("completed")


def test_work_for_which_nobody_rang_is_found(stage: Stage) -> None:
    store = stage.watched()
    stage.run(stage.runner(store=store))
    until(lambda: store.calls["next_due"], seconds=PATIENCE, what="the worker sleeps")
    stage.start(ONE)
    stage.wait_for("completed")


def test_a_delay_ends_when_it_is_due_and_not_before(stage: Stage) -> None:
    stage.start(delayed(600))
    stage.run(stage.runner())
    stage.wait_for("delayed")
    stage.clock.advance(timedelta(seconds=599.999))
    counted = CountingClock(stage.clock)
    stage.run(stage.runner("b", clock=counted))
    until(lambda: counted.reads > 10, seconds=PATIENCE)
    assert stage.statuses() == {"delayed": 1}
    stage.clock.advance(timedelta(seconds=0.001))
    stage.wait_for("completed")
    assert stage.run_of("wait").end_time == EPOCH + timedelta(seconds=600)


def test_a_delay_ends_without_a_bell_long_before_the_sweep(stage: Stage) -> None:
    clock = SystemClock()
    stage.clock = clock  # type: ignore[assignment]
    stage.start(delayed(0.3))
    stage.run(stage.runner(**SLEEPY))
    stage.wait_for("completed")
    run = stage.run_of("wait")
    assert run.end_time - run.start_time >= timedelta(seconds=0.3)


def test_a_worker_that_is_kept_busy_looks_for_what_is_due(stage: Stage) -> None:
    """Outcomes that come all the time must not put off a delay that ends."""
    chain = [f"m{i}" for i in range(80)]
    pause = threading.Event()

    def answer(performance: Performance) -> Outcome:
        if performance.key == "x0_m3":
            stage.clock.advance(timedelta(seconds=10))
        pause.wait(0.005)
        return DONE

    stage.effects.answer = answer
    later = fk.Flow("Later", trigger="test").delay(seconds=10).send(text="b", id="later")
    stage.start(published(later.end(), "later"), prefix="delayed")
    stage.start(messages(*chain))
    stage.run(stage.runner())
    stage.wait_for("completed", 2)
    assert stage.effects.performed.index("delayed0_later") < len(chain), "not the last of all"


@pytest.mark.parametrize("what", ["idle", "full", "stopping", "resting"])
def test_a_worker_with_nothing_to_do_does_nothing(
    stage: Stage, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.worker.runner.PAUSE_AFTER_ERROR_SECONDS", 60.0)
    clock = CountingClock(stage.clock)
    worker = stage.runner(clock=clock, concurrency=1)
    if what == "resting":
        stage.start_unpublished(ONE)
    elif what != "idle":
        stage.effects.hold("first")
        stage.start(ONE, 3)
    stage.run(worker)
    if what in ("full", "stopping"):
        until(lambda: stage.effects.active, seconds=PATIENCE)
    if what == "stopping":
        worker.stop()
    until(lambda: clock.reads > 6, seconds=PATIENCE, what="the worker goes round")
    before = clock.reads
    threading.Event().wait(0.3)  # a worker that spins goes round thousands of times in it
    assert clock.reads - before < 60
    stage.effects.release()


# ------------------------------------------------------------------------ the end


def test_a_worker_that_stops_finishes_what_is_under_way_and_holds_nothing(stage: Stage) -> None:
    gate = stage.effects.hold("x0")
    stage.start(TWO)
    worker = stage.run(stage.runner())
    until(lambda: stage.effects.active, seconds=PATIENCE)
    worker.stop()
    stage.start(ONE, prefix="late")
    worker.wake()
    gate.set()
    stage.stopped(worker)
    assert stage.effects.performed == ["x0_first"]
    assert stage.run_of("first").status == "completed"
    assert stage.leases() == []
    (branch,) = stage.execution("x0").branches
    assert (branch.status, branch.current_node_id) == ("ready", "second")
    assert not stage.execution("late0").executed_nodes, "nothing is claimed any more"
    stage.run(stage.runner("b"))
    stage.wait_for("completed", 2)
    assert stage.effects.performed.count("x0_first") == 1


def test_an_idle_worker_stops_at_once(stage: Stage) -> None:
    store = stage.watched()
    worker = stage.run(stage.runner(store=store, **SLEEPY))
    until(lambda: store.calls["next_due"], seconds=PATIENCE, what="the worker sleeps")
    worker.stop()
    stage.stopped(worker)
