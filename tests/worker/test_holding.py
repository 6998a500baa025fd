"""A paused flow: its executions are held where they are, and nothing stays held without reason."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

import flowkit as fk
from flowkit.execution import BranchRef
from flowkit.flow import Flow
from flowkit.nodetype import Outcome
from flowkit.testing import EPOCH, check_invariants
from service.worker import holding
from service.worker.holding import Holding
from tests.processes import until
from tests.worker.stage import PATIENCE, Pool, Stage, Watched, fork, messages, published

TWO = messages("first", "second")
DELAYED = published(fk.Flow("Delay", trigger="test").delay(seconds=60, id="wait").end())
READS_ALWAYS = {"sweep_seconds": 0.0}
"""A worker that looks at every step which flows are paused."""


def pause(stage: Stage, flow: Flow, paused: bool = True) -> None:
    stored, revision = stage.store.get_flow(str(flow.id))
    stage.store.replace_flow(stored.replace(is_paused=paused), revision=revision, publish=False)


def resume(stage: Stage, flow: Flow) -> None:
    pause(stage, flow, False)


def noticed(store: Watched) -> None:
    """Wait until a worker has read which flows are paused."""
    seen = store.calls["paused_flows"]
    until(lambda: store.calls["paused_flows"] >= seen + 2, seconds=PATIENCE)


def goes_on(stage: Stage, flow: Flow, status: str = "completed") -> None:
    """Resume, and sweep until the worker, which may park once more, has gone on to the end."""
    resume(stage, flow)
    until(lambda: sweep(stage) or stage.statuses()[status], seconds=PATIENCE)


def sweep(stage: Stage) -> bool:
    """Do the chore once."""
    return Holding(stage.store, ring=lambda: None)(stage.clock.now())


def parked(stage: Stage, name: str = "x0") -> bool:
    """Whether an execution is ready and nobody finds it."""
    ready = all(b.status in ("ready", "forked") for b in stage.execution(name).branches)
    nobody = not stage.store.claim("z", now=stage.clock.now(), lease_ms=1000, limit=100)
    return ready and nobody


def test_what_is_triggered_while_paused_waits_and_then_goes_on(stage: Stage) -> None:
    stage.start(TWO)
    pause(stage, TWO)
    worker = stage.watched()
    stage.run(stage.runner(store=worker))
    until(lambda: stage.store.held_flows() == {TWO.id}, seconds=PATIENCE)
    assert parked(stage)
    assert worker.calls["release"] == 1, "it is not claimed and given back again and again"
    assert stage.store.next_due(now=EPOCH) is None, "nobody is woken for it"
    assert not sweep(stage)
    assert stage.store.held_flows() == {TWO.id}, "it is still paused"
    assert stage.effects.performed == []
    goes_on(stage, TWO)
    assert stage.effects.performed == ["x0_first", "x0_second"]
    assert stage.store.held_flows() == frozenset()


def test_an_effect_under_way_is_recorded_and_nothing_follows(stage: Stage) -> None:
    gate = stage.effects.hold("first")
    stage.start(TWO)
    store = stage.watched()
    stage.run(stage.runner(store=store))
    until(lambda: stage.effects.active, seconds=PATIENCE)
    pause(stage, TWO)
    noticed(store)
    gate.set()
    until(lambda: stage.store.held_flows(), seconds=PATIENCE)
    assert stage.run_of("first").status == "completed"
    assert stage.run_of("second") is None
    goes_on(stage, TWO)
    assert stage.effects.performed == ["x0_first", "x0_second"]
    check_invariants(stage.execution())


def test_others_are_not_held(stage: Stage) -> None:
    other = messages("other")
    stage.start(TWO, prefix="p")
    pause(stage, TWO)
    stage.start(other, 3)
    stage.run(stage.runner())
    stage.wait_for("completed", 3)
    until(lambda: stage.store.held_flows() == {TWO.id}, seconds=PATIENCE)


def test_a_delay_runs_on_and_is_due_at_resume(stage: Stage) -> None:
    stage.start(DELAYED)
    store = stage.watched()
    stage.run(stage.runner(store=store))
    stage.wait_for("delayed")
    before = stage.execution()
    pause(stage, DELAYED)
    noticed(store)
    assert stage.execution() == before, "pausing touches nothing that waits"
    stage.clock.advance(timedelta(seconds=61))
    until(lambda: stage.store.held_flows(), seconds=PATIENCE)
    assert stage.run_of("wait").status == "waiting"
    stage.clock.advance(timedelta(seconds=29))
    goes_on(stage, DELAYED)
    assert stage.run_of("wait").end_time == EPOCH + timedelta(seconds=90)


def test_parallel_branches_are_held_each_where_it_is(stage: Stage) -> None:
    flow = fork(4)
    gate = stage.effects.hold("x0")
    stage.start(flow)
    store = stage.watched()
    stage.run(stage.runner(store=store, concurrency=2))
    until(lambda: len(stage.effects.active) == 2, seconds=PATIENCE)
    pause(stage, flow)
    noticed(store)
    gate.set()
    until(lambda: not stage.leases() and stage.store.held_flows(), seconds=PATIENCE)
    assert len(stage.effects.performed) == 2
    goes_on(stage, flow)
    assert sorted(stage.effects.performed) == [f"x0_m{i}" for i in range(4)]
    check_invariants(stage.execution())


# ------------------------------------------------------------------------ races


def test_what_a_worker_parks_after_the_resumption_is_freed_by_the_next_sweep(
    stage: Stage,
) -> None:
    """The worker saw the pause, slept, and parks when flow and sweep are long past it."""
    stage.start(TWO)
    pause(stage, TWO)
    between = stage.watched()
    worker = stage.runner(store=between, **READS_ALWAYS)

    def meanwhile(claims: list[Any]) -> None:
        if claims:
            resume(stage, TWO)
            assert not sweep(stage)

    between.after["claim"] = meanwhile
    worker.step(Pool())  # type: ignore[arg-type]
    assert parked(stage), "too late"
    sweep(stage)
    pool = Pool()
    worker.wake()
    worker._collect(0)
    worker.step(pool)  # type: ignore[arg-type]
    assert len(pool.kept) == 1, "the first message is under way"


@pytest.mark.parametrize("moment", ["held_flows", "paused_flows", "unhold"])
def test_a_pause_in_the_middle_of_a_sweep_holds(stage: Stage, moment: str) -> None:
    stage.start(TWO)
    pause(stage, TWO)
    worker = stage.runner(**READS_ALWAYS)
    worker.step(Pool())  # type: ignore[arg-type]
    assert parked(stage)
    resume(stage, TWO)
    between = stage.watched()
    between.before[moment] = lambda: pause(stage, TWO)
    Holding(between, ring=lambda: None)(stage.clock.now())  # type: ignore[arg-type]
    pool = Pool()
    worker.wake()
    worker._collect(0)
    worker.step(pool)  # type: ignore[arg-type]
    assert pool.kept == []
    assert parked(stage)
    assert stage.store.held_flows() == {TWO.id}, "and it will be found"


def test_a_worker_that_lost_its_lease_parks_nothing(stage: Stage) -> None:
    stage.start(TWO)
    pause(stage, TWO)
    slow = stage.watched()
    later = EPOCH + timedelta(seconds=31)

    def another_takes_it() -> None:
        assert stage.store.claim("b", now=later, lease_ms=30_000, limit=9)

    slow.before["release"] = another_takes_it
    stage.runner(store=slow).step(Pool())  # type: ignore[arg-type]
    assert stage.store.held_flows() == frozenset()
    assert stage.leases() == [("x0", "root")]


def test_a_store_that_fails_while_parking_only_delays_it(stage: Stage) -> None:
    stage.start(TWO)
    pause(stage, TWO)
    store = stage.watched()
    store.failing.add("release")
    stage.run(stage.runner(store=store))
    until(lambda: store.failures, seconds=PATIENCE)
    store.failing.clear()
    until(lambda: stage.store.held_flows(), seconds=PATIENCE)
    assert parked(stage)


# ------------------------------------------------------- what is possible meanwhile


def test_what_is_parked_can_be_cancelled(stage: Stage) -> None:
    stage.start(DELAYED)
    stage.run(stage.runner())
    stage.wait_for("delayed")
    pause(stage, DELAYED)
    stage.clock.advance(timedelta(seconds=61))
    until(lambda: stage.store.held_flows(), seconds=PATIENCE)
    stage.cancel()
    assert stage.execution().status == "cancelled"
    check_invariants(stage.execution())
    resume(stage, DELAYED)
    sweep(stage)
    assert stage.store.held_flows() == frozenset()
    assert stage.store.next_due(now=stage.clock.now()) is None


def test_a_retry_waits_for_the_resumption(stage: Stage) -> None:
    refusal = {"code": "131026", "message": "No.", "transient": False}
    stage.effects.answer = lambda performance: Outcome("failed", error=refusal)
    stage.start(TWO)
    store = stage.watched()
    stage.run(stage.runner(store=store))
    stage.wait_for("failed")
    pause(stage, TWO)
    noticed(store)
    stage.retry()
    until(lambda: stage.store.held_flows(), seconds=PATIENCE)
    assert stage.effects.performed == ["x0_first"]
    stage.effects.answer = lambda performance: Outcome("completed")
    goes_on(stage, TWO)
    assert stage.effects.performed == ["x0_first", "x0_first", "x0_second"]


def test_a_deleted_flow_leaves_nothing_held(stage: Stage) -> None:
    stage.start(TWO)
    pause(stage, TWO)
    stage.runner().step(Pool())  # type: ignore[arg-type]
    assert parked(stage)
    stage.cancel()
    stage.store.delete_flow(str(TWO.id))
    assert stage.store.held_flows() == {TWO.id}
    sweep(stage)
    assert stage.store.held_flows() == frozenset()


def test_an_effect_that_a_crash_left_open_is_settled_at_the_resumption(stage: Stage) -> None:
    stage.start(TWO)
    crashed = stage.runner("crashed", **READS_ALWAYS)
    crashed.step(Pool())  # type: ignore[arg-type]
    assert stage.run_of("first").status == "running"
    pause(stage, TWO)
    stage.clock.advance(timedelta(seconds=31))
    stage.run(stage.runner("b"))
    until(lambda: stage.store.held_flows(), seconds=PATIENCE)
    assert stage.run_of("first").status == "running", "it is neither sent nor given up meanwhile"
    goes_on(stage, TWO, "failed")
    assert stage.run_of("first").error["code"] == "outcome_unknown"


def test_a_sweep_frees_a_batch_and_says_that_there_is_more(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holding, "EXECUTIONS_AT_ONCE", 2)
    stage.start(TWO, 5)
    claims = stage.store.claim("a", now=EPOCH, lease_ms=1000, limit=9)
    stage.store.release(
        [BranchRef(c.head.id, b.branch_id, b.epoch) for c in claims for b in c.branches.values()],
        now=EPOCH,
        hold=True,
    )
    rings: list[None] = []
    chore = Holding(stage.store, ring=lambda: rings.append(None))
    assert [chore(EPOCH) for _ in range(4)] == [True, True, False, False]
    assert len(rings) == 3
    assert len(stage.store.claim("a", now=EPOCH, lease_ms=1000, limit=9)) == 5
