"""Published versions over HTTP: listed, read, published anew; who did it and why."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from flowkit.flow import Flow
from flowkit.wire import iso
from tests.api.harness import NOW, PAYLOAD, Service, delayed, sending

HOUR = timedelta(hours=1)


def hours(amount: int) -> dict[str, Any]:
    return Flow("Wait", trigger="cart").delay(hours=amount).end().to_dict()


def amounts(service: Service, address: str) -> list[Any]:
    """The delay of each version, newest first."""
    listed = service.ok("GET", f"{address}/versions")["items"]
    return [
        amount_of(service.ok("GET", f"{address}/versions/{item['version']}")) for item in listed
    ]


def amount_of(flow: dict[str, Any]) -> Any:
    return next(n["config"]["amount"] for n in flow["nodes"] if n["type"] == "DELAY")


def test_each_publication_is_kept_with_author_message_and_time(service: Service) -> None:
    created = service.ok(
        "POST",
        "/api/flows?author=ann&message=First%20try",
        hours(1) | {"isActive": True},
        status=201,
    )
    address = f"/api/flows/{created['id']}"
    service.clock.advance(HOUR)
    service.ok("PUT", f"{address}?author=bob", hours(2) | {"isActive": True})
    service.clock.advance(HOUR)
    nodes = hours(3)["nodes"]
    service.ok("PATCH", f"{address}?message=Longer", {"nodes": nodes})
    service.ok("PATCH", f"{address}?message=Not%20published", {"settings": {}})
    listed = service.ok("GET", f"{address}/versions")
    common = {"flowId": created["id"]}
    assert listed == {
        "items": [
            common
            | {
                "version": 3,
                "author": None,
                "message": "Longer",
                "createdAt": iso(NOW + 2 * HOUR),
            },
            common | {"version": 2, "author": "bob", "message": None, "createdAt": iso(NOW + HOUR)},
            common | {"version": 1, "author": "ann", "message": "First try", "createdAt": iso(NOW)},
        ],
        "nextCursor": None,
    }
    assert amounts(service, address) == [3, 2, 1]


def test_versions_are_paged(service: Service) -> None:
    flow = service.add(hours(1))
    address = f"/api/flows/{flow['id']}/versions"
    for _ in range(4):
        service.ok("POST", address, {}, status=201)
    seen, cursor = [], ""
    while cursor is not None:
        found = service.ok("GET", f"{address}?limit=2{cursor and f'&cursor={cursor}'}")
        seen += [item["version"] for item in found["items"]]
        cursor = found["nextCursor"]
    assert seen == [5, 4, 3, 2, 1]
    for _ in range(2):
        service.add(delayed())
    other = service.ok("GET", "/api/flows?limit=1")["nextCursor"]
    assert service.refused(422, "GET", f"{address}?cursor={other}") == {"query.invalid"}


def test_rolling_back_is_publishing_an_old_version(service: Service) -> None:
    flow = service.add(hours(1))
    address = f"/api/flows/{flow['id']}"
    service.ok("PUT", address, hours(2) | {"isActive": True, "viewport": {"x": 1}})
    body = {"version": 1, "author": "ann", "message": "Too long"}
    rolled = service.ok("POST", f"{address}/versions", body, status=201)
    assert rolled["version"] == 3
    assert rolled["isActive"] is True
    assert "viewport" not in rolled
    stored = service.ok("GET", address)
    assert amount_of(stored) == 1
    assert amounts(service, address) == [1, 2, 1]
    newest = service.ok("GET", f"{address}/versions")["items"][0]
    assert (newest["author"], newest["message"]) == ("ann", "Too long")
    (name,) = service.start()
    assert service.ok("GET", f"/api/executions/{name}")["flowVersion"] == 3


def test_rolling_back_does_not_resume_nor_activate(service: Service) -> None:
    flow = service.add(hours(1))
    address = f"/api/flows/{flow['id']}"
    service.ok("PATCH", address, {"isActive": False, "isPaused": True})
    rolled = service.ok("POST", f"{address}/versions", {"version": 1}, status=201)
    assert (rolled["isActive"], rolled["isPaused"], rolled["version"]) == (False, True, 2)


def test_a_draft_can_be_published_without_being_active(service: Service) -> None:
    draft = service.add(hours(1), active=False)
    address = f"/api/flows/{draft['id']}"
    assert service.ok("GET", f"{address}/versions")["items"] == []
    published = service.ok("POST", f"{address}/versions", {"message": "Ready"}, status=201)
    assert (published["version"], published["isActive"]) == (1, False)
    active = service.ok("PATCH", address, {"isActive": True})
    assert active["version"] == 1, "it has that content already"


def test_what_has_errors_is_not_published(service: Service) -> None:
    draft = service.add(hours(1) | {"edges": []}, active=False)
    address = f"/api/flows/{draft['id']}"
    assert service.refused(422, "POST", f"{address}/versions", {})
    assert service.ok("GET", f"{address}/versions")["items"] == []
    assert service.ok("GET", address)["version"] == 0


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"version": 2}, "/version"),
        ({"version": 0}, "/version"),
        ({"version": "1"}, "/version"),
        ({"version": 2**40}, "/version"),
        ({"author": ""}, "/author"),
        ({"author": "x" * 201}, "/author"),
        ({"message": "x" * 2001}, "/message"),
        ({"note": "x"}, "/note"),
    ],
)
def test_what_cannot_be_published(service: Service, body: dict[str, Any], path: str) -> None:
    flow = service.add(hours(1))
    answer = service("POST", f"/api/flows/{flow['id']}/versions", body)
    assert answer.status_code == 422
    assert [problem["path"] for problem in answer.get_json()["problems"]] == [path]


@pytest.mark.parametrize("query", ["author=", f"author={'x' * 201}", "message=%00", "autor=x"])
def test_authorship_that_cannot_be_kept(service: Service, query: str) -> None:
    flow = service.add(hours(1))
    for method, body in (("PUT", hours(2)), ("PATCH", {"name": "x"})):
        codes = service.refused(422, method, f"/api/flows/{flow['id']}?{query}", body)
        assert codes == {"query.invalid"}
    assert service.refused(422, "POST", f"/api/flows?{query}", hours(1)) == {"query.invalid"}


def test_what_is_not_there(service: Service) -> None:
    flow = service.add(hours(1))
    address = f"/api/flows/{flow['id']}/versions"
    service.refused(404, "GET", f"{address}/2")
    service.refused(404, "GET", f"{address}/0")
    service.refused(404, "GET", f"{address}/{2**64}")
    service.refused(404, "GET", "/api/flows/nothing/versions")
    service.refused(404, "POST", "/api/flows/nothing/versions", {})


def test_versions_outlive_their_flow(service: Service) -> None:
    flow = service.add(hours(1))
    address = f"/api/flows/{flow['id']}"
    service("DELETE", address)
    assert amounts(service, address) == [1]
    service.refused(404, "POST", f"{address}/versions", {"version": 1})


# -------------------------------------------------------------------------- pauses


def test_a_pause_is_kept_apart_from_what_is_published(service: Service) -> None:
    flow = service.add(hours(1))
    address = f"/api/flows/{flow['id']}"
    assert flow["isPaused"] is False
    paused = service.ok("PATCH", address, {"isPaused": True})
    assert (paused["isPaused"], paused["isActive"], paused["version"]) == (True, True, 1)
    assert service.store.paused_flows() == {flow["id"]}
    replaced = service.ok("PUT", address, hours(2) | {"isActive": True})
    assert (replaced["isPaused"], replaced["version"]) == (True, 2), "it was not named"
    assert service.ok("PUT", address, hours(2) | {"isPaused": False})["isPaused"] is False
    assert service.store.paused_flows() == frozenset()
    assert service.refused(422, "PATCH", address, {"isPaused": "yes"}) == {"document.type"}
    born = service.ok("POST", "/api/flows", sending() | {"isPaused": True}, status=201)
    assert service.store.paused_flows() == {born["id"]}


def test_a_paused_flow_accepts_triggers_and_can_be_deleted(service: Service) -> None:
    flow = service.add(sending())
    service.ok("PATCH", f"/api/flows/{flow['id']}", {"isPaused": True})
    (name,) = service.start(payload=PAYLOAD)
    service.refused(409, "DELETE", f"/api/flows/{flow['id']}")
    assert service("DELETE", f"/api/flows/{flow['id']}?cancel=true").status_code == 204
    assert service.ok("GET", f"/api/executions/{name}")["status"] == "cancelled"
    assert service.store.paused_flows() == frozenset()
