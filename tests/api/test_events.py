"""Triggers as events: which executions under way receive one, and how it is told."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from flowkit.flow import Flow
from tests.api.harness import PAYLOAD, Service

ANA = {"contact": {"id": "c1", "phone": "+5511999990000"}, "total": 20}
BEA = {"contact": {"id": "c2", "phone": "+5511999990001"}, "total": 20}


def waiting(service: Service, trigger: str = "cart", event: str = "paid") -> str:
    """Store a flow that waits for an event, let it wait for Ana, and return the execution."""
    flow = Flow("Wait", trigger=trigger).wait_for(event, days=2).end()
    service.add(flow.to_dict())
    (execution_id,) = service.start(trigger, PAYLOAD)
    service.work()
    return execution_id


def send(
    service: Service, type_: str = "paid", payload: Any = ANA, **options: Any
) -> tuple[int, list[str], set[str]]:
    """Send an event; return the status, who has received it and the codes of the problems."""
    answer = service("POST", f"/api/flows/trigger/{type_}", payload, **options)
    body = answer.get_json()
    return answer.status_code, body["received"], {p["code"] for p in body["problems"]}


def run_at(service: Service, execution_id: str, node: str = "wait_for_event_1") -> Any:
    runs = service.ok("GET", f"/api/executions/{execution_id}")["executedNodes"]
    return next((run for run in runs if run["nodeId"] == node), None)


def test_an_event_wakes_who_waits_for_it(service: Service) -> None:
    execution_id = waiting(service)
    rings = len(service.rings)
    assert send(service) == (202, [execution_id], set())
    assert len(service.rings) == rings + 1
    service.work()
    shown = service.ok("GET", f"/api/executions/{execution_id}")
    assert shown["status"] == "completed"
    run = run_at(service, execution_id)
    assert (run["sourceHandle"], run["result"]["event"]) == ("received", ANA)


def test_an_event_is_the_contacts_alone(service: Service) -> None:
    execution_id = waiting(service)
    for payload in (BEA, {"total": 1}, None, [1]):
        assert send(service, payload=payload) == (200, [], {"trigger.unknown"})
    assert send(service, "left") == (200, [], {"trigger.unknown"})
    assert run_at(service, execution_id)["status"] == "waiting"


def test_nobody_is_woken_by_the_trigger_that_started_it(service: Service) -> None:
    first = waiting(service, "cart", "cart")
    assert run_at(service, first)["status"] == "waiting"
    answer = service.ok("POST", "/api/flows/trigger/cart", ANA, status=202)
    (second,) = (one["executionId"] for one in answer["executions"])
    assert answer["received"] == [first], "but who was under way is"
    service.work()
    assert run_at(service, first)["status"] == "completed"
    assert run_at(service, second)["status"] == "waiting"


def test_the_contact_is_where_a_flow_that_starts_finds_it(service: Service) -> None:
    execution_id = waiting(service)
    service.add(Flow("Paid", trigger="paid", contact="customer").delay(hours=1).end().to_dict())
    payload = {"customer": ANA["contact"]}
    answer = service.ok("POST", "/api/flows/trigger/paid", payload, status=202)
    assert answer["received"] == [execution_id]
    assert len(answer["executions"]) == 1


def test_a_redelivered_event_counts_once_and_is_answered_the_same(service: Service) -> None:
    flow = Flow("Twice", trigger="cart").wait_for("paid", days=2).wait_for("paid", days=2).end()
    service.add(flow.to_dict())
    (execution_id,) = service.start("cart", PAYLOAD)
    service.work()
    headers = {"Idempotency-Key": "event-1"}
    for _ in range(2):
        assert send(service, headers=headers) == (202, [execution_id], set())
        service.work()
        assert run_at(service, execution_id, "wait_for_event_2")["status"] == "waiting"
    service.clock.advance(timedelta(hours=1))
    (later,) = service.start("cart", PAYLOAD)
    assert send(service, headers=headers)[1] == [execution_id], "the other one began after it"
    service.work()
    assert run_at(service, later)["status"] == "waiting"


def test_an_event_whose_id_is_in_the_payload_counts_once(service: Service) -> None:
    flow = Flow("Twice", trigger="cart").wait_for("paid", days=2).wait_for("paid", days=2).end()
    service.add(flow.to_dict())
    paid = Flow("Paid", trigger="paid", idempotency_key="order").delay(hours=1).end()
    service.add(paid.to_dict())
    (execution_id,) = service.start("cart", PAYLOAD)
    service.work()
    for _ in range(2):
        assert send(service, payload=ANA | {"order": "o1"})[1] == [execution_id]
        service.work()
    assert run_at(service, execution_id, "wait_for_event_2")["status"] == "waiting"
    send(service, payload=ANA | {"order": "o2"})
    service.work()
    assert run_at(service, execution_id, "wait_for_event_2")["status"] == "completed"


def test_a_payload_larger_than_a_result_wakes_and_is_left_out(service: Service) -> None:
    execution_id = waiting(service)
    status, received, problems = send(service, payload=ANA | {"text": "x" * 20_000})
    assert (status, received, problems) == (202, [execution_id], {"event.too_large"})
    service.work()
    assert run_at(service, execution_id)["result"]["event"] is None


def test_an_event_that_came_before_the_wait_counts(service: Service) -> None:
    flow = Flow("Wait", trigger="cart").delay(hours=1).wait_for("paid", days=2).end()
    service.add(flow.to_dict())
    (execution_id,) = service.start("cart", PAYLOAD)
    assert send(service)[1] == [execution_id], "nobody has worked yet"
    service.work()
    service.clock.advance(timedelta(hours=1))
    service.work()
    assert run_at(service, execution_id)["sourceHandle"] == "received"


def test_who_has_ended_receives_nothing(service: Service) -> None:
    execution_id = waiting(service)
    service.ok("POST", f"/api/executions/{execution_id}/cancel")
    assert send(service) == (200, [], {"trigger.unknown"})


def test_an_exit_ends_the_execution_with_the_event(service: Service) -> None:
    flow = Flow("Cart", trigger="cart", settings={"exit": [{"event": "paid"}]})
    service.add(flow.delay(days=5).end().to_dict())
    (execution_id,) = service.start("cart", PAYLOAD)
    service.work()
    assert send(service) == (202, [execution_id], set())
    shown = service.ok("GET", f"/api/executions/{execution_id}")
    assert (shown["status"], shown["resumeAt"]) == ("completed", None)
    assert shown["endedBy"]["reason"] == "exit"
    assert [run["status"] for run in shown["executedNodes"]] == ["completed", "cancelled"]


def test_settings_with_errors_keep_a_flow_from_being_active(service: Service) -> None:
    document = Flow("Cart", trigger="cart").delay(days=5).end().to_dict()
    document["settings"] = {"exit": [{}], "timeZone": "Mars/Base", "colour": "blue"}
    answer = service("POST", "/api/flows", document | {"isActive": True})
    assert answer.status_code == 422
    problems = {(p["code"], p["path"], p["severity"]) for p in answer.get_json()["problems"]}
    assert problems == {
        ("settings.exit", "/settings/exit/0", "error"),
        ("config.time_zone", "/settings/timeZone", "error"),
        ("settings.unknown", "/settings/colour", "warning"),
    }


def test_a_contact_that_is_in_the_flow_does_not_enter_it_again(service: Service) -> None:
    flow = Flow("Cart", trigger="cart", settings={"entry": {"policy": "once_active"}})
    service.add(flow.delay(days=5).end().to_dict())
    headers = {"Idempotency-Key": "first"}
    path = "/api/flows/trigger/cart"
    answers = [service("POST", path, ANA, headers=headers).get_json() for _ in range(2)]
    assert answers[0] == answers[1], "delivered again, it is answered the same"
    (started,) = answers[0]["executions"]
    answer = service("POST", path, ANA)
    assert answer.status_code == 200
    assert answer.get_json()["executions"] == []
    (problem,) = answer.get_json()["problems"]
    assert (problem["code"], problem["severity"]) == ("entry.refused", "warning")
    assert len(service.start("cart", BEA)) == 1
    service.ok("POST", f"/api/executions/{started['executionId']}/cancel")
    assert len(service.start("cart", ANA)) == 1
