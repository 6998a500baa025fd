"""What a commit answers, guard by guard, and how the engine goes on after each refusal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from flowkit import engine
from flowkit.engine import Limits, Resume
from flowkit.execution import Arrival, Branch, Move, NodeRun, Patch, Settle, judge
from flowkit.testing import EPOCH
from tests.engine.driver import COIN, LEASE, REFUSED, SAY, Worker, World, delay, flow_of

MEET = flow_of(
    {"a": COIN, "b": COIN, "meet": SAY},
    *("start > a:true > meet", "start > b:true > meet", "meet > end"),
)

# -- the guards


def run_of(status: str = "running", retry_count: int = 0, key: str = "x_n") -> NodeRun:
    return NodeRun(
        node_id="n",
        branch_id="root",
        status=status,  # type: ignore[arg-type]
        start_time=EPOCH,
        idempotency_key=key,
        retry_count=retry_count,
    )


ROOT = Branch(branch_id="root", status="running", current_node_id="n", path=["n"], epoch=3)
MOVE = Move(ROOT, 3)
SETTLE = Settle(run_of("completed"), "running", 0)


def judged(patch: Patch, **recorded: Any) -> str:
    known: dict[str, Any] = {
        "status": "running",
        "revision": 5,
        "epochs": {"root": 3},
        "runs": {"x_n": run_of()},
    }
    return judge(patch, **(known | recorded)).outcome


@pytest.mark.parametrize(
    ("patch", "recorded", "outcome"),
    [
        (Patch("x"), {}, "ok"),
        (Patch("x", move=[MOVE]), {}, "ok"),
        (Patch("x", move=[MOVE]), {"epochs": {"root": 4}}, "fenced"),
        (Patch("x", move=[MOVE]), {"epochs": {"root": 2}}, "fenced"),
        (Patch("x", move=[MOVE]), {"epochs": {}}, "fenced"),
        (Patch("x", append=[run_of()]), {}, "lost"),
        (Patch("x", append=[run_of()]), {"runs": {}}, "ok"),
        (Patch("x", settle=[SETTLE]), {}, "ok"),
        (Patch("x", settle=[SETTLE]), {"runs": {}}, "conflict"),
        (Patch("x", settle=[SETTLE]), {"runs": {"x_n": run_of("failed")}}, "conflict"),
        (Patch("x", settle=[SETTLE]), {"runs": {"x_n": run_of("running", 1)}}, "conflict"),
        (Patch("x", revision=5), {}, "ok"),
        (Patch("x", revision=4), {}, "conflict"),
        (Patch("x", revision=6), {}, "conflict"),
        (Patch("x", revision=0), {"revision": 0}, "ok"),
        (Patch("x", move=[MOVE]), {"status": "cancelled"}, "cancelled"),
        (Patch("x", append=[run_of("running", 0, "x_m")]), {"status": "cancelled"}, "cancelled"),
        (Patch("x", settle=[SETTLE]), {"status": "cancelled"}, "ok"),
        (Patch("x", move=[MOVE]), {"status": "failed"}, "ok"),
        # Who is fenced has lost nothing: another has run the nodes.
        (Patch("x", move=[MOVE], append=[run_of()]), {"epochs": {"root": 4}}, "fenced"),
    ],
)
def test_each_guard(patch: Patch, recorded: dict[str, Any], outcome: str) -> None:
    assert judged(patch, **recorded) == outcome


def test_a_refusal_says_what_is_there() -> None:
    recorded = {"x_n": run_of(), "x_m": run_of(key="x_m")}
    patch = Patch("x", append=[run_of(), run_of(key="x_m"), run_of(key="x_o")])
    answer = judge(patch, status="running", revision=0, epochs={}, runs=recorded)
    assert answer.runs == [recorded["x_n"], recorded["x_m"]]
    moves = [Move(replace(ROOT, branch_id=f"root_{i}"), 1) for i in range(3)]
    epochs = {"root_0": 1, "root_1": 2}
    answer = judge(Patch("x", move=moves), status="running", revision=0, epochs=epochs, runs={})
    assert answer.fenced == ["root_1", "root_2"]


# -- lost


def divided() -> tuple[World, Worker, Worker]:
    """Return a world whose two branches are with two workers, in front of one node."""
    world = World(MEET, limits=Limits(fork_queue=2))
    first, second = Worker(world, "a"), Worker(world, "b")
    first.claim()
    first.turn()
    first.claim(limit=1)
    second.claim(limit=1)
    return world, first, second


def test_who_loses_a_node_merges_there() -> None:
    world, first, second = divided()
    assert first.turn() == "ok"
    assert second.turn() == "lost"
    assert second.turn() == "ok"
    assert world.branches["root_1"] == "merged"
    assert (second.flying, len(first.flying)) == ([], 1)
    first.work()
    assert world.execution.status == "completed"
    assert world.nodes["b"] == "completed", "what it ran before is kept"


def test_who_comes_late_to_a_node_that_has_ended_merges_there_too() -> None:
    world, first, second = divided()
    first.work()
    second.work()
    assert world.answers == ["ok", "ok", "ok", "lost", "ok"]
    assert world.execution.status == "completed"
    assert world.sent() == ["x_meet"]


def test_two_workers_arrive_at_end() -> None:
    flow = flow_of({"a": COIN, "b": COIN}, "start > a:true > end", "start > b:true > end")
    world = World(flow, limits=Limits(fork_queue=2))
    first, second = Worker(world, "a"), Worker(world, "b")
    first.claim()
    first.turn()
    first.claim(limit=1)
    second.claim(limit=1)
    assert (second.turn(), first.turn()) == ("ok", "ok"), "END belongs to nobody"
    assert world.run_of("end").arrivals == ("root_1", "root_0")


# -- fenced


def test_a_fenced_worker_goes_on_with_what_is_still_its_own() -> None:
    flow = flow_of({"a": delay(days=1), "b": SAY}, "start > a > end", "start > b > end")
    world = World(flow, limits=Limits(fork_queue=2))
    world.outcomes = lambda performance: None
    slow, quick = Worker(world, "slow"), Worker(world, "quick")
    slow.claim()
    slow.turn()
    slow.claim()
    world.now += LEASE
    assert quick.claim(limit=1) == 1
    assert quick.turn() == "ok"
    assert slow.turn() == "fenced"
    assert slow.held is not None
    assert list(slow.held.branches) == ["root_1"]
    assert slow.turn() == "ok"
    assert world.branches == {"root": "forked", "root_0": "waiting", "root_1": "running"}


# -- the same patch twice


def arrives() -> World:
    """A forked child whose turn is to arrive at END, beside one that waits."""
    world = World(
        flow_of({"wait": delay(days=1)}, "start > end", "start > wait > end"),
        limits=Limits(fork_queue=2),
    )
    worker = Worker(world)
    worker.claim()
    worker.turn()
    return world


def merges() -> World:
    """A forked child whose turn is to merge where its sibling waits."""
    world = World(
        flow_of({"wait": delay(days=1)}, "start > wait > end", "start > wait"),
        limits=Limits(fork_queue=2),
    )
    worker = Worker(world)
    for _ in range(2):
        worker.claim(limit=1)
        worker.turn()
    return world


def finds_no_room() -> World:
    """A branch in front of an effect for which there is no room."""
    world = World(flow_of({"hello": SAY}, "start > hello > end"), limits=Limits(effects=0))
    worker = Worker(world)
    worker.claim()
    worker.turn()
    return world


def waits_on() -> World:
    """A branch that was claimed for its time, whereupon the clock went back."""
    world = World(flow_of({"wait": delay(days=1)}, "start > wait > end"))
    world.run()
    world.wait(days=1)
    return world


def fails_late() -> World:
    """A branch whose effect is known, by evidence, to have failed."""
    world = World(flow_of({"hello": SAY}, "start > hello > end"), outcomes=lambda p: None)
    worker = Worker(world)
    worker.claim()
    worker.work()
    world.now += LEASE
    world.offer(worker.flying[0], REFUSED)
    return world


@pytest.mark.parametrize("make", [arrives, merges, finds_no_room, waits_on, fails_late])
def test_a_patch_whose_answer_was_lost_is_not_taken_twice(make: Callable[[], World]) -> None:
    """Also one that appends and settles nothing, and so has only its branches as guards."""
    world = make()
    claims = world.store.claim("z", now=world.now, lease_ms=30_000, limit=1)
    (claim,) = claims
    if make is waits_on:
        world.wait(hours=-1)
    turn = engine.advance(
        world.flow, claim, [Resume(b) for b in claim.branches], now=world.now, limits=world.limits
    )
    assert not turn.patch.append
    assert not turn.patch.settle
    assert world.commit(turn.patch).outcome == "ok"
    once = world.execution
    assert world.commit(turn.patch).outcome == "fenced"
    assert world.execution == once


def test_arrivals_are_counted_once_however_often_they_come() -> None:
    world = World(flow_of({"a": COIN}, "start > a:true > end"))
    world.run()
    arrival = Arrival(world.run_of("end"), ("root",))
    world.store.commit([Patch("x", arrive=[arrival, arrival])], now=world.now)
    assert world.run_of("end").arrival_count == 1
