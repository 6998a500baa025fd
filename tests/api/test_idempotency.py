"""An event that is delivered again starts nothing again, and is answered as the first time."""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import Any

import pytest

from flowkit.execution import derived_id, new_id
from flowkit.flow import Flow
from flowkit.wire import iso
from service import faults
from tests.api.harness import NOW, PAYLOAD, Service, delayed, problems_of, sending


def deliver(
    service: Service, payload: Any = PAYLOAD, key: str | None = "k1", query: str = ""
) -> tuple[int, Any]:
    headers = {} if key is None else {"Idempotency-Key": key}
    answer = service("POST", f"/api/flows/trigger/cart{query}", payload, headers=headers)
    return answer.status_code, answer.get_json()


def stored(service: Service) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = service.ok("GET", "/api/executions")["items"]
    return items


def keyed(name: str = "Keyed", mapping: str = "id") -> dict[str, Any]:
    return Flow(name, trigger="cart", idempotency_key=mapping).delay(hours=1).end().to_dict()


def test_a_redelivery_is_answered_as_the_first_time(service: Service) -> None:
    for name in "ab":
        service.add(delayed(name))
    service.add(sending("Needs a contact"))
    first = deliver(service, {"x": 1})
    assert first[0] == 202
    assert len(first[1]["executions"]) == 2
    assert [p["code"] for p in first[1]["problems"]] == ["trigger.contact_missing"]
    service.clock.advance(timedelta(hours=3))
    assert deliver(service, {"x": 1}) == first
    assert len(stored(service)) == 2


def test_what_was_pinned_stays_although_flows_come_go_and_change(service: Service) -> None:
    one, two = service.add(delayed("One")), service.add(delayed("Two"))
    first = deliver(service)
    service.ok("PATCH", f"/api/flows/{one['id']}", {"isActive": False})
    service.ok("PUT", f"/api/flows/{two['id']}", sending("New") | {"isActive": True})
    service.add(delayed("Three"))
    assert deliver(service) == first
    assert len(stored(service)) == 2


def test_what_depends_on_the_time_is_decided_as_at_first(service: Service) -> None:
    early = {"<": [{"var": "now"}, iso(NOW + timedelta(hours=1))]}
    service.add(Flow("Early", trigger="cart", filter=early).end().to_dict())
    first = deliver(service)
    assert len(first[1]["executions"]) == 1
    service.clock.advance(timedelta(hours=2))
    assert deliver(service) == first
    assert deliver(service, key="k2")[1]["executions"] == []


def test_nothing_to_start_is_also_remembered(service: Service) -> None:
    first = deliver(service)
    assert first[0] == 200
    service.add(delayed())
    assert deliver(service) == first
    assert deliver(service, key="k2")[0] == 202


def test_a_new_key_and_none_start_anew(service: Service) -> None:
    service.add(delayed())
    for key in ("k1", "k2", None, None):
        assert deliver(service, key=key)[0] == 202
    assert len(stored(service)) == 4


def test_a_key_is_one_trigger_type_s(service: Service) -> None:
    service.add(delayed("Cart"))
    service.add(delayed("Order", "order"))
    deliver(service)
    headers = {"Idempotency-Key": "k1"}
    answer = service("POST", "/api/flows/trigger/order", {"other": 1}, headers=headers)
    assert answer.status_code == 202


def test_the_same_key_with_another_body_is_refused(service: Service) -> None:
    service.add(delayed())
    assert deliver(service, {"a": 1, "b": 2})[0] == 202
    assert deliver(service, {"b": 2, "a": 1})[0] == 202, "the same JSON, written otherwise"
    status, answer = deliver(service, {"a": 1})
    assert status == 422
    (problem,) = answer["problems"]
    assert (problem["code"], problem["path"]) == ("trigger.key_reused", "/Idempotency-Key")
    assert len(stored(service)) == 1


@pytest.mark.parametrize("key", ["", " ", "a b", "x" * 256, "é", "a\tb"])
def test_a_malformed_key_is_refused(service: Service, key: str) -> None:
    service.add(delayed())
    headers = {"Idempotency-Key": key}
    answer = service("POST", "/api/flows/trigger/cart", PAYLOAD, headers=headers)
    assert answer.status_code == 422
    assert [p["code"] for p in problems_of(answer)] == ["trigger.key_invalid"]
    assert stored(service) == []


def test_the_longest_key_is_taken(service: Service) -> None:
    service.add(delayed())
    assert deliver(service, key="~" * 255)[0] == 202


def test_with_wait_the_statuses_are_the_present_ones(service: Service) -> None:
    service.add(delayed())
    first = deliver(service)
    service.work()
    assert deliver(service) == first, "as at acceptance"
    status, answer = deliver(service, query="?wait=true")
    assert status == 200
    assert [e["status"] for e in answer["executions"]] == ["delayed"]


