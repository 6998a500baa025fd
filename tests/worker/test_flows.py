"""Flows that start and stop flows, over the store."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

import flowkit as fk
from flowkit.engine import Limits, Performance, Received
from flowkit.execution import ExecutionFilter
from flowkit.nodetype import Outcome
from flowkit.starting import MAX_DEPTH
from flowkit.testing import EPOCH
from service.events import deliver
from service.worker.flows import KINDS, Flows
from service.worker.kin import Kin
from tests.processes import until
from tests.worker.stage import DONE, PATIENCE, Stage, published

CHILD = published(fk.Flow("Child", trigger="child").delay(days=1).end(), "child")


def flow(**settings: Any) -> fk.Flow:
    return fk.Flow("Parent", trigger="test", settings=settings)


@pytest.fixture
def flows(stage: Stage) -> Flows:
    """Perform effects on flows in the store of the stage."""
    made = Flows(stage.store, stage.clock, Limits(), lambda: None)

    def answer(performance: Performance) -> Outcome:
        return made.perform(performance) if performance.effect.kind in KINDS else DONE

    stage.effects.answer = answer
    return made


def children(stage: Stage, flow_id: str = "child") -> list[Any]:
    return stage.store.list_executions(
        ExecutionFilter(flow_id=flow_id), limit=99, include=["context"]
    )


def test_a_flow_starts_another_once_and_goes_on(stage: Stage, flows: Flows) -> None:
    stage.store.insert_flow(CHILD, publish=True)
    stage.start(published(flow().start_flow("child", payload={"var": "contact.id"}).end()))
    stage.run(stage.runner())
    stage.wait_for("completed")
    stage.wait_for("delayed")
    (child,) = children(stage)
    assert child.contact_id == "c1"
    assert child.context["trigger"] == "c1"
    assert child.context["startedBy"] == {"executionId": "x0", "depth": 1}
    run = stage.run_of("start_flow_1")
    assert run.result == {"executionId": child.id}
    effect = stage.store.get_version("flow", 1).behaviour("start_flow_1")
    again = Performance("root", "x0_start_flow_1", 0, effect.run(_Context()))  # type: ignore[arg-type]
    assert flows.perform(again).result == {"executionId": child.id}
    assert len(children(stage)) == 1, "performed again it starts nothing"


def test_an_event_while_a_subflow_is_started_makes_no_second_attempt(
    stage: Stage, flows: Flows
) -> None:
    """The outcome is decided anew with what has come: the effect is not asked for again."""
    stage.store.insert_flow(CHILD, publish=True)
    whole = flow().parallel(
        lambda b: b.subflow("child", 1, id="sub"), lambda b: b.wait_for("paid", days=9, id="wait")
    )
    stage.start(published(whole.end()))
    answer, asked = stage.effects.answer, []

    def answered(performance: Performance) -> Outcome:
        asked.append(performance.key)
        said = Received(id="e1", type="paid", payload=None, at=EPOCH)
        deliver(stage.store, stage.store.get_version, ["c1"], said, now=EPOCH, limits=Limits())
        return answer(performance)

    stage.effects.answer = answered
    stage.run(stage.runner())
    until(
        lambda: getattr(stage.run_of("sub"), "status", "") == "waiting",
        seconds=PATIENCE,
        what="it waits",
    )
    assert asked == ["x0_sub"]
    assert stage.run_of("sub").retry_count == 0
    assert stage.run_of("wait").status == "completed"


class _Context:
    contact = {"id": "c1"}
    execution_id, key, now = "x0", "x0_sub", EPOCH

    def evaluate(self, logic: Any) -> Any:
        return "c1"


def test_what_cannot_be_started_fails_the_node_or_is_said(stage: Stage, flows: Flows) -> None:
    once = fk.Flow("Once", trigger="child", settings={"entry": {"policy": "once"}}).delay(days=1)
    stage.store.insert_flow(published(once.end(), "child"), publish=True)
    parent = flow().start_flow("child").start_flow("child").start_flow("gone").end()
    stage.start(published(parent))
    stage.run(stage.runner())
    stage.wait_for("failed")
    assert stage.run_of("start_flow_1").result["executionId"]
    assert "once" in stage.run_of("start_flow_2").result["reason"]
    assert stage.run_of("start_flow_3").error["code"] == "not_found"


def test_flows_that_start_themselves_come_to_an_end(stage: Stage, flows: Flows) -> None:
    stage.start(published(flow().start_flow("flow").end()))
    stage.run(stage.runner())
    stage.wait_for("failed")
    stage.wait_for("completed", MAX_DEPTH)


@pytest.mark.parametrize(("which", "left"), [(("child",), 1), ((), 0)])
def test_a_flow_stops_others_of_the_contact(
    stage: Stage, flows: Flows, which: tuple[str, ...], left: int
) -> None:
    other = published(fk.Flow("Other", trigger="other").delay(days=1).end(), "other")
    stage.start(CHILD, 2, prefix="c")
    stage.start(other, 1, prefix="o")
    runner = stage.run(stage.runner())
    stage.wait_for("delayed", 3)
    stage.clock.advance(timedelta(minutes=1))
    stage.start(published(flow().stop_flows(which, all=not which).delay(hours=1).end()))
    runner.wake()
    stage.wait_for("cancelled", 3 - left)
    stage.wait_for("delayed", 1 + left)
    assert stage.run_of("stop_flows_1").result["stopped"] == 3 - left


def calling(**config: Any) -> fk.Flow:
    """Return a flow that runs version 1 of ``child`` and sends what came of it."""
    return published(
        flow()
        .subflow(
            "child",
            1,
            completed=lambda b: b.send(text="{{ nodes.sub.vars.size }}", id="ok"),
            failed=lambda b: b.send(text="{{ nodes.sub.status }}", id="no"),
            id="sub",
            **config,
        )
        .end()
    )


ASKING = published(
    fk.Flow("Ask", trigger="child")
    .delay(hours=1, id="wait")
    .set_variable({"size": fk.trigger.asked})
    .end(),
    "child",
)


def test_a_subflow_is_waited_for_and_its_variables_come_back(stage: Stage, flows: Flows) -> None:
    stage.store.insert_flow(ASKING, publish=True)
    stage.start(calling(input={"asked": "XL"}))
    runner = stage.run(stage.runner())
    stage.wait_for("delayed", 2)
    (child,) = children(stage)
    assert child.context["trigger"] == {"asked": "XL"}
    assert child.context["startedBy"] == {"executionId": "x0", "depth": 1, "waits": True}
    assert stage.run_of("sub").status == "waiting"
    stage.clock.advance(timedelta(hours=1))
    runner.wake()
    stage.wait_for("completed", 2)
    run = stage.run_of("sub")
    assert run.source_handle == "completed"
    assert run.result["executionId"] == child.id
    assert run.result["status"] == "completed"
    assert run.result["vars"] == {"size": "XL"}
    assert stage.run_of("ok").status == "completed"
    until(lambda: not stage.store.list_owing(limit=9), seconds=PATIENCE, what="all is settled")


def test_what_ended_while_nobody_looked_is_told_by_the_sweep(
    stage: Stage, flows: Flows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a worker dies between the commit of the end and telling of it."""
    stage.store.insert_flow(ASKING, publish=True)
    stage.start(calling(input={"asked": "XL"}))
    runner = stage.runner()
    with monkeypatch.context() as patched:
        patched.setattr("service.worker.runner.concerns_others", lambda turn, answer: False)
        stage.run(runner)
        stage.wait_for("delayed", 2)
        stage.clock.advance(timedelta(hours=1))
        runner.wake()
        stage.wait_for("completed", 1)
    assert stage.run_of("sub").status == "waiting"
    kin = Kin(stage.store, runner.wake, Limits())
    for _ in range(2):  # also twice
        assert kin(stage.clock.now()) is False
    stage.wait_for("completed", 2)
    assert stage.run_of("sub").result["vars"] == {"size": "XL"}
    assert stage.effects.performed.count("x0_ok") == 1


