"""Workers that are killed while one execution waits for another: nobody waits for ever, and
nothing runs twice."""

from __future__ import annotations

import signal

import pytest

import flowkit as fk
from flowkit.execution import ExecutionFilter
from tests.crash.flows import payloads
from tests.crash.guarantees import check, ledger
from tests.processes import Installation, until

pytestmark = [pytest.mark.timeout(300), pytest.mark.crash]

PART = fk.Flow("Part", trigger="part").set_variable({"said": fk.trigger.n}).delay(seconds=0.3)


def publish(here: Installation, trigger: str) -> None:
    """Publish a flow that runs another, each of this test's own."""
    whole = (
        fk.Flow("Whole", trigger=trigger)
        .subflow(f"part-{trigger}", 1, id="sub")
        .send(text="{{ nodes.sub.vars.said }}", id="after", on_unknown="resend")
        .end()
    )
    for document in (PART.end().to_dict() | {"id": f"part-{trigger}"}, whole.to_dict()):
        here.client.post("/api/flows", json=document | {"isActive": True}).raise_for_status()


@pytest.mark.parametrize("point", ["before_settle", "before_effect", "after_effect"])
def test_a_worker_killed_around_a_subflow(here: Installation, point: str) -> None:
    """Before telling of the end, and before and after the start is recorded."""
    publish(here, point)
    accepted = here.trigger(payloads(3), point)
    victim = here.start("worker", FLOWKIT_FAIL_AT=f"{point}:1")
    until(lambda: victim.poll() is not None, seconds=90, what=f"{point}: {here.said(victim)}")
    assert victim.returncode == -signal.SIGKILL
    here.start("worker")
    here.wait_for(accepted)
    found = check(here, accepted, crashes=1)
    assert {execution.status for execution in found} == {"completed"}
    parts = here.store.list_executions(ExecutionFilter(flow_id=f"part-{point}"), limit=99)
    assert [part.status for part in parts] == ["completed"] * 3
    ends = {
        run.result["executionId"]
        for execution in found
        for run in execution.executed_nodes
        if run.node_id == "sub" and run.result is not None
    }
    assert ends == {part.id for part in parts}
    assert all(ledger(here.simulator)[f"{name}_after"] for name in accepted)
    until(lambda: not here.store.list_owing(limit=9), seconds=30, what="all is settled")
