"""Optimistic concurrency: a change can insist on the revision of the flow that it was made for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
from werkzeug.test import TestResponse

from flowkit.client import Client
from flowkit.errors import ServiceError
from flowkit.flow import Flow
from flowkit.testing import at_once
from tests.api.harness import KEY, Service, delayed, problems_of

CHANGES: dict[str, tuple[str, str, Any]] = {
    "PUT": ("PUT", "", delayed("Other")),
    "PATCH": ("PATCH", "", {"name": "Other"}),
    "publish": ("POST", "/versions", {}),
    "DELETE": ("DELETE", "", ...),
    "DELETE and cancel": ("DELETE", "?cancel=true", ...),
}


@pytest.fixture(params=CHANGES)
def change(request: pytest.FixtureRequest) -> tuple[str, str, Any]:
    return CHANGES[request.param]


def make(
    service: Service, flow_id: str, change: tuple[str, str, Any], tag: str | None
) -> TestResponse:
    method, rest, body = change
    headers = {} if tag is None else {"If-Match": tag}
    return service(method, f"/api/flows/{flow_id}{rest}", body, headers=headers)


def test_every_answer_with_a_flow_names_its_revision(service: Service) -> None:
    created = service("POST", "/api/flows", delayed())
    address = f"/api/flows/{created.get_json()['id']}"
    tags = [created.headers["ETag"], service("GET", address).headers["ETag"]]
    assert tags[0] == tags[1]
    for method, rest, body in list(CHANGES.values())[:3]:
        changed = service(method, address + rest, body)
        assert changed.headers["ETag"] == service("GET", address).headers["ETag"]
        tags.append(changed.headers["ETag"])
    assert len(set(tags)) == 4, "each change has its own"


@pytest.mark.parametrize("form", ["{}", "W/{}", '"other", {}', "*"])
def test_the_present_revision_is_changed(
    service: Service, change: tuple[str, str, Any], form: str
) -> None:
    flow_id = service.add(delayed())["id"]
    tag = service("GET", f"/api/flows/{flow_id}").headers["ETag"]
    assert make(service, flow_id, change, form.format(tag)).status_code in (200, 201, 204)


def test_a_revision_that_has_passed_is_not_changed(
    service: Service, change: tuple[str, str, Any]
) -> None:
    flow_id = service.add(delayed())["id"]
    tag = service("GET", f"/api/flows/{flow_id}").headers["ETag"]
    service.ok("PATCH", f"/api/flows/{flow_id}", {"name": "Meanwhile"})
    service.start()
    before = service.everything()
    for wrong in (tag, "nonsense", ""):
        answer = make(service, flow_id, change, wrong)
        assert answer.status_code == 412
        assert [problem["code"] for problem in problems_of(answer)] == ["flow.changed"]
        assert answer.headers["ETag"] == service("GET", f"/api/flows/{flow_id}").headers["ETag"]
    assert service.everything() == before


def test_without_a_revision_everything_is_as_it_was(
    service: Service, change: tuple[str, str, Any]
) -> None:
    flow_id = service.add(delayed())["id"]
    service.ok("PATCH", f"/api/flows/{flow_id}", {"name": "Meanwhile"})
    assert make(service, flow_id, change, None).status_code in (200, 201, 204)


def test_a_flow_that_is_gone_is_not_found(service: Service, change: tuple[str, str, Any]) -> None:
    flow_id = service.add(delayed())["id"]
    tag = service("GET", f"/api/flows/{flow_id}").headers["ETag"]
    service("DELETE", f"/api/flows/{flow_id}")
    for given in (tag, "*"):
        assert make(service, flow_id, change, given).status_code == 404


def test_of_changes_of_one_revision_at_once_one_is_made(service: Service) -> None:
    flow_id = service.add(delayed())["id"]
    tag = service("GET", f"/api/flows/{flow_id}").headers["ETag"]
    answers = at_once(
        4, lambda i: make(service, flow_id, ("PATCH", "", {"name": f"change {i}"}), tag)
    )
    assert sorted(answer.status_code for answer in answers) == [200, 412, 412, 412]
    (won,) = [answer for answer in answers if answer.status_code == 200]
    assert service.ok("GET", f"/api/flows/{flow_id}")["name"] == won.get_json()["name"]


@pytest.mark.parametrize("change", ["DELETE", "PATCH"], indirect=True)
def test_a_change_between_look_and_act_is_noticed(
    service: Service, change: tuple[str, str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    flow_id = service.add(delayed())["id"]
    tag = service("GET", f"/api/flows/{flow_id}").headers["ETag"]
    look: Callable[..., Any] = service.store.get_flow

    def look_then_change(asked: str) -> Any:
        found = look(asked)
        monkeypatch.setattr(service.store, "get_flow", look)
        service.ok("PATCH", f"/api/flows/{flow_id}", {"name": "Meanwhile"})
        return found

    monkeypatch.setattr(service.store, "get_flow", look_then_change)
    assert make(service, flow_id, change, tag).status_code == 412
    assert service.ok("GET", f"/api/flows/{flow_id}")["name"] == "Meanwhile"


# -------------------------------------------------------------------------- the client


@pytest.fixture
def client(service: Service) -> Iterator[Client]:
    transport = httpx.WSGITransport(app=service.app)
    with Client("http://testserver", api_key=KEY, transport=transport) as client:
        yield client


def test_the_client_overwrites_no_change_that_it_has_not_seen(
    service: Service, client: Client
) -> None:
    mine = client.push(Flow("Wait", trigger="cart").delay(hours=1).end())
    service.clock.advance(timedelta(seconds=1))
    service.ok("PATCH", f"/api/flows/{mine.id}", {"settings": {"theirs": True}})
    with pytest.raises(ServiceError) as refusal:
        client.push(mine.replace(name="Mine"))
    assert refusal.value.status == 412
    assert [problem.code for problem in refusal.value.problems] == ["flow.changed"]
    seen = client.flow(str(mine.id))
    with pytest.raises(ServiceError, match="412"):
        client.push(mine)  # it still knows nothing of their change
    service.clock.advance(timedelta(seconds=1))
    both = client.push(seen.replace(name="Mine"))
    assert (both.name, both.settings) == ("Mine", {"theirs": True})
    assert client.push(both.replace(name="Again")).name == "Again"


def test_the_client_pushes_by_name_whatever_is_stored(service: Service, client: Client) -> None:
    built = Flow("Wait", trigger="cart").delay(hours=1).end()
    stored = client.push(built, author="ann", message="First")
    service.ok("PATCH", f"/api/flows/{stored.id}", {"settings": {"theirs": True}})
    assert client.push(built, message="Third").settings == {}
    listed = service.ok("GET", f"/api/flows/{stored.id}/versions")["items"]
    assert [(item["author"], item["message"]) for item in listed] == [
        (None, "Third"),
        (None, None),
        ("ann", "First"),
    ]


def test_the_document_says_so(service: Service) -> None:
    paths = service.ok("GET", "/api/openapi.json")["paths"]
    flow = paths["/api/flows/{flow_id}"]
    publish = paths["/api/flows/{flow_id}/versions"]["post"]
    for operation in (flow["put"], flow["patch"], flow["delete"], publish):
        headers = [p["name"] for p in operation["parameters"] if p.get("in") == "header"]
        assert headers == ["If-Match"]
        assert "412" in operation["responses"]
    for operation, status in (
        (paths["/api/flows"]["post"], "201"),
        (flow["get"], "200"),
        (flow["put"], "200"),
        (flow["patch"], "200"),
        (publish, "201"),
    ):
        assert "ETag" in operation["responses"][status]["headers"]