def test_a_subflow_that_ends_before_its_start_is_recorded(stage: Stage, flows: Flows) -> None:
    child = fk.Flow("Ask", trigger="child").set_variable({"size": "S"}).end()
    stage.store.insert_flow(published(child, "child"), publish=True)
    stage.start(calling())
    make = flows.perform

    def answer(performance: Performance) -> Outcome:
        if performance.effect.kind not in KINDS:
            return DONE
        said = make(performance)
        stage.wait_for("completed")
        until(lambda: not stage.store.list_owing(limit=9), seconds=PATIENCE, what="it has told")
        return said

    stage.effects.answer = answer
    stage.run(stage.runner())
    stage.wait_for("completed", 2)
    assert stage.run_of("sub").result["vars"] == {"size": "S"}


def test_a_failed_subflow_leads_out_by_failed(stage: Stage, flows: Flows) -> None:
    refused = {"code": "refused", "message": "no", "transient": False}
    make = flows.perform

    def answer(performance: Performance) -> Outcome:
        if performance.key.endswith("_bad"):
            return Outcome("failed", error=refused)
        return make(performance) if performance.effect.kind in KINDS else DONE

    stage.effects.answer = answer
    child = fk.Flow("Ask", trigger="child").send(text="hi", id="bad").end()
    stage.store.insert_flow(published(child, "child"), publish=True)
    stage.start(calling())
    stage.run(stage.runner())
    stage.wait_for("completed")
    run = stage.run_of("sub")
    assert run.source_handle == "failed"
    assert run.result["error"] == {"nodeId": "bad", "code": "refused"}


