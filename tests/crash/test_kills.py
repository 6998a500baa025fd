"""Workers and APIs that are really killed, at named points and at any, on every store: nothing
accepted is lost, nothing with a completed record is performed again, nothing unknown is silent."""

from __future__ import annotations

import signal
import time

import httpx
import pytest

from service.faults import POINTS
from tests.crash.flows import ALL_COMPLETE, FLOWS, TRANSIENT, payloads
from tests.crash.guarantees import check, ledger
from tests.processes import Installation, until

pytestmark = [pytest.mark.timeout(300), pytest.mark.crash]

WORKER_POINTS = [
    p for p in POINTS if p.endswith(("_claim", "_commit", "_effect")) and "archive" not in p
]
CELLS = [(point, kind) for kind in FLOWS for point in WORKER_POINTS]


@pytest.mark.parametrize(("point", "kind"), CELLS)
def test_a_worker_killed_at_a_point(here: Installation, point: str, kind: str) -> None:
    """Two workers die there, the second at its second visit; a third one finishes."""
    if kind == "retry":
        refusal = {
            "text": "flaky",
            "code": TRANSIENT,
            "times": 9,
        }  # some are lost with who heard them
        httpx.post(f"{here.simulator}/_simulator/rules", json=refusal).raise_for_status()
    accepted = here.trigger(payloads(3), kind)
    crashes = 0
    for visit in (1, 2):
        victim = here.start("worker", FLOWKIT_FAIL_AT=f"{point}:{visit}")
        until(
            lambda victim=victim: victim.poll() is not None or here.ended(accepted),
            seconds=90,
            what=f"{point} is reached: {here.said(victim)}",
        )
        if victim.poll() is None:
            here.stop(victim)
        crashes += victim.returncode == -signal.SIGKILL
    assert crashes, "the point is reached"
    here.start("worker")
    here.wait_for(accepted)
    found = check(here, accepted, crashes=crashes)
    if kind in ALL_COMPLETE:
        assert {execution.status for execution in found} == {"completed"}
    if kind == "retry":
        assert any(run.retry_count for execution in found for run in execution.executed_nodes)


def test_what_failed_unknown_is_retried_by_hand(here: Installation) -> None:
    (accepted,) = here.trigger(payloads(1), "fail")
    victim = here.start("worker", FLOWKIT_FAIL_AT="before_effect:1")
    assert victim.wait(60) == -signal.SIGKILL, here.said(victim)
    here.start("worker")
    here.wait_for([accepted])
    (execution,) = check(here, [accepted], crashes=1)
    assert execution.status == "failed"
    assert not ledger(here.simulator)
    answer = here.client.post(f"/api/executions/{accepted}/retry", json={})
    assert answer.status_code == 200, answer.text
    here.wait_for([accepted])
    assert dict(ledger(here.simulator)) == {f"{accepted}_one": 1, f"{accepted}_two": 1}


def test_a_worker_killed_at_any_moment_under_load(here: Installation) -> None:
    accepted = [i for kind in ("resend", "shared") for i in here.trigger(payloads(30), kind)]
    crashes = 0
    for pause in (0.9, 0.5, 0.7, 1.1):
        worker = here.start("worker")
        until(lambda worker=worker: "is ready" in here.said(worker))
        time.sleep(pause)  # the moment is meant to be any
        crashes += worker.poll() is None
        here.kill(worker)
    here.start("worker")
    here.wait_for(accepted, 180)
    found = check(here, accepted, crashes=crashes)
    assert {execution.status for execution in found} == {"completed"}


def test_stopping_in_good_order_loses_nothing(here: Installation) -> None:
    """SIGTERM under load: what was begun is recorded, and no lease is left."""
    accepted = [i for kind in ("fail", "shared") for i in here.trigger(payloads(30), kind)]
    worker = here.start("worker")
    until(lambda: ledger(here.simulator), what="it works")
    assert here.stop(worker) == 0
    stopped = here.executions(accepted)
    assert not [b for e in stopped for b in e.branches if b.status == "running"], "leases are free"
    assert not [r for e in stopped for r in e.executed_nodes if r.status == "running"]
    here.start("worker")
    here.wait_for(accepted, 180)
    found = check(here, accepted, crashes=0)
    assert {execution.status for execution in found} == {"completed"}


def test_a_paused_flow_stays_paused_across_a_kill(here: Installation) -> None:
    flow = next(f for f in here.client.get("/api/flows").json()["items"] if f["name"] == "delay")
    path = f"/api/flows/{flow['id']}"
    here.client.patch(path, json={"isPaused": True}).raise_for_status()
    try:
        accepted = here.trigger(payloads(6), "delay")
        other = here.trigger(payloads(6), "few")
        victim = here.start("worker", FLOWKIT_FAIL_AT="after_effect:3")
        assert victim.wait(90) == -signal.SIGKILL, here.said(victim)
        here.start("worker")
        here.wait_for(other)
        paused = here.executions(accepted)
        assert not [run for e in paused for run in e.executed_nodes], "it starts nothing"
        assert {e.status for e in paused} <= {"running", "delayed"}
    finally:
        here.client.patch(path, json={"isPaused": False}).raise_for_status()
    here.wait_for(accepted)
    check(here, other, crashes=1)
    found = check(here, accepted, crashes=0)
    assert {execution.status for execution in found} == {"completed"}


@pytest.mark.parametrize("point", ["before_create", "after_create"])
def test_an_api_killed_while_it_accepts(alone: Installation, point: str) -> None:
    api = alone.start_api(FLOWKIT_FAIL_AT=f"{point}:3")
    alone.client.post("/api/flows", json=FLOWS["fail"]).raise_for_status()
    accepted = [id_ for payload in payloads(2) for id_ in alone.trigger([payload], "fail")]
    with pytest.raises(httpx.HTTPError):
        alone.trigger(payloads(1), "fail")
    if api.poll() is None:
        alone.kill(api)
    alone.start_simulator()
    alone.start("worker")
    alone.wait_for_all(90)
    found = {execution.id for execution in alone.executions()}
    assert set(accepted) <= found, "an accepted trigger is never lost"
    assert len(found) == 2 + (point == "after_create"), "nothing is half-stored"
    check(alone, found, crashes=0)


def test_an_api_killed_after_it_answered(alone: Installation) -> None:
    alone.start_simulator()
    api = alone.start_api()
    alone.client.post("/api/flows", json=FLOWS["fail"]).raise_for_status()
    accepted = alone.trigger(payloads(20), "fail")
    alone.kill(api)
    alone.start("worker")
    alone.wait_for(accepted)
    found = check(alone, accepted, crashes=0)
    assert {execution.status for execution in found} == {"completed"}
