"""``fk.plan``: what a push would change, against a service or another flow; nothing is stored."""

from __future__ import annotations

from typing import Any

import pytest

import flowkit as fk
from flowkit.client import Client
from flowkit.errors import Invalid, ServiceError
from flowkit.flow import Flow


def cart(hours: float = 1, **options: Any) -> Flow:
    return Flow("Cart", trigger="cart", **options).delay(hours=hours).end()


def test_a_new_flow(client: Client, service: Any) -> None:
    found = fk.plan(client, cart())
    assert found
    assert (found.deployed, found.diff, found.under_way) == (None, None, {})
    assert str(found) == "Cart: new, 3 nodes"
    assert {request.method for request in service.requests} == {"GET"}


def test_no_change(client: Client) -> None:
    client.push(cart())
    found = fk.plan(client, cart())
    assert not found
    assert str(found) == "Cart: deployed is version 1, active\n  no change"


def test_changes_and_executions_under_way(client: Client, service: Any) -> None:
    client.push(cart())
    service.executions = [
        {"flowVersion": version, "status": status}
        for version, status in [(1, "running"), (1, "delayed"), (1, "delayed"), (2, "delayed")]
    ]
    found = fk.plan(client, cart(2))
    assert found
    assert found.under_way == {1: {"running": 1, "delayed": 2}, 2: {"delayed": 1}}
    assert str(found) == (
        "Cart: deployed is version 1, active\n"
        "  ~ node delay_1 /config/amount: 1 -> 2\n"
        "  executions: 2 delayed and 1 running stay in version 1 until they end\n"
        "  executions: 1 delayed stay in version 2 until they end"
    )
    assert "<svg" in (found._repr_html_() or "")
    assert service.flows["flow-1"]["nodes"][1]["config"]["amount"] == 1


def test_new_findings_alone_are_told() -> None:
    def meeting(*more: str) -> Flow:
        flow = Flow("F", trigger="t")
        for name in more:
            flow = flow.parallel(lambda b: b.delay(days=1), lambda b: b.delay(days=2)).send(
                text="Hi", id=name
            )
        return flow.end()

    old, new = meeting("a"), meeting("a", "b")
    found = fk.plan(None, new, deployed=old)
    assert len(new.validate()) > len(old.validate()) > 0
    assert len(found.findings) == len(new.validate()) - len(old.validate())
    assert "new finding: warning" in str(found)
    assert not found.refused


def test_a_flow_with_errors_is_refused() -> None:
    draft = Flow("F", trigger="t")
    found = fk.plan(None, draft)
    assert found.refused
    assert "new finding: error" in str(found)


def test_outcomes_are_compared_by_who_can() -> None:
    asked = []

    def simulate(old: Flow, new: Flow) -> str:
        asked.append((old, new))
        return "sends: 10 -> 12"

    found = fk.plan(None, cart(2), deployed=cart(), simulate=simulate)
    assert asked == [(cart(), cart(2))]
    assert str(found).endswith("\n  sends: 10 -> 12")
    assert fk.plan(None, cart(), simulate=simulate).outcomes is None
    assert fk.plan(None, Flow("F", trigger="t"), deployed=cart(), simulate=simulate).refused
    assert len(asked) == 1


def test_what_the_service_says_is_passed_on(client: Client, service: Any) -> None:
    with pytest.raises(ServiceError, match="404"):
        fk.plan(client, cart(id="elsewhere"))
    for flow_id in ("flow-1", "flow-2"):
        service.flows[flow_id] = cart().to_dict() | {"id": flow_id, "version": 1}
    with pytest.raises(Invalid, match="flow-1, flow-2"):
        fk.plan(client, cart())