def test_a_subflow_that_may_not_be_entered_leads_out_by_failed(stage: Stage, flows: Flows) -> None:
    child = fk.Flow("Never", trigger="child", filter=fk.trigger.go == 1).end()
    stage.store.insert_flow(published(child, "child"), publish=True)
    stage.start(calling())
    stage.run(stage.runner())
    stage.wait_for("completed")
    assert stage.run_of("sub").result["status"] == "refused"
    assert stage.run_of("sub").source_handle == "failed"
    assert children(stage) == []


def test_a_version_that_does_not_exist_fails_the_node(stage: Stage, flows: Flows) -> None:
    stage.start(calling())
    stage.run(stage.runner())
    stage.wait_for("failed")
    assert stage.run_of("sub").error["code"] == "not_found"


def test_a_time_out_cancels_what_is_waited_for(stage: Stage, flows: Flows) -> None:
    stage.store.insert_flow(ASKING, publish=True)
    late = {"timeout": {"amount": 30, "unit": "minutes"}}
    stage.start(calling(**late, on_timeout=lambda b: b.delay(days=3)))
    runner = stage.run(stage.runner())
    stage.wait_for("delayed", 2)
    stage.clock.advance(timedelta(minutes=30))
    runner.wake()
    stage.wait_for("cancelled")
    stage.wait_for("delayed")
    assert stage.run_of("sub").source_handle == "timeout"


@pytest.mark.parametrize("how", ["cancel", "goal"])
def test_what_ends_the_parent_cancels_what_it_waits_for(
    stage: Stage, flows: Flows, how: str
) -> None:
    """Down to the last: the child's own child too."""
    stage.store.insert_flow(ASKING, publish=True)
    middle = fk.Flow("Middle", trigger="middle").subflow("child", 1, id="sub").end()
    stage.store.insert_flow(published(middle, "middle"), publish=True)
    goal = {"goal": {"name": "bought", "event": "paid"}}
    parent = flow(**goal).subflow("middle", 1, id="sub").end()
    stage.start(published(parent))
    runner = stage.run(stage.runner())
    stage.wait_for("delayed", 3)
    if how == "cancel":
        stage.cancel()
    else:
        now = stage.clock.now()
        paid = Received(id="e1", type="paid", payload={}, at=now)
        deliver(stage.store, stage.store.get_version, ["c1"], paid, now=now, limits=Limits())
    kin = Kin(stage.store, runner.wake, Limits())
    kin(stage.clock.now())
    stage.wait_for("cancelled", 3 if how == "cancel" else 2)
    assert stage.store.list_owing(limit=9) == []


def test_a_subflow_that_is_started_when_nobody_waits_any_more_is_cancelled(
    stage: Stage, flows: Flows
) -> None:
    stage.store.insert_flow(ASKING, publish=True)
    stage.start(calling())
    gate = stage.effects.hold("sub")
    stage.run(stage.runner())
    until(lambda: stage.effects.active, seconds=PATIENCE, what="it is being started")
    stage.cancel()
    gate.set()
    stage.wait_for("cancelled", 2)


def test_flows_that_run_each_other_come_to_an_end(stage: Stage, flows: Flows) -> None:
    """No such versions can be published in order; but whoever writes to the store can."""
    other = fk.Flow("Other", trigger="other").subflow("flow", 1, id="sub").end()
    stage.store.insert_flow(published(other, "other"), publish=True)
    stage.start(published(flow().subflow("other", 1, id="sub").end()))
    stage.run(stage.runner())
    stage.wait_for("failed")
    stage.wait_for("completed", MAX_DEPTH)


def test_a_subflow_that_ended_long_ago_is_not_waited_for(stage: Stage, flows: Flows) -> None:
    stage.store.insert_flow(ASKING, publish=True)
    stage.start(calling(input={"asked": "XL"}))
    runner = stage.run(stage.runner())
    stage.wait_for("delayed", 2)
    (child,) = children(stage)
    stage.clock.advance(timedelta(hours=1))
    runner.wake()
    stage.wait_for("completed", 2)
    effect = stage.store.get_version("flow", 1).behaviour("sub").run(_Context())  # type: ignore[arg-type]
    said = flows.perform(Performance("root", "x0_sub", 1, effect))
    assert (said.awaits, said.handle) == (False, "completed")
    assert said.result is not None
    assert said.result["executionId"] == child.id
