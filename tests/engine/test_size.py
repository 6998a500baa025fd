"""The limit of an execution's growth: what it counts, and that reaching it is visible."""

from __future__ import annotations

from typing import Any

import pytest

from flowkit import engine
from flowkit.engine import Limits
from flowkit.errors import Invalid
from flowkit.execution import Execution
from flowkit.nodetype import Outcome
from flowkit.size import RESERVED_BYTES, size_of_execution
from flowkit.testing import EPOCH
from flowkit.wire import canonical, to_wire
from tests.engine.driver import (
    LEASE,
    PAYLOAD,
    REFUSED,
    SAY,
    SENT,
    Worker,
    World,
    begun,
    delay,
    flow_of,
)

SET = ("TEST_REMEMBER", {"name": "a", "value": "{{ trigger.text }}"})
"""Keeps the trigger's text twice: as a variable and as a result."""


def payload(characters: int) -> dict[str, Any]:
    return PAYLOAD | {"text": "x" * characters}


def limited(flow: Any, most: int, characters: int = 0, **more: Any) -> World:
    return World(flow, payload=payload(characters), limits=Limits(execution_bytes=most), **more)


def test_what_is_counted_is_what_is_kept() -> None:
    """Every world of these tests recounts, and the count is near the record's real size."""
    flow = flow_of(
        {"set": SET, "wait": delay(days=1), "hello": SAY, "b": SAY},
        *("start > set > wait > hello > end", "wait > b > end"),
    )
    world = limited(flow, 2**20, 5_000, outcomes=lambda p: REFUSED if p.attempt == 0 else SENT)
    seen = [world.execution.bytes]
    for step in (lambda: None, lambda: world.wait(days=1), world.retry):
        step()
        world.run()
        seen.append(world.execution.bytes)
    execution = world.execution
    assert execution.status == "completed"
    assert seen == sorted(seen)
    assert execution.bytes == size_of_execution(execution)
    real = len(canonical(to_wire(execution))) + sum(
        len(canonical(b.vars)) for b in execution.branches
    )
    assert 0.7 < execution.bytes / real < 1.5


def test_a_branch_for_which_there_is_no_room_fails_where_it_is() -> None:
    nodes = {f"n{i}": SET for i in range(10)}
    world = limited(flow_of(nodes, f"start > {' > '.join(nodes)} > end"), 40_000, 4_000)
    assert world.run().status == "failed"
    *passed, last = world.execution.executed_nodes
    assert {run.status for run in passed} == {"completed"}
    assert (last.status, world.error(last.node_id)) == ("failed", "execution_too_large")
    assert 3 < len(passed) < 9
    assert 30_000 < world.execution.bytes <= 40_000, "with the record of the failure"
    assert "end" not in world.nodes
    world.limits = Limits()
    world.retry()
    assert world.run().status == "completed"


def test_no_effect_begins_without_room_for_its_outcome() -> None:
    nodes = {f"n{i}": SAY for i in range(9)}
    world = limited(flow_of(nodes, f"start > {' > '.join(nodes)} > end"), 5_000)
    assert world.run().status == "failed"
    assert 0 < len(world.performed) < 9
    assert world.execution.bytes <= 5_000
    failed = world.execution.executed_nodes[-1].idempotency_key
    assert failed not in world.sent()


def test_an_outcome_too_large_for_the_room_that_is_left_does_not_undo_what_happened() -> None:
    large = Outcome("completed", result={"text": "x" * 9_000})
    world = limited(
        flow_of({"hello": SAY, "more": SAY}, "start > hello > more > end"),
        10_000,
        outcomes=lambda p: large,
    )
    world.run()
    assert list(world.run_of("hello").result or {}) == ["omitted"]
    assert world.nodes["hello"] == "completed"
    assert world.execution.bytes <= 10_000


@pytest.mark.parametrize("children", [2, 40])
def test_a_fork_with_large_variables_is_not_made(children: int) -> None:
    nodes = {"set": SET, **{f"n{i}": SAY for i in range(children)}}
    ways = ["start > set", *(f"set > n{i} > end" for i in range(children))]
    world = limited(flow_of(nodes, *ways), 2**17, 8_000)
    execution = world.run()
    if children == 2:
        assert execution.status == "completed"
        return
    assert (execution.status, world.branches) == ("failed", {"root": "failed"})
    assert world.error("set") == "execution_too_large"
    assert execution.bytes < 20_000
    world.limits = Limits()
    world.retry()
    assert world.run().status == "completed"
    assert len(world.branches) == 1 + children


@pytest.mark.parametrize("kind", ["effect", "delay"])
def test_a_fork_behind_what_has_happened_is_not_made_and_what_happened_stays(kind: str) -> None:
    nodes = {"set": SET, "act": SAY if kind == "effect" else delay(days=1)}
    nodes |= {f"n{i}": delay(days=1) for i in range(40)}
    ways = ["start > set > act", *(f"act > n{i} > end" for i in range(40))]
    world = limited(flow_of(nodes, *ways), 2**17, 8_000)
    world.run()
    world.wait(days=1)
    assert world.run().status == "failed"
    run = world.run_of("act")
    assert (run.status, world.error("act")) == ("completed", "execution_too_large")
    assert world.branches == {"root": "failed"}
    world.limits = Limits()
    world.retry()
    assert world.run().status == "delayed"
    run = world.run_of("act")
    assert (run.status, run.error, run.retry_count) == ("completed", None, 0)
    assert world.sent() == (["x_act"] if kind == "effect" else [])


def test_every_branch_can_record_that_there_was_no_room() -> None:
    """Whoever came first has filled the execution; the others still fail visibly and within it."""
    wide = {f"w{i}": SET for i in range(20)}
    nodes = wide | {f"s{i}": delay(days=1) for i in range(20)}
    world = limited(
        flow_of(nodes, *(f"start > s{i} > w{i} > end" for i in range(20))), 70_000, 4_000
    )
    world.run()
    world.wait(days=1)
    execution = world.run()
    assert execution.status == "failed"
    statuses = list(world.branches.values())
    assert (statuses.count("completed") > 0, statuses.count("failed") > 5) == (True, True)
    assert {run.error["code"] for run in execution.executed_nodes if run.error} == {
        "execution_too_large"
    }
    assert execution.bytes <= 70_000


def test_an_execution_whose_payload_leaves_no_room_is_not_started() -> None:
    flow = flow_of({}, "start > end")
    whole = begun(flow, payload(1_000))
    for most, fits in (
        (whole.bytes + RESERVED_BYTES, True),
        (whole.bytes + RESERVED_BYTES - 1, False),
    ):
        limits = Limits(execution_bytes=most)

        def start(limits: Limits = limits) -> Execution | None:
            return engine.start(flow, payload(1_000), execution_id="x", now=EPOCH, limits=limits)

        if fits:
            assert start() == whole
        else:
            with pytest.raises(Invalid, match="bytes") as caught:
                start()
            assert [p.code for p in caught.value.problems] == ["trigger.execution_too_large"]


def test_a_worker_knows_what_its_own_turns_have_taken() -> None:
    """Also before it claims anew: what it holds is not what it claimed."""
    world = limited(flow_of({"hello": SAY}, "start > hello > end"), 2**16)
    worker = Worker(world)
    worker.claim()
    before = world.execution.bytes
    worker.turn()
    assert worker.held is not None
    assert worker.held.head.bytes == world.execution.bytes > before
    world.now += LEASE
    claim = Worker(world, "b")
    claim.claim()
    assert claim.held is not None
    assert claim.held.head.bytes == world.execution.bytes
