"""``fk.plan``: what a push would change, against a service or another flow; nothing is stored."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pandas as pd
import pytest

import flowkit as fk
from flowkit import engine
from flowkit.client import Client
from flowkit.errors import Invalid, ServiceError
from flowkit.execution import new_id
from flowkit.flow import Flow
from flowkit.wire import to_wire


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
    found = fk.plan(client, cart(2), contacts=0)
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


AT = datetime(2026, 11, 30, 9, tzinfo=UTC)


def greeting(country: str = "BR", text: str = "Oi {{ trigger.name }}") -> Flow:
    return (
        Flow("Greeting", trigger="greet")
        .when(
            (fk.contact.country == country) & (fk.trigger.total > 100),
            then=lambda b: b.send(text=text, id="one"),
            id="choice",
        )
        .end()
    )


class TestOutcomes:
    """Both flows are simulated for the same contacts."""

    def test_of_contacts_that_are_made_up_with_what_the_flows_read(self) -> None:
        found = fk.plan(None, greeting("US"), deployed=greeting(), at=AT, contacts=200)
        assert found.outcomes is not None
        contacts = found.outcomes.old.triggers["contact"]
        assert {contact["country"] for contact in contacts} == {"BR", "US", "another"}
        payloads = found.outcomes.old.triggers["payload"]
        assert {payload["total"] for payload in payloads} == {99, 100, 101}
        assert {payload["name"][:2] for payload in payloads} == {"20"}
        differs = found.outcomes.contacts["differs"]
        assert set(differs) == {"same", "way"}
        assert str(found).splitlines()[2:4] == [
            "  simulated: 200 contacts made up, since no trigger is recorded; seed 0; every "
            "message is taken at once and nobody answers, since no message is recorded",
            f"  200 executions of 200 triggers: {sum(differs == 'same')} the same, "
            f"{sum(differs == 'way')} by another way",
        ]
        assert "<table" in (found._repr_html_() or "")
        again = fk.plan(None, greeting("US"), deployed=greeting(), at=AT, contacts=200)
        assert str(again) == str(found)
        other = fk.plan(None, greeting("US"), deployed=greeting(), at=AT, contacts=200, seed=1)
        assert str(other) != str(found)

    def test_of_the_triggers_that_the_service_has_recorded(
        self, client: Client, service: Any
    ) -> None:
        stored = client.push(greeting())
        people = [
            {"id": f"c{n}", "phone": "+5511999990000", "country": "BR" if n % 3 else "US"}
            for n in range(150)
        ]
        made = [
            engine.start(stored, {"contact": p, "total": 200}, execution_id=new_id(AT), now=AT)
            for p in people
        ]
        service.executions = [to_wire(execution) for execution in made]
        before = len(service.requests)
        found = fk.plan(client, greeting("US"), contacts=120)
        assert found.outcomes is not None
        assert found.outcomes.about.startswith("simulated: 120 recorded triggers; seed 0; every")
        assert len(found.outcomes.old.messages) == 80
        assert len(found.outcomes.new.messages) == 40
        assert found.under_way == {1: {"running": 150}}
        assert {request.method for request in service.requests[before:]} == {"GET"}

    def test_the_behaviour_is_fitted_where_enough_is_recorded(
        self, client: Client, service: Any
    ) -> None:
        stored = client.push(greeting())
        people = fk.Population(size=400, fields={"country": {"BR": 1}})
        refusing = fk.Behaviour(reactions=[fk.Reaction(failed=0.4)])
        for size, said in [(150, "only"), (400, "behaviour fitted from")]:
            service.executions = recorded_of(stored, list(people)[:size], refusing)
            found = fk.plan(client, greeting(text="Olá"))
            assert said in str(found)
            assert found.outcomes is not None
            failed = (found.outcomes.new.executions["status"] == "failed").mean()
            assert failed == 0 if said == "only" else 0.3 < failed < 0.5

    def test_nothing_is_simulated_that_cannot_be_or_need_not_be(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert fk.plan(None, cart()).outcomes is None
        assert fk.plan(None, cart(), deployed=cart()).outcomes is None
        assert fk.plan(None, cart(2), deployed=cart(), contacts=0).outcomes is None
        wrong = fk.plan(None, Flow("F", trigger="t"), deployed=cart())
        assert wrong.refused
        assert str(wrong).endswith("not simulated: a flow has errors")
        monkeypatch.setattr("flowkit.planning.find_spec", lambda name: None)
        assert "not simulated: that needs pandas" in str(fk.plan(None, cart(2), deployed=cart()))
        with pytest.raises(Invalid, match=r"plan\.contacts"):
            fk.plan(None, cart(2), deployed=cart(), contacts=-1)

    def test_a_mapping_that_made_up_contacts_do_not_know(self) -> None:
        old, new = greeting(), greeting("US")
        mapped = Flow.from_json(
            new.to_json().replace('"config": {}', '"config": {"contact": "a.b"}', 1)
        )
        assert mapped.behaviour(mapped.start).contact == "a.b"  # type: ignore[attr-defined]
        found = fk.plan(None, mapped, deployed=old, at=AT, contacts=20)
        assert found.outcomes is not None
        assert len(found.outcomes.new.executions) == 20


def recorded_of(flow: Flow, people: list[Any], behaviour: fk.Behaviour) -> list[dict[str, Any]]:
    """What a service would list of executions that went so."""
    result = fk.simulate(
        flow, people, behaviour, at=AT, payload=lambda c: {"contact": c, "total": 200}
    )
    documents = []
    for run in result.triggers.to_dict("records"):
        of = result.node_runs[result.node_runs["execution_id"] == run["execution_id"]]
        nodes = [
            {
                "nodeId": node["node_id"],
                "branchId": node["branch_id"],
                "status": node["status"],
                "startTime": node["start_time"].isoformat(),
                "endTime": node["end_time"].isoformat(),
                "result": node["result"],
                "error": None
                if node["error_code"] is pd.NA
                else {"code": node["error_code"], "message": node["error_message"]},
                "retryCount": 0,
                "visit": 1,
                "sequence": node["sequence"],
            }
            for node in of.to_dict("records")
        ]
        documents.append(
            {
                "id": run["execution_id"],
                "flowId": flow.id,
                "flowVersion": flow.version,
                "status": "completed",
                "triggerType": flow.trigger_type,
                "contactId": run["contact_id"],
                "createdAt": run["created_at"].isoformat(),
                "context": {"trigger": run["payload"], "contact": run["contact"]},
                "executedNodes": nodes,
            }
        )
    return documents


def test_what_the_service_says_is_passed_on(client: Client, service: Any) -> None:
    with pytest.raises(ServiceError, match="404"):
        fk.plan(client, cart(id="elsewhere"))
    for flow_id in ("flow-1", "flow-2"):
        service.flows[flow_id] = cart().to_dict() | {"id": flow_id, "version": 1}
    with pytest.raises(Invalid, match="flow-1, flow-2"):
        fk.plan(client, cart())
