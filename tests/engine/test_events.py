"""Waiting for events: those that came before, those that come later, and those that race."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from flowkit import engine
from flowkit.engine import Limits
from flowkit.errors import Invalid
from flowkit.testing import EPOCH
from tests.engine.driver import SAY, Worker, World, delay, flow_of


def wait(event: str = "paid", **config: Any) -> tuple[str, dict[str, Any]]:
    """Return a WAIT_FOR_EVENT of two days, or as the config says."""
    config = config or {"timeout": {"amount": 2, "unit": "days"}}
    if not config.keys() & {"timeout", "never"}:
        config["timeout"] = {"amount": 2, "unit": "days"}
    return ("WAIT_FOR_EVENT", {"event": event, **config})


NODES = {"wait": wait(), "thanks": SAY, "sorry": SAY}
WAYS = ("start > wait:received > thanks > end", "wait:timeout > sorry > end")
FLOW = flow_of(NODES, *WAYS)
PAUSED = flow_of(
    {"pause": delay(days=1), **NODES},
    "start > pause > wait",
    "wait:received > thanks > end",
    WAYS[1],
)


def test_an_event_wakes_the_branch_that_waits_for_it() -> None:
    world = World(FLOW)
    world.run()
    assert world.execution.status == "delayed"
    assert world.execution.resume_at == EPOCH + timedelta(days=2)
    world.wait(hours=5)
    assert world.receive("paid", {"total": 20}) == "ok"
    assert (world.execution.status, world.execution.resume_at) == ("running", None)
    assert world.run().status == "completed"
    run = world.run_of("wait")
    assert (run.source_handle, run.end_time) == ("received", world.now)
    assert run.result == {
        "event": {"total": 20},
        "eventId": "e1",
        "receivedAt": "2026-01-05T14:00:00.000Z",
    }
    assert set(world.nodes) == {"start", "wait", "thanks", "end"}


def test_without_an_event_it_goes_on_when_the_time_is_over() -> None:
    world = World(FLOW)
    world.run()
    assert world.receive("left") == "ignored", "nobody waits for that"
    world.wait(days=2)
    assert world.run().status == "completed"
    assert set(world.nodes) == {"start", "wait", "sorry", "end"}
    assert world.run_of("wait").source_handle == "timeout"
    assert world.receive() == "ignored", "it has ended"


def test_an_event_that_came_before_the_wait_is_seen_on_arrival() -> None:
    world = World(PAUSED)
    world.run()
    assert world.receive("paid", 7) == "ok"
    assert world.execution.status == "delayed", "a delay is none of its business"
    world.wait(days=1)
    assert world.run().status == "completed"
    run = world.run_of("wait")
    assert (run.start_time, run.end_time) == (world.now, world.now)
    assert run.result is not None
    assert run.result["event"] == 7
    assert "thanks" in world.nodes


def test_what_does_not_match_is_let_pass() -> None:
    match = {"and": [{">": [{"var": "event.total"}, 10]},
                     {"==": [{"var": "contact.name"}, {"var": "event.name"}]}]}  # fmt: skip
    world = World(flow_of({**NODES, "wait": wait(match=match)}, *WAYS))
    world.run()
    for payload in ({"total": 5, "name": "Ana"}, {"total": "x", "name": []}, None, [1], "text"):
        assert world.receive("paid", payload) == "ok"
        assert world.execution.status == "delayed"
    assert world.receive("paid", {"total": 11, "name": "Ana"}) == "ok"
    assert world.run().status == "completed"
    assert "thanks" in world.nodes


def test_a_wait_without_end_ends_with_the_event() -> None:
    world = World(flow_of({"wait": wait(never=True)}, "start > wait:received > end"))
    world.run()
    world.wait(days=3_000)
    assert world.run().status == "delayed"
    assert world.execution.resume_at is None
    assert world.receive() == "ok"
    assert world.run().status == "completed"


def test_a_wait_without_end_can_be_cancelled() -> None:
    world = World(flow_of({"wait": wait(never=True)}, "start > wait:received > end"))
    world.run()
    assert world.cancel() == "ok"
    assert world.receive() == "ignored"


def test_an_event_that_is_delivered_again_counts_once() -> None:
    twice = flow_of({"one": wait(), "two": wait()}, "start > one:received > two:received > end",
                    "one:timeout > end", "two:timeout > end")  # fmt: skip
    world = World(twice)
    world.run()
    assert [world.receive(id="a") for _ in range(2)] == ["ok", "ignored"]
    assert world.run().status == "delayed", "one event is not two"
    assert world.receive(id="a") == "ignored"
    assert world.receive(id="b") == "ok"
    assert world.run().status == "completed"


def test_two_waits_in_a_row_take_events_in_whichever_order_they_come() -> None:
    flow = flow_of({"one": wait("paid"), "two": wait("read")},
                   "start > one:received > two:received > end",
                   "one:timeout > end", "two:timeout > end")  # fmt: skip
    world = World(flow)
    world.run()
    assert world.receive("read") == "ok"
    assert world.run().status == "delayed"
    assert world.receive("paid") == "ok"
    assert world.run().status == "completed"
    assert world.run_of("two").source_handle == "received"


def test_parallel_branches_go_on_with_the_same_event() -> None:
    ways = [f"start > {n}:received > end" for n in "ab"] + [f"{n}:timeout > end" for n in "ab"]
    flow = flow_of({"a": wait(), "b": wait()}, *ways)
    world = World(flow)
    world.run()
    assert world.receive() == "ok"
    assert world.run().status == "completed"
    assert {world.run_of(n).source_handle for n in "ab"} == {"received"}


def test_an_event_on_the_way_to_the_wait_is_not_missed() -> None:
    """The worker has decided that the branch waits; before it commits, the event comes."""
    world = World(FLOW)
    worker = Worker(world)
    worker.claim()
    turn = worker.decide()
    assert world.receive() == "ok"
    assert world.commit(turn.patch).outcome == "conflict"
    worker.turn()
    assert world.run("b").status == "completed"
    assert "thanks" in world.nodes


def test_a_message_that_was_sent_on_the_way_to_the_wait_is_not_sent_again() -> None:
    ways = ("start > hello > wait", "wait:received > thanks > end", WAYS[1])
    world = World(flow_of({"hello": SAY, **NODES}, *ways))
    worker = Worker(world)
    worker.claim()
    worker.turn()
    assert world.receive() == "ok"
    worker.work()
    assert world.run("b").status == "completed"
    assert world.sent() == ["x_hello", "x_thanks"]


def test_an_event_that_was_decided_before_the_branch_waits_is_decided_anew() -> None:
    """Both ways round: here the wait is committed first."""
    world = World(FLOW)
    before = world.execution
    world.run()
    event = engine.Received(id="e", type="paid", at=world.now)
    patch = engine.receive(FLOW, before, event, now=world.now)
    assert patch is not None
    assert world.commit(patch).outcome == "conflict"
    assert world.receive() == "ok"
    assert world.run().status == "completed"


@pytest.mark.parametrize("first", ["timeout", "event"])
def test_of_a_timeout_and_an_event_at_once_one_wins(first: str) -> None:
    """Both are decided on the same state; whichever is committed first is right."""
    world = World(FLOW)
    world.run()
    world.wait(days=2)
    worker = Worker(world)
    assert worker.claim() == 1
    turn = worker.decide()
    event = engine.Received(id="e", type="paid", at=world.now - timedelta(milliseconds=1))
    patch = engine.receive(FLOW, world.execution, event, now=world.now)
    assert patch is not None
    both = [turn.patch, patch]
    outcomes = [world.commit(p).outcome for p in (both if first == "timeout" else both[::-1])]
    assert outcomes == ["ok", "conflict"]
    if first == "event":
        assert worker.turn() == "conflict", "it decides on the inbox that it knows"
    else:
        worker.held, worker.flying, worker.events = turn.claim, turn.effects, []
        worker.work()
    assert world.run("b").status == "completed"
    assert [n for n in world.nodes if n in ("thanks", "sorry")] == [
        "sorry" if first == "timeout" else "thanks"
    ]


def test_an_event_after_the_time_is_over_comes_too_late_whoever_works_when() -> None:
    world = World(FLOW)
    world.run()
    world.wait(days=2)
    assert world.receive() == "ok"
    assert world.execution.status == "delayed"
    world.wait(days=1)
    assert world.run().status == "completed"
    assert "sorry" in world.nodes


def test_an_event_just_before_the_time_is_over_wins_although_the_worker_comes_late() -> None:
    world = World(FLOW)
    world.run()
    world.wait(days=2)
    worker = Worker(world)
    assert worker.claim() == 1
    world.now -= timedelta(milliseconds=1)
    assert world.receive() == "ok"
    world.wait(milliseconds=1)
    assert worker.turn() == "conflict"
    assert world.run("b").status == "completed"
    assert "thanks" in world.nodes


def test_a_payload_that_is_too_large_is_left_out_but_wakes() -> None:
    world = World(FLOW, limits=Limits(result_bytes=100))
    world.run()
    assert world.receive("paid", "x" * 200) == "ok"
    assert world.run().status == "completed"
    result = world.run_of("wait").result
    assert result is not None
    assert "200" not in result
    assert result["omitted"].startswith("the result has ")


def test_what_there_is_no_room_for_is_not_kept_but_wakes() -> None:
    world = World(FLOW, limits=Limits(execution_bytes=4_000))
    world.run()
    assert world.receive("paid", "x" * 3_000) == "ok"
    assert world.execution.inbox == []
    assert world.run().status == "completed"
    other = World(PAUSED, limits=Limits(execution_bytes=4_000))
    other.run()
    with pytest.raises(Invalid, match="no room"):
        other.receive("paid", "x" * 3_000)


def test_a_retry_behind_a_wait_knows_the_event() -> None:
    say = ("SEND_MESSAGE", {"kind": "text", "text": "{{ nodes.wait.event.who }}"})
    world = World(flow_of({**NODES, "thanks": say}, *WAYS))
    world.run()
    world.receive("paid", {"who": "Ana"})
    world.run()
    (performance,) = world.performed
    assert performance.effect.request["text"]["body"] == "Ana"


def test_a_branch_of_a_paused_flow_is_given_its_event() -> None:
    world = World(FLOW)
    world.run()
    world.limits = Limits(hold=True)
    assert world.receive() == "ok"
    worker = Worker(world)
    assert worker.claim() == 1
    worker.turn()
    assert set(world.nodes) == {"start", "wait"}
    world.limits = Limits()
    assert world.run("b").status == "completed"
    assert "thanks" in world.nodes
