"""Flows that start and stop flows, over the store."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

import flowkit as fk
from flowkit.engine import Limits, Performance
from flowkit.execution import ExecutionFilter
from flowkit.nodetype import Outcome
from service.worker.flows import KINDS, MAX_DEPTH, Flows
from tests.worker.stage import DONE, Stage, published

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


class _Context:
    contact = {"id": "c1"}

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
    assert stage.store.list_owing(limit=9) == []
