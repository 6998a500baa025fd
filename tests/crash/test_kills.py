"""Processes that are really killed, at named points and at any: nothing accepted is lost,
nothing with a completed record is performed again, nothing unknown is silent."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from flowkit.execution import OUTCOME_UNKNOWN
from flowkit.testing import check_invariants
from service.faults import POINTS
from service.store.sqlite import SqliteStore
from tests.processes import Installation, installation, until

WORKER_POINTS = [
    p for p in POINTS if p.endswith(("_claim", "_commit", "_effect")) and "archive" not in p
]


def flow(on_unknown: str) -> dict[str, Any]:
    """TRIGGER, message, delay, fork into a message and a condition with a message, END."""

    def message(name: str) -> dict[str, Any]:
        config = {"kind": "text", "text": name, "onUnknown": on_unknown}
        return {"id": name, "type": "SEND_MESSAGE", "config": config}

    return {
        "name": "Crash",
        "triggerType": "test",
        "isActive": True,
        "nodes": [
            {"id": "start", "type": "TRIGGER", "config": {}},
            message("first"),
            {"id": "wait", "type": "DELAY", "config": {"amount": 0.2, "unit": "seconds"}},
            message("left"),
            {"id": "check", "type": "CONDITION", "config": {"expression": True}},
            message("right"),
            {"id": "end", "type": "END", "config": {}},
        ],
        "edges": [
            {"id": "e1", "source": "start", "target": "first"},
            {"id": "e2", "source": "first", "target": "wait"},
            {"id": "e3", "source": "wait", "target": "left"},
            {"id": "e4", "source": "wait", "target": "check"},
            {"id": "e5", "source": "check", "sourceHandle": "true", "target": "right"},
            {"id": "e6", "source": "check", "sourceHandle": "false", "target": "end"},
            {"id": "e7", "source": "left", "target": "end"},
            {"id": "e8", "source": "right", "target": "end"},
        ],
    }


MESSAGES = ("first", "left", "right")


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Installation]:
    yield from installation(tmp_path, lease_seconds="1", sweep_seconds="0.1")


def payloads(number: int) -> list[Any]:
    return [{"contact": {"id": f"c{i}", "phone": f"+55119000{i:05}"}} for i in range(number)]


def ledger(simulator: str) -> Counter[str]:
    """Return how often each idempotency key was performed, as the receiving side counts."""
    items = httpx.get(f"{simulator}/_simulator/messages", params={"limit": 100_000}).json()["items"]
    return Counter(item["callbackData"] for item in items if item["status"] == "accepted")


def check(here: Installation, simulator: str, accepted: list[str], *, resend: bool) -> None:
    """Assert the guarantees after a crash and a second life."""
    performed = ledger(simulator)
    store = SqliteStore(here.database)
    try:
        for execution_id in accepted:
            execution = store.get_execution(execution_id)
            check_invariants(execution)
            assert execution.status in ("completed", "failed")
            for run in execution.executed_nodes:
                times = performed[run.idempotency_key]
                if run.node_id not in MESSAGES:
                    continue
                if run.status == "completed":
                    assert 1 <= times <= 1 + resend, run
                else:
                    assert run.error is not None
                    assert run.error["code"] == OUTCOME_UNKNOWN, run
                    assert not resend
                    assert times <= 1, run
            if resend:
                assert execution.status == "completed"
        assert not here.rows("SELECT 1 FROM branches WHERE claim_at IS NOT NULL"), "leases free"
    finally:
        store.close()


@pytest.mark.parametrize("on_unknown", ["fail", "resend"])
@pytest.mark.parametrize("number", [1, 4])
@pytest.mark.parametrize("point", WORKER_POINTS)
def test_a_worker_killed_at_a_point(
    here: Installation, point: str, number: int, on_unknown: str
) -> None:
    simulator = here.start_simulator()
    here.start_api()
    here.client.post("/api/flows", json=flow(on_unknown)).raise_for_status()
    accepted = here.trigger(payloads(6))
    victim = here.start("worker", FLOWKIT_FAIL_AT=f"{point}:{number}")
    assert victim.wait(30) == -signal.SIGKILL, here.said(victim)
    here.start("worker")
    here.wait_for_all()
    check(here, simulator, accepted, resend=on_unknown == "resend")


def test_what_failed_unknown_is_retried_by_hand(here: Installation) -> None:
    simulator = here.start_simulator()
    here.start_api()
    here.client.post("/api/flows", json=flow("fail")).raise_for_status()
    accepted = here.trigger(payloads(1))
    victim = here.start("worker", FLOWKIT_FAIL_AT="before_effect:1")
    victim.wait(30)
    here.start("worker")
    here.wait_for_all()
    [(status,)] = here.rows("SELECT status FROM executions")
    assert status == "failed"
    assert not ledger(simulator)
    answer = here.client.post(f"/api/executions/{accepted[0]}/retry", json={})
    assert answer.status_code == 200, answer.text
    here.wait_for_all()
    assert dict(ledger(simulator)) == {f"{accepted[0]}_{name}": 1 for name in MESSAGES}


def test_a_worker_killed_at_any_moment_under_load(here: Installation) -> None:
    simulator = here.start_simulator()
    here.start_api()
    here.client.post("/api/flows", json=flow("resend")).raise_for_status()
    accepted = here.trigger(payloads(60))
    kills = 0
    for pause in (0.9, 0.5, 0.7, 1.1):
        worker = here.start("worker")
        time.sleep(pause)  # the moment is meant to be any
        kills += worker.poll() is None
        here.kill(worker)
    here.start("worker")
    here.wait_for_all(60)
    performed = ledger(simulator)
    assert len(performed) == 3 * len(accepted)
    assert max(performed.values()) <= 1 + kills
    check_all = SqliteStore(here.database)
    for execution_id in accepted:
        execution = check_all.get_execution(execution_id)
        check_invariants(execution)
        assert execution.status == "completed"
    check_all.close()


@pytest.mark.parametrize("point", ["before_create", "after_create"])
def test_an_api_killed_while_it_accepts(here: Installation, point: str) -> None:
    here.start_simulator()
    api = here.start_api(FLOWKIT_FAIL_AT=f"{point}:3")
    here.client.post("/api/flows", json=flow("fail")).raise_for_status()
    accepted = [id_ for payload in payloads(2) for id_ in here.trigger([payload])]
    with pytest.raises(httpx.HTTPError):
        here.trigger(payloads(1))
    if api.poll() is None:
        here.kill(api)
    here.start("worker")
    here.wait_for_all()
    found = {row[0] for row in here.rows("SELECT id FROM executions WHERE open = 0")}
    assert set(accepted) <= found, "an accepted trigger is never lost"
    assert len(found) == 2 + (point == "after_create"), "nothing is half-stored"


def test_an_api_killed_after_it_answered(here: Installation) -> None:
    here.start_simulator()
    api = here.start_api()
    here.client.post("/api/flows", json=flow("fail")).raise_for_status()
    accepted = here.trigger(payloads(20))
    here.kill(api)
    here.start("worker")
    here.wait_for_all()
    assert len(here.rows("SELECT 1 FROM executions WHERE status='completed'")) == len(accepted)


def test_a_worker_that_slept_past_its_lease_is_fenced(here: Installation) -> None:
    """SIGSTOP in the middle of effects; another worker takes over; the first one wakes."""
    simulator = here.start_simulator()
    here.start_api()
    here.client.post("/api/flows", json=flow("fail")).raise_for_status()
    slow = {"text": "first", "latencyMs": 1500}
    httpx.post(f"{simulator}/_simulator/rules", json=slow).raise_for_status()
    accepted = here.trigger(payloads(5))
    sleeper = here.start("worker")
    until(lambda: here.rows("SELECT 1 FROM node_runs WHERE node_id='first' AND status='running'"))
    os.killpg(sleeper.pid, signal.SIGSTOP)
    here.start("worker")
    until(
        lambda: not here.rows("SELECT 1 FROM node_runs WHERE status='running'"),
        what="the other worker takes over",
    )
    here.wait_for_all()
    os.killpg(sleeper.pid, signal.SIGCONT)
    # Each was sent, or was found to have lost its lease before: nothing stays unknown.
    until(
        lambda: not here.rows(f"SELECT 1 FROM node_runs WHERE error LIKE '%{OUTCOME_UNKNOWN}%'"),
        what="what the sleeper learned is taken as evidence",
    )
    assert max(ledger(simulator).values(), default=0) <= 1
    # A retry goes on behind the messages that are known to be sent, and sends none again.
    for execution_id in accepted:
        answer = here.client.post(f"/api/executions/{execution_id}/retry", json={})
        assert answer.status_code == 200, answer.text
    here.wait_for_all()
    assert len(here.rows("SELECT 1 FROM executions WHERE status='completed'")) == len(accepted)
    performed = ledger(simulator)
    assert len(performed) == 3 * len(accepted)
    assert set(performed.values()) == {1}


def test_stopping_in_good_order_loses_nothing(here: Installation) -> None:
    simulator = here.start_simulator()
    here.start_api()
    here.client.post("/api/flows", json=flow("fail")).raise_for_status()
    accepted = here.trigger(payloads(40))
    worker = here.start("worker")
    until(lambda: ledger(simulator))
    assert here.stop(worker) == 0
    assert not here.rows("SELECT 1 FROM branches WHERE status='running'"), "leases free"
    here.start("worker")
    here.wait_for_all()
    assert set(ledger(simulator).values()) == {1}
    assert len(here.rows("SELECT 1 FROM executions WHERE status='completed'")) == len(accepted)
