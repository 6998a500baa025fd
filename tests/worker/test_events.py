"""Workers and events: what waits is woken, and what is on its way to wait misses nothing."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest

import flowkit as fk
from flowkit.engine import Limits, Received
from flowkit.nodetype import Outcome
from service.events import deliver
from tests.processes import until
from tests.worker.stage import PATIENCE, Stage, published


def event(stage: Stage, id: str = "e1", type_: str = "paid") -> list[str]:
    """Let an event come for the contact; return which executions have received it."""
    now = stage.clock.now()
    said = deliver(
        stage.store,
        stage.store.get_version,
        ["c1"],
        Received(id=id, type=type_, payload={"total": 20}, at=now),
        now=now,
        limits=Limits(),
    )
    assert said.problems == []
    return sorted(said.execution_ids)


REFUSED = {"code": "refused", "message": "no", "transient": False}
WAIT = published(
    fk.Flow("Wait", trigger="test")
    .send(text="hello", id="hello")
    .wait_for("paid", days=2, received=lambda b: b.send(text="thanks", id="thanks"))
    .end()
)


def test_an_event_wakes_a_branch_that_waits(stage: Stage) -> None:
    stage.start(WAIT, 3)
    runner = stage.run(stage.runner())
    stage.wait_for("delayed", 3)
    assert event(stage) == ["x0", "x1", "x2"]
    runner.wake()
    stage.wait_for("completed", 3)
    assert sorted(stage.effects.performed) == [
        f"x{i}_{n}" for i in range(3) for n in ("hello", "thanks")
    ]
    assert stage.leases() == []


def test_the_sweep_finds_who_was_woken_without_a_bell(stage: Stage) -> None:
    stage.start(WAIT)
    stage.run(stage.runner())
    stage.wait_for("delayed")
    event(stage)
    stage.wait_for("completed")


def test_an_event_while_a_message_is_sent_is_seen_after_it(stage: Stage) -> None:
    """The worker does not know of the event; it must not wait over it, nor send again."""
    stage.start(WAIT)
    gate = stage.effects.hold("hello")
    stage.run(stage.runner())
    until(lambda: stage.effects.active, seconds=PATIENCE, what="the message is being sent")
    assert event(stage) == ["x0"]
    gate.set()
    stage.wait_for("completed")
    assert stage.effects.performed == ["x0_hello", "x0_thanks"]


def test_an_event_between_deciding_to_wait_and_committing_it(stage: Stage) -> None:
    stage.start(WAIT)
    store = stage.watched()
    commits: list[Any] = []

    def before() -> None:
        commits.append(None)
        if len(commits) == 2:  # with the second commit the branch begins to wait
            assert event(stage) == ["x0"]

    store.before["commit"] = before
    stage.run(stage.runner(store=store))
    stage.wait_for("completed")
    assert stage.effects.performed == ["x0_hello", "x0_thanks"]


@pytest.mark.parametrize("seconds", [-0.001, 0])
def test_a_time_out_and_an_event_at_once(stage: Stage, seconds: float) -> None:
    """Events race with workers that find the time over: of each execution one of them wins."""
    stage.start(WAIT, 20)
    runners = [stage.run(stage.runner(owner)) for owner in "ab"]
    stage.wait_for("delayed", 20)
    stage.clock.advance(timedelta(days=2, seconds=seconds))
    threads = [threading.Thread(target=event, args=(stage, f"e{i}")) for i in range(2)]
    for thread in threads:
        thread.start()
    stage.clock.advance(timedelta(seconds=1))
    for runner in runners:
        runner.wake()
    for thread in threads:
        thread.join()
    stage.wait_for("completed", 20)
    handles = [stage.run_of("wait_for_event_1", f"x{i}").source_handle for i in range(20)]
    thanked = [key for key in stage.effects.performed if key.endswith("thanks")]
    assert handles.count("received") == len(thanked) == len(set(thanked))


def test_a_goal_ends_what_waits_at_once(stage: Stage) -> None:
    flow = fk.Flow("Goal", trigger="test").parallel(
        lambda b: b.delay(days=9).send(text="later", id="later"),
        lambda b: b.send(text="now", id="now").goal("purchase", end_execution=True),
        lambda b: b.send(text="slow", id="slow").send(text="more", id="more"),
    )
    stage.start(published(flow.end()))
    gate = stage.effects.hold("slow")
    stage.run(stage.runner())
    stage.wait_for("completed")
    execution = stage.execution()
    assert execution.ended_by is not None
    assert execution.ended_by["goal"] == "purchase"
    gate.set()
    until(lambda: stage.run_of("slow").status == "completed", seconds=PATIENCE, what="evidence")
    assert sorted(stage.effects.performed) == ["x0_now", "x0_slow"]
    assert stage.execution().status == "completed"


def test_a_failure_ends_the_execution_at_once_where_the_flow_says_so(stage: Stage) -> None:
    flow = fk.Flow("Fragile", trigger="test", settings={"onFailure": "end"}).parallel(
        lambda b: b.delay(days=9), lambda b: b.send(text="now", id="now")
    )
    stage.effects.answer = lambda performance: Outcome("failed", error=REFUSED)
    stage.start(published(flow.end()))
    stage.run(stage.runner())
    stage.wait_for("failed")
    assert stage.leases() == []
