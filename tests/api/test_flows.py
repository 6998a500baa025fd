"""Drafts, publishing, versions, and the life of a flow over HTTP."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest

from flowkit import engine
from flowkit.errors import NotFound
from flowkit.flow import Flow
from flowkit.wire import iso
from service.api.flows import EXAMPLE
from tests.api.harness import NOW, PAYLOAD, Service, delayed, sending

DRAFT: dict[str, Any] = {
    "name": "Half done",
    "triggerType": "cart",
    "nodes": [{"id": "a", "type": "TRIGGER", "config": {}}, {"id": "b", "type": "NO_SUCH_TYPE"}],
    "edges": [],
    "viewport": {"x": 1, "y": 2.5, "zoom": 0.7},
}


def errors(saved: dict[str, Any]) -> list[str]:
    return [problem["code"] for problem in saved["problems"] if problem["severity"] == "error"]


def moved(flow: dict[str, Any]) -> dict[str, Any]:
    """The same flow with its nodes elsewhere on the canvas."""
    nodes = [node | {"position": {"x": 7, "y": 7}} for node in flow["nodes"]]
    return flow | {"nodes": nodes}


def changed(flow: dict[str, Any], amount: int) -> dict[str, Any]:
    """The same flow with another delay."""
    nodes = [
        node | {"config": {"amount": amount, "unit": "hours"}} if node["type"] == "DELAY" else node
        for node in flow["nodes"]
    ]
    return flow | {"nodes": nodes}


def test_a_draft_with_errors_is_saved_and_named_so(service: Service) -> None:
    saved = service.ok("POST", "/api/flows", DRAFT, status=201)
    assert "node.unknown_type" in errors(saved)
    assert saved["version"] == 0
    assert saved["isActive"] is False
    stored = service.ok("GET", f"/api/flows/{saved['id']}")
    assert stored == {key: value for key, value in saved.items() if key != "problems"}
    assert stored["viewport"] == DRAFT["viewport"]
    found = service.ok("POST", f"/api/flows/{saved['id']}/validate")
    assert found == {"problems": saved["problems"]}


def test_a_flow_with_errors_cannot_be_active(service: Service) -> None:
    codes = service.refused(422, "POST", "/api/flows", DRAFT | {"isActive": True})
    assert "node.unknown_type" in codes
    assert service.ok("GET", "/api/flows")["items"] == []
    draft = service.ok("POST", "/api/flows", DRAFT, status=201)
    address = f"/api/flows/{draft['id']}"
    before = service.everything()
    service.refused(422, "PATCH", address, {"isActive": True})
    service.refused(422, "PUT", address, DRAFT | {"isActive": True})
    assert service.everything() == before


def test_an_active_flow_cannot_be_made_wrong(service: Service) -> None:
    flow = service.add(delayed())
    before = service.everything()
    service.refused(422, "PATCH", f"/api/flows/{flow['id']}", {"edges": []})
    assert service.everything() == before


def test_what_is_the_services_is_not_the_clients(service: Service) -> None:
    theirs = {"version": 9, "createdAt": "2001-01-01T00:00:00Z", "updatedAt": 5, "problems": "?"}
    flow = service.ok("POST", "/api/flows", delayed() | theirs, status=201)
    assert (flow["version"], flow["createdAt"], flow["updatedAt"]) == (0, iso(NOW), iso(NOW))
    assert [p for p in flow["problems"] if p["severity"] == "error"] == []
    later = service.clock.advance(timedelta(minutes=1))
    again = service.ok("PUT", f"/api/flows/{flow['id']}", flow | theirs)
    assert (again["version"], again["createdAt"], again["updatedAt"]) == (0, iso(NOW), iso(later))
    patched = service.ok("PATCH", f"/api/flows/{flow['id']}", {"name": "Other"} | theirs)
    assert (patched["version"], patched["createdAt"]) == (0, iso(NOW))


def test_categories_are_normalised_with_a_warning(service: Service) -> None:
    flow = delayed()
    flow["nodes"][0]["category"] = "ACTION"
    saved = service.ok("POST", "/api/flows", flow, status=201)
    assert saved["nodes"][0]["category"] == "SYSTEM"
    assert [problem["severity"] for problem in saved["problems"]] == ["warning"]


def test_ids_are_given_or_named(service: Service) -> None:
    given = service.ok("POST", "/api/flows", delayed(), status=201)["id"]
    assert len(given) == 32
    named = service.ok("POST", "/api/flows", delayed() | {"id": "My_flow-1"}, status=201)
    assert named["id"] == "My_flow-1"
    service.refused(409, "POST", "/api/flows", delayed("Second") | {"id": "My_flow-1"})
    assert service.ok("GET", "/api/flows/My_flow-1")["name"] == "Wait"


def test_an_id_that_had_versions_is_not_given_again(service: Service) -> None:
    service.add(delayed() | {"id": "draft"}, active=False)
    service.add(delayed() | {"id": "published"})
    for flow_id in ("draft", "published"):
        assert service("DELETE", f"/api/flows/{flow_id}").status_code == 204
    service.add(delayed() | {"id": "draft"})
    service.refused(409, "POST", "/api/flows", delayed() | {"id": "published"})


@pytest.mark.parametrize(
    "wrong", ["", "a b", "a/b", "x" * 65, "é", "a\n", 5, True, [], {}, "trigger"]
)
def test_ids_that_cannot_be(service: Service, wrong: Any) -> None:
    assert service.refused(422, "POST", "/api/flows", delayed() | {"id": wrong}) == {"flow.id"}


def test_put_and_patch_do_not_move_a_flow(service: Service) -> None:
    service.add(delayed() | {"id": "one"})
    assert service.refused(422, "PUT", "/api/flows/one", delayed() | {"id": "two"}) == {"flow.id"}
    assert service.refused(422, "PATCH", "/api/flows/one", {"id": "two"}) == {"flow.id"}
    service.ok("PATCH", "/api/flows/one", {"id": "one"})
    service.ok("PUT", "/api/flows/one", delayed() | {"id": None})


def test_versions_count_published_content(service: Service) -> None:
    draft = service.add(delayed(), active=False)
    address = f"/api/flows/{draft['id']}"

    def version(method: str, body: dict[str, Any]) -> int:
        return service.ok(method, address, body)["version"]  # type: ignore[no-any-return]

    assert version("PATCH", {"isActive": True}) == 1
    assert version("PATCH", {"isActive": True}) == 1
    flow = service.ok("GET", address)
    assert version("PUT", moved(flow)) == 1
    assert version("PUT", changed(flow, 2)) == 2
    assert version("PATCH", {"settings": {"a": 1}}) == 3
    assert version("PATCH", {"name": "Other"}) == 4  # templates can show it
    # Drafts of an inactive flow publish nothing, and going back publishes nothing new.
    assert version("PATCH", {"isActive": False}) == 4
    last = service.ok("GET", address)
    assert version("PUT", changed(last, 5)) == 4
    assert version("PUT", last) == 4
    assert version("PATCH", {"isActive": True}) == 4
    assert version("PUT", changed(last, 5) | {"isActive": True}) == 5
    amounts = [
        next(n.config["amount"] for n in flow.nodes if n.type == "DELAY")
        for flow in (service.store.get_version(draft["id"], v) for v in (1, 2, 3, 4, 5))
    ]
    assert amounts == [1, 2, 2, 2, 5]


def test_triggers_start_the_published_version_of_active_flows_only(service: Service) -> None:
    flow = service.add(delayed())
    address = f"/api/flows/{flow['id']}"
    (first,) = service.start()
    service.ok("PUT", address, changed(flow, 2))
    (second,) = service.start()
    versions = [
        service.ok("GET", f"/api/executions/{one}")["flowVersion"] for one in (first, second)
    ]
    assert versions == [1, 2]
    service.ok("PATCH", address, {"isActive": False})
    assert service.ok("POST", "/api/flows/trigger/cart", PAYLOAD)["executions"] == []


def test_a_flow_answers_to_its_new_trigger_type(service: Service) -> None:
    flow = service.add(delayed())
    service.ok("PATCH", f"/api/flows/{flow['id']}", {"triggerType": "order"})
    assert service.ok("POST", "/api/flows/trigger/cart", PAYLOAD)["executions"] == []
    assert len(service.start("order")) == 1


def test_patch_knows_its_keys(service: Service) -> None:
    flow = service.add(delayed())
    address = f"/api/flows/{flow['id']}"
    before = service.everything()
    assert service.refused(422, "PATCH", address, {"isactive": False}) == {"flow.unknown_field"}
    assert service.refused(422, "PATCH", address, {"viewport": {}}) == {"flow.unknown_field"}
    assert service.refused(422, "PATCH", address, [{"isActive": False}]) == {"document.type"}
    assert service.refused(422, "PATCH", address, {"isActive": "no"}) == {"document.type"}
    assert service.everything() == before


def test_put_replaces_whole_and_patch_merges(service: Service) -> None:
    flow = service.add(delayed() | {"viewport": {"zoom": 1}, "settings": {"a": 1, "b": 2}})
    address = f"/api/flows/{flow['id']}"
    patched = service.ok("PATCH", address, {"settings": {"a": 2}})
    assert patched["settings"] == {"a": 2}
    assert patched["viewport"] == {"zoom": 1}
    assert patched["isActive"] is True
    replaced = service.ok("PUT", address, delayed())
    assert "viewport" not in replaced
    assert replaced["isActive"] is False


def test_what_react_flow_adds_survives(service: Service) -> None:
    flow = delayed()
    flow["nodes"][0] |= {"data": {"label": "x"}, "measured": {"width": 10.5}, "selected": True}
    flow["edges"][0] |= {"animated": False, "style": None}
    stored = service.ok("GET", f"/api/flows/{service.add(flow)['id']}")
    for sent, got in zip(
        flow["nodes"] + flow["edges"], stored["nodes"] + stored["edges"], strict=True
    ):
        assert got == sent


def test_the_list_is_newest_first_and_filtered(service: Service) -> None:
    ids = []
    for name, trigger, active in (("a", "x", True), ("b", "y", False), ("c", "x", False)):
        ids.append(service.add(delayed(name, trigger), active=active)["id"])
        service.clock.advance(timedelta(seconds=1))

    def listed(query: str) -> list[str]:
        return [flow["id"] for flow in service.ok("GET", f"/api/flows{query}")["items"]]

    a, b, c = ids
    assert listed("") == [c, b, a]
    assert listed("?triggerType=x") == [c, a]
    assert listed("?isActive=true") == [a]
    assert listed("?isActive=false&triggerType=x") == [c]
    assert listed("?triggerType=z") == []


def test_a_flow_under_way_is_deleted_only_when_that_is_said(service: Service) -> None:
    flow = service.add(delayed())
    address = f"/api/flows/{flow['id']}"
    one, two = service.start() + service.start()
    service.work()
    (three,) = service.start()
    service.refused(409, "DELETE", address)
    assert service.ok("GET", address)["isActive"] is True
    assert service("DELETE", f"{address}?cancel=true").status_code == 204
    service.refused(404, "GET", address)
    for execution in (one, two, three):
        shown = service.ok("GET", f"/api/executions/{execution}")
        assert shown["status"] == "cancelled"
        assert shown["endedAt"] == iso(service.clock.now())
    service.refused(404, "DELETE", address)
    service.refused(404, "DELETE", f"{address}?cancel=true")


def test_many_executions_are_cancelled_with_their_flow(service: Service) -> None:
    flow = service.add(delayed())
    ids = [service.start()[0] for _ in range(230)]
    assert service("DELETE", f"/api/flows/{flow['id']}?cancel=true").status_code == 204
    listed = service.ok("GET", "/api/executions?status=cancelled&limit=500")["items"]
    assert {item["id"] for item in listed} == set(ids)


def test_nothing_starts_any_more_while_executions_are_cancelled(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow = service.add(delayed())
    service.start()
    commit = service.store.commit
    started: list[Any] = []

    def meanwhile(patches: Any, **options: Any) -> Any:
        started.extend(service.ok("POST", "/api/flows/trigger/cart", PAYLOAD)["executions"])
        return commit(patches, **options)

    monkeypatch.setattr(service.store, "commit", meanwhile)
    assert service("DELETE", f"/api/flows/{flow['id']}?cancel=true").status_code == 204
    assert started == []


def test_what_a_late_trigger_started_is_cancelled_too(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    flow = service.add(delayed())
    parsed = service.store.get_version(flow["id"], 1)
    late = engine.start(parsed, PAYLOAD, execution_id="late", now=service.clock.now())
    assert late is not None
    delete = service.store.delete_flow

    def after_a_late_start(flow_id: str) -> None:
        monkeypatch.setattr(service.store, "delete_flow", delete)
        service.store.create([late])
        delete(flow_id)

    monkeypatch.setattr(service.store, "delete_flow", after_a_late_start)
    assert service("DELETE", f"/api/flows/{flow['id']}?cancel=true").status_code == 204
    assert service.ok("GET", "/api/executions/late")["status"] == "cancelled"


def test_an_ended_flow_is_deleted_and_its_history_stays(service: Service) -> None:
    flow = service.add(sending())
    (execution,) = service.start()
    service.work()
    assert service("DELETE", f"/api/flows/{flow['id']}").status_code == 204
    shown = service.ok("GET", f"/api/executions/{execution}")
    assert shown["status"] == "completed"
    assert service.store.get_version(flow["id"], 1).name == "Send"
    with pytest.raises(NotFound):
        service.store.get_flow(flow["id"])


def test_of_changes_at_once_each_is_made_and_versions_are_not_given_twice(service: Service) -> None:
    flow = service.add(delayed())
    address = f"/api/flows/{flow['id']}"
    names = [f"name {i}" for i in range(8)]
    barrier = threading.Barrier(len(names))
    versions: list[int] = []

    def rename(name: str) -> None:
        barrier.wait()
        versions.append(service.ok("PATCH", address, {"name": name})["version"])

    threads = [threading.Thread(target=rename, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(versions) == list(range(2, 10))
    snapshots = {service.store.get_version(flow["id"], v).name for v in versions}
    assert snapshots == set(names)


def test_the_documents_example_is_a_flow_without_problems() -> None:
    assert Flow.from_dict(EXAMPLE).validate() == []


def test_the_service_says_of_a_flow_what_the_sdk_says(service: Service) -> None:
    flow = (
        Flow("Advice", trigger="signed_up", contact="{phone: phone}")
        .send(text="Hi")
        .send(text="{{ vars.x }}, what is your card number?")
        .end()
    )
    stored = service.ok("POST", "/api/flows", flow.to_dict(), status=201)
    said = [problem.to_dict() for problem in flow.validate()]
    assert {"window.may_be_closed", "pace.pair"} < {problem["code"] for problem in said}
    assert stored["problems"] == said
    assert service.ok("POST", f"/api/flows/{stored['id']}/validate")["problems"] == said


def test_with_the_templates_of_the_account_it_tells_more(service: Service) -> None:
    flow = Flow("T", trigger="t").send(template="hi", language="pt_BR").end()
    stored = service.ok("POST", "/api/flows", flow.to_dict(), status=201)
    address = f"/api/flows/{stored['id']}/validate"
    assert service.ok("POST", address) == {"problems": stored["problems"]}
    found = service.ok("POST", address, {"templates": []})["problems"]
    assert found == [problem.to_dict() for problem in flow.validate(templates=[])]
    assert "template.unknown" in {problem["code"] for problem in found}
    assert service.ok("POST", address, {"templates": [{"data": []}]})["problems"] == found
    for templates in ([{"name": "hi"}], [5], "/etc/hostname", {"data": []}):
        service.refused(422, "POST", address, {"templates": templates})
    answer = service("POST", address, {"templates": [{"name": "hi"}]})
    assert answer.get_json()["problems"][0]["path"] == "/templates/0/language"


def test_a_flow_runs_only_versions_that_are_published(service: Service) -> None:
    caller = Flow("Caller", trigger="cart").subflow("part", 1, id="sub").end().to_dict()
    draft = service.add(caller | {"id": "whole"}, active=False)
    assert errors(draft) == ["subflow.unknown_version"]
    active = {"isActive": True}
    refused = service.refused(422, "PATCH", "/api/flows/whole", active)
    assert refused == {"subflow.unknown_version"}
    service.add(delayed() | {"id": "part"})
    assert service.ok("POST", "/api/flows/whole/validate")["problems"] == []
    service.ok("PATCH", "/api/flows/whole", active)
    own = Flow("Own", trigger="cart").subflow("own", 1).end().to_dict() | {"id": "own"}
    found = errors(service.add(own, active=False))
    assert found == ["subflow.recursion", "subflow.unknown_version"]
