"""Outcomes that choose the way out, or the moment at which the branch goes on."""

from __future__ import annotations

from datetime import timedelta

from flowkit import engine
from flowkit.nodetype import Outcome
from tests.engine.driver import SAY, Worker, World, flow_of

CAP = ("FREQUENCY_CAP", {"maximum": 1, "period": "day"})
LIMIT = ("RATE_LIMIT", {"key": "crm", "perSecond": 1})
CAPPED = flow_of(
    {"cap": CAP, "say": SAY}, "start > cap", "cap:allowed > say > end", "cap:suppressed > end"
)
LIMITED = flow_of({"limit": LIMIT, "say": SAY}, "start > limit > say > end")
HELD = Outcome("suppressed", result={"count": 1}, handle="suppressed")
FREE = Outcome("completed", result={"count": 1})


def test_a_suppressed_run_leads_its_own_way() -> None:
    world = World(CAPPED, outcomes=lambda performance: HELD)
    execution = world.run()
    assert execution.status == "completed"
    assert world.nodes == {"start": "completed", "cap": "suppressed", "end": "completed"}
    run = world.run_of("cap")
    assert (run.source_handle, run.result) == ("suppressed", {"count": 1})
    assert run.end_time == world.now


def test_without_a_word_the_effects_own_way_is_taken() -> None:
    world = World(CAPPED, outcomes=lambda performance: FREE)
    world.run()
    assert world.nodes["say"] == "completed"
    assert world.run_of("cap").source_handle == "allowed"


def test_a_way_that_leads_nowhere_fails_the_run() -> None:
    world = World(CAPPED, outcomes=lambda p: Outcome("completed", handle="nowhere"))
    assert world.run().status == "failed"
    assert world.error("cap") == "handle_unconnected"


def test_the_branch_goes_on_when_the_outcome_says() -> None:
    world = World(LIMITED)
    later = world.now + timedelta(seconds=3, microseconds=10)
    world.outcomes = lambda p: Outcome("completed", result={"until": 1}, until=later)
    assert world.run().status == "delayed"
    run = world.run_of("limit")
    assert (run.status, run.end_time, run.result) == ("waiting", None, {"until": 1})
    (branch,) = world.execution.branches
    assert branch.resume_at == world.now + timedelta(seconds=3, milliseconds=1)
    assert branch.resume_data == {"nextNodeIds": ["say"], "context": {}, "branchId": "root"}
    world.wait(seconds=3)
    assert world.run().status == "delayed", "not before its time"
    world.wait(seconds=1)
    world.outcomes = lambda p: FREE
    assert world.run().status == "completed"
    assert world.run_of("limit").end_time == world.now
    assert [performance.key for performance in world.performed] == ["x_limit", "x_say"]


def test_a_moment_that_is_past_is_no_wait() -> None:
    world = World(LIMITED)
    world.outcomes = lambda p: Outcome("completed", until=world.now)
    assert world.run().status == "completed"


def test_evidence_keeps_the_way_and_leaves_a_wait_to_who_asks_again() -> None:
    world = World(CAPPED)
    worker = Worker(world)
    worker.claim()
    worker.turn()
    (performance,) = worker.flying
    run = world.run_of("cap")
    waits = Outcome("completed", until=world.now + timedelta(days=1))
    assert engine.evidence("x", run, 0, waits, world.now) is None
    assert world.offer(performance, HELD)
    world.wait(minutes=5)
    world.outcomes = lambda p: FREE
    assert world.run("b").status == "completed"
    assert world.nodes == {"start": "completed", "cap": "suppressed", "end": "completed"}
    assert world.sent() == ["x_cap"], "what is known is not asked again"
