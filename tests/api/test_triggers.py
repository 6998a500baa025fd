"""Triggers: what they start, refuse, store and wait for."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest

from flowkit.flow import Flow
from service import faults
from service.api import triggers
from tests.api.harness import PAYLOAD, Service, delayed, sending


def trigger(service: Service, payload: Any = PAYLOAD, query: str = "") -> tuple[int, Any]:
    answer = service("POST", f"/api/flows/trigger/cart{query}", payload)
    return answer.status_code, answer.get_json()


def test_every_active_flow_of_the_type_starts(service: Service) -> None:
    one, two = service.add(delayed("One")), service.add(sending("Two"))
    service.add(delayed("Inactive"), active=False)
    service.add(delayed("Other", "order"))
    status, answer = trigger(service)
    assert status == 202
    assert answer["triggerType"] == "cart"
    assert answer["problems"] == []
    started = {(e["flowId"], e["flowVersion"], e["status"]) for e in answer["executions"]}
    assert started == {(one["id"], 1, "running"), (two["id"], 1, "running")}
    for execution in answer["executions"]:
        stored = service.ok("GET", f"/api/executions/{execution['executionId']}")
        assert stored["flowId"] == execution["flowId"]
        assert stored["context"]["trigger"] == PAYLOAD
        assert stored["executedNodes"] == []
    assert len(service.rings) == 1


def test_an_unknown_type_is_no_error_for_a_webhook(service: Service) -> None:
    status, answer = trigger(service)
    assert status == 200
    assert answer["executions"] == []
    (problem,) = answer["problems"]
    assert (problem["code"], problem["severity"]) == ("trigger.unknown", "warning")
    assert service.rings == []


def test_a_refused_start_stands_beside_those_that_start(service: Service) -> None:
    needs, free = service.add(sending("Needs")), service.add(delayed("Free"))
    status, answer = trigger(service, {"no": "contact"})
    assert status == 202
    assert [e["flowId"] for e in answer["executions"]] == [free["id"]]
    (problem,) = answer["problems"]
    assert (problem["code"], problem["severity"]) == ("trigger.contact_missing", "error")
    assert needs["id"] in problem["message"]


def test_when_all_are_refused_the_webhook_is_still_answered(service: Service) -> None:
    service.add(sending())
    status, answer = trigger(service, {"no": "contact"})
    assert status == 200
    assert answer["executions"] == []
    assert [problem["code"] for problem in answer["problems"]] == ["trigger.contact_missing"]
    assert service.ok("GET", "/api/executions")["items"] == []
    assert service.rings == []


def test_a_filter_decides_silently(service: Service) -> None:
    flow = Flow("Dear", trigger="cart", filter={">": [{"var": "trigger.total"}, 10]}).end()
    service.add(flow.to_dict())
    assert trigger(service, {"total": 11})[0] == 202
    status, answer = trigger(service, {"total": 10})
    assert (status, answer["executions"], answer["problems"]) == (200, [], [])


@pytest.mark.parametrize(
    "payload",
    [None, True, 0, -1.5, "text", "", [], [[1], {"a": None}], {}, {"a": {"ü": "😀"}}, 2**70, 1e22],
)
def test_any_json_is_a_payload_and_stays_as_it_came(service: Service, payload: Any) -> None:
    service.add(delayed())
    (execution,) = service.start(payload=payload)
    stored = service.ok("GET", f"/api/executions/{execution}")["context"]["trigger"]
    assert stored == payload
    assert type(stored) is type(payload)


def test_no_body_is_the_payload_null(service: Service) -> None:
    service.add(delayed())
    answer = service("POST", "/api/flows/trigger/cart")
    assert answer.status_code == 202
    execution = answer.get_json()["executions"][0]["executionId"]
    assert service.ok("GET", f"/api/executions/{execution}")["context"]["trigger"] is None


def test_a_payload_over_its_own_limit_is_413_and_names_the_setting(
    make_service: Callable[..., Service],
) -> None:
    service = make_service(payload_limit_bytes=1_000)
    service.add(delayed())
    assert trigger(service, "x" * 998)[0] == 202
    answer = service("POST", "/api/flows/trigger/cart", "x" * 999)
    assert answer.status_code == 413
    assert "FLOWKIT_PAYLOAD_LIMIT_BYTES" in answer.text
    assert len(service.ok("GET", "/api/executions")["items"]) == 1


def test_parameters_that_senders_add_are_ignored(service: Service) -> None:
    service.add(delayed())
    assert trigger(service, query="?hmac=abc&shop=x")[0] == 202
    assert trigger(service, query="?wait=yes")[0] == 422


def test_a_broken_bell_does_not_fail_the_trigger(
    service: Service, caplog: pytest.LogCaptureFixture
) -> None:
    service.add(delayed())

    def broken() -> None:
        raise ConnectionError("redis is gone")

    object.__setattr__(service.app.extensions["flowkit"], "bell", broken)
    with caplog.at_level(logging.WARNING):
        assert trigger(service)[0] == 202
    assert "redis is gone" in caplog.text
    assert len(service.ok("GET", "/api/executions")["items"]) == 1


def test_all_executions_are_stored_in_one_call_before_the_bell(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "abc":
        service.add(delayed(name))
    order: list[Any] = []
    create = service.store.create
    monkeypatch.setattr(faults, "hit", order.append)
    monkeypatch.setattr(
        service.store, "create", lambda e, **o: (order.append(len(e)), create(e, **o))
    )
    object.__setattr__(service.app.extensions["flowkit"], "bell", lambda: order.append("ring"))
    assert trigger(service)[0] == 202
    assert order == ["before_create", 3, "after_create", "ring"]


def test_a_crash_of_the_store_is_no_acceptance(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.add(delayed())

    def full(executions: Any, **options: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(service.store, "create", full)
    assert trigger(service)[0] == 500
    assert service.rings == []


def test_a_flow_deleted_in_between_is_started_once_more_and_runs(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow = service.add(sending())
    create = service.store.create

    def late(executions: Any, **options: Any) -> Any:
        service.store.delete_flow(flow["id"])
        return create(executions, **options)

    monkeypatch.setattr(service.store, "create", late)
    (execution,) = service.start()
    service.work()
    assert service.ok("GET", f"/api/executions/{execution}")["status"] == "completed"


def test_waiting_ends_when_every_execution_has_left_running(service: Service) -> None:
    service.add(delayed("One"))
    service.add(sending("Two"))
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            service.work()

    worker = threading.Thread(target=work)
    worker.start()
    try:
        status, answer = trigger(service, query="?wait=true")
    finally:
        stop.set()
        worker.join()
    assert status == 200
    assert sorted(e["status"] for e in answer["executions"]) == ["completed", "delayed"]
    assert answer["problems"] == []


def test_waiting_has_an_end(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triggers, "WAIT_SECONDS", 0.05)
    service.add(delayed())
    status, answer = trigger(service, query="?wait=true")
    assert status == 200
    assert [e["status"] for e in answer["executions"]] == ["running"]


def test_with_many_flows_it_does_not_wait_and_says_so(make_service: Callable[..., Service]) -> None:
    service = make_service(trigger_sync_limit=2)
    for name in "abc":
        service.add(delayed(name))
    status, answer = trigger(service, query="?wait=true")
    assert status == 202
    assert len(answer["executions"]) == 3
    (problem,) = answer["problems"]
    assert (problem["code"], problem["severity"]) == ("trigger.not_waited", "warning")
    assert "FLOWKIT_TRIGGER_SYNC_LIMIT" in problem["message"]


def test_published_flows_are_parsed_once(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    service.add(delayed())
    service.start()

    def again(flow_id: str, version: int) -> Flow:
        raise AssertionError("read again")

    monkeypatch.setattr(service.store, "get_version", again)
    assert len(service.start()) == 1


def test_a_payload_that_leaves_an_execution_no_room_does_not_start_it(
    make_service: Callable[..., Service],
) -> None:
    service = make_service(execution_limit_bytes=2**16)
    service.add(sending())
    answer = service("POST", "/api/flows/trigger/cart", PAYLOAD | {"text": "x" * 2**16})
    assert answer.status_code == 200
    body = answer.get_json()
    assert body["executions"] == []
    assert [problem["code"] for problem in body["problems"]] == ["trigger.execution_too_large"]
    service.start()