@pytest.mark.sqlite
def test_an_expired_key_starts_anew(service: Service) -> None:
    service.add(delayed())
    first = deliver(service)[1]["executions"]
    service.store._file.write(lambda c: c.execute("DELETE FROM trigger_keys"), durable=False)
    service.clock.advance(timedelta(hours=25))
    second = deliver(service)[1]["executions"]
    assert {e["executionId"] for e in first}.isdisjoint(e["executionId"] for e in second)
    assert len(stored(service)) == 2


# ------------------------------------------------------------------------- payload


def test_the_payload_s_own_key_decides(service: Service) -> None:
    service.add(keyed())
    first = deliver(service, {"id": 7, "attempt": 1}, key=None)
    service.clock.advance(timedelta(minutes=1))
    assert deliver(service, {"id": 7, "attempt": 2}, key=None) == first
    assert deliver(service, {"id": 8}, key=None)[1] != first[1]
    assert deliver(service, {"id": "7"}, key=None)[0] == 202
    assert len(stored(service)) == 3
    contexts = service.ok("GET", "/api/executions?include=context")["items"]
    assert contexts[-1]["context"]["trigger"]["attempt"] == 1


def test_a_payload_without_its_key_starts_each_time(service: Service) -> None:
    service.add(keyed())
    for _ in range(2):
        assert deliver(service, {"other": 1}, key=None)[0] == 202
    assert len(stored(service)) == 2


def test_a_key_that_is_no_text_is_that_flow_s_problem(service: Service) -> None:
    service.add(keyed())
    free = service.add(delayed("Free"))
    for odd in ({"a": 1}, [1], True, 1.5, ""):
        status, answer = deliver(service, {"id": odd}, key=None)
        assert status == 202
        assert [p["code"] for p in answer["problems"]] == ["trigger.key_unusable"]
        assert [e["flowId"] for e in answer["executions"]] == [free["id"]]


def test_a_mapping_that_fails_is_that_flow_s_problem(service: Service) -> None:
    service.add(keyed(mapping="join('-', [shop, id])"))
    status, answer = deliver(service, {"id": 1}, key=None)
    assert (status, answer["executions"]) == (200, [])
    assert [p["code"] for p in answer["problems"]] == ["mapping_failed"]


def test_a_malformed_mapping_cannot_be_active(service: Service) -> None:
    flow = keyed() | {"isActive": True}
    flow["nodes"][0]["config"]["idempotencyKey"] = "a["
    assert service.refused(422, "POST", "/api/flows", flow) == {"config.jmespath"}


def test_both_keys_are_honoured_and_the_payload_s_decides_for_its_flow(service: Service) -> None:
    own, other = service.add(keyed()), service.add(delayed("Other"))

    def ids(answer: Any) -> dict[str, str]:
        return {e["flowId"]: e["executionId"] for e in answer["executions"]}

    first = ids(deliver(service, {"id": 1})[1])
    again = ids(deliver(service, {"id": 1})[1])
    resent = ids(deliver(service, {"id": 1}, key="k2")[1])
    assert first == again
    assert resent[own["id"]] == first[own["id"]]
    assert resent[other["id"]] != first[other["id"]]
    assert len(stored(service)) == 3


def test_a_flow_that_changed_since_is_not_started_again(service: Service) -> None:
    flow = service.add(keyed())
    first = deliver(service, {"id": 1}, key=None)
    service.ok("PUT", f"/api/flows/{flow['id']}", keyed("Renamed") | {"isActive": True})
    assert deliver(service, {"id": 1}, key=None) == first
    assert len(stored(service)) == 1


# ------------------------------------------------------------------------- crashes


class Died(BaseException):
    """In place of SIGKILL."""


@pytest.mark.parametrize("point", ["after_pin", "before_create", "after_create"])
@pytest.mark.parametrize("key", ["k1", None])
def test_a_crash_in_the_middle_and_a_redelivery_make_one(
    service: Service, monkeypatch: pytest.MonkeyPatch, point: str, key: str | None
) -> None:
    for name in "ab":
        service.add(keyed(name))

    def die(at: str) -> None:
        if at == point:
            raise Died

    with monkeypatch.context() as patch:
        patch.setattr(faults, "hit", die)
        with pytest.raises(Died):
            deliver(service, {"id": 1}, key)
    service.clock.advance(timedelta(hours=1))
    status, answer = deliver(service, {"id": 1}, key)
    assert status == 202
    assert len(answer["executions"]) == 2
    assert {e["executionId"] for e in answer["executions"]} == {e["id"] for e in stored(service)}
    assert deliver(service, {"id": 1}, key) == (status, answer)


def test_ids_are_derived_from_seed_flow_and_version() -> None:
    seed = new_id(NOW)
    ids = {
        derived_id(*parts) for parts in itertools.product([seed, new_id(NOW)], ["a", "b"], [1, 2])
    } | {derived_id(seed, "a1"), derived_id(seed, "a", "1")}
    assert len(ids) == 10
    assert derived_id(seed, "a", 1) == derived_id(seed, "a", 1)
    assert all(len(one) == 32 and one[:12] == seed[:12] for one in ids)
