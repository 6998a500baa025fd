"""What the client writes: flows by id or name, triggers; and which flow a push is about."""

from __future__ import annotations

from typing import Any

import pytest

from flowkit.client import Client
from flowkit.errors import Invalid, ServiceError
from flowkit.flow import Flow


@pytest.fixture
def flow() -> Flow:
    return Flow("Abandoned cart", trigger="cart_abandoned").end()


def test_a_new_flow_is_created_active(client: Client, service: Any, flow: Flow) -> None:
    stored = client.push(flow)
    assert (stored.id, stored.version, stored.is_active) == ("flow-1", 1, True)
    assert stored.content() == flow.content()
    assert service.requests[-1].method == "POST"
    assert "problems" not in stored.to_dict()


def test_the_flow_of_that_name_is_updated(client: Client, service: Any, flow: Flow) -> None:
    client.push(Flow("Another", trigger="cart_abandoned").end())
    client.push(flow)
    again = client.push(flow)
    assert (again.id, again.version) == ("flow-2", 2)
    assert service.requests[-1].method == "PUT"
    assert len(service.flows) == 2


def test_a_flow_with_an_id_updates_that_one_whatever_its_name(
    client: Client, service: Any, flow: Flow
) -> None:
    stored = client.push(flow)
    renamed = Flow.from_dict(stored.to_dict() | {"name": "Renamed"})
    again = client.push(renamed)
    assert (again.id, again.name, again.version) == ("flow-1", "Renamed", 2)
    assert [request.method for request in service.requests].count("GET") == 1


def test_a_flow_with_an_unknown_id_is_not_created(client: Client, flow: Flow) -> None:
    with pytest.raises(ServiceError) as refusal:
        client.push(Flow.from_dict(flow.to_dict() | {"id": "elsewhere"}))
    assert refusal.value.status == 404


def test_a_name_that_two_flows_have_is_refused(client: Client, service: Any, flow: Flow) -> None:
    for flow_id in ("flow-1", "flow-2"):
        service.flows[flow_id] = flow.to_dict() | {"id": flow_id, "version": 1}
    with pytest.raises(Invalid, match=r"flow-1, flow-2"):
        client.push(flow)
    assert [request.method for request in service.requests] == ["GET"]


def test_the_name_is_found_on_any_page(client: Client, service: Any, flow: Flow) -> None:
    for number in range(501):
        flow_id = f"flow-{number}"
        service.flows[flow_id] = flow.to_dict() | {"id": flow_id, "name": str(number)}
    service.flows["flow-500"]["name"] = flow.name
    assert client.push(flow).id == "flow-500"


@pytest.mark.parametrize("activate", [True, False])
def test_activate_decides_whether_triggers_start_it(
    client: Client, service: Any, flow: Flow, activate: bool
) -> None:
    client.push(flow, activate=not activate)
    assert client.push(flow, activate=activate).is_active is activate
    assert service.sent()["isActive"] is activate


def test_a_refused_flow_says_what_is_wrong(client: Client, service: Any, flow: Flow) -> None:
    client.flows()
    service.next = service.refusal(422, "config.required", "/nodes/1/config/text", "is missing")
    with pytest.raises(ServiceError) as refusal:
        client.push(Flow.from_dict(flow.to_dict() | {"id": "flow-1"}))
    (problem,) = refusal.value.problems
    assert refusal.value.status == 422
    assert (problem.code, problem.path) == ("config.required", "/nodes/1/config/text")
    assert "/nodes/1/config/text" in str(refusal.value)


def test_flows_are_read_as_stored(client: Client, flow: Flow) -> None:
    stored = client.push(flow)
    assert client.flow("flow-1").to_dict() == stored.to_dict()
    assert [one.to_dict() for one in client.flows()] == [stored.to_dict()]


def test_a_trigger_posts_the_payload_as_it_is(client: Client, service: Any) -> None:
    answer = client.trigger("cart/abandoned", {"contact": {"first_name": "Zoë 👋"}})
    assert answer == {"triggerType": "cart/abandoned", "executions": [], "problems": []}
    assert service.sent() == {"contact": {"first_name": "Zoë 👋"}}
    assert service.query() == {}
    client.trigger("cart", [], wait=True)
    assert service.query() == {"wait": "true"}
    assert service.sent() == []
