"""Broadcasts through the API: what is taken in, refused, told and changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from werkzeug.test import TestResponse

from service.api.lines import split
from service.worker.broadcasting import Broadcasting
from tests.api.harness import Service, delayed, problems_of

NDJSON = {"Content-Type": "application/x-ndjson"}


@pytest.fixture
def flow(service: Service) -> dict[str, Any]:
    return service.add(delayed() | {"id": "f"})


def send(service: Service, *lines: Any, query: str = "", flow: str = "f") -> TestResponse:
    body = b"".join(
        line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n" for line in lines
    )
    return service("POST", f"/api/flows/{flow}/broadcast{query}", body, headers=NDJSON)


def contacts(number: int) -> list[dict[str, Any]]:
    return [{"id": f"c{i}"} for i in range(number)]


def sweep(service: Service) -> None:
    serve = Broadcasting(service.store, lambda: None)
    while serve(service.clock.now()):
        pass


def test_contacts_are_taken_and_started(service: Service, flow: Any) -> None:
    answer = send(service, *contacts(1203))
    assert answer.status_code == 202
    told = answer.get_json()
    assert answer.headers["Location"] == f"/api/broadcasts/{told['id']}"
    assert told == service.ok("GET", answer.headers["Location"])
    assert told | {"id": "", "createdAt": ""} == {
        "id": "",
        "flowId": "f",
        "flowVersion": 1,
        "status": "running",
        "filter": None,
        "perSecond": None,
        "total": 1203,
        "created": 0,
        "refused": 0,
        "skipped": 0,
        "rate": None,
        "problems": [],
        "createdAt": "",
        "updatedAt": told["createdAt"],
        "startedAt": told["createdAt"],
        "endedAt": None,
    }
    sweep(service)
    done = service.ok("GET", answer.headers["Location"])
    assert (done["status"], done["created"]) == ("completed", 1203)
    assert len(service.ok("GET", "/api/contacts?limit=500")["items"]) == 500


def test_lines_that_are_no_contact_are_refused_and_the_others_go_on(
    service: Service, flow: Any
) -> None:
    answer = send(
        service,
        {"id": "a"},  # 1
        b"\n",  # 2
        b"{broken\n",  # 3
        [1],  # 4
        {"name": "nobody"},  # 5
        b'{"id": "\xff"}\n',  # 6
        b'{"id": NaN}\n',  # 7
        b'{"id": "\\ud800"}\n',  # 8
        b'{"id": "' + b"x" * 300_000 + b'"}\n',  # 9
        b"[" * 200 + b"]" * 200 + b"\r\n",  # 10
        b'{"phone": "+1"}',  # 11, without an end
    )
    told = answer.get_json()
    assert answer.status_code == 202
    assert (told["total"], told["refused"]) == (10, 8)
    assert [(p["path"], p["code"]) for p in told["problems"]] == [
        ("/3", "body.malformed"),
        ("/4", "broadcast.no_contact"),
        ("/5", "broadcast.no_contact"),
        ("/6", "body.malformed"),
        ("/7", "body.malformed"),
        ("/8", "body.text"),
        ("/9", "body.line_too_long"),
        ("/10", "body.too_deep"),
    ]
    sweep(service)
    done = service.ok("GET", f"/api/broadcasts/{told['id']}")
    assert (done["status"], done["created"], done["refused"]) == ("completed", 2, 8)


@pytest.mark.parametrize("lines", [[], [b"\n \r\n\n"], [[1], b"x\n"]])
def test_nothing_usable_is_nothing_at_all(service: Service, flow: Any, lines: list[Any]) -> None:
    answer = send(service, *lines)
    assert answer.status_code == 422
    assert problems_of(answer)
    assert service.ok("GET", "/api/broadcasts")["items"] == []


def test_too_many_are_refused_and_none_is_started(
    make_service: Callable[..., Service],
) -> None:
    service = make_service(broadcast_limit=600)
    service.add(delayed() | {"id": "f"})
    assert send(service, *contacts(600)).status_code == 202
    answer = send(service, *contacts(601))
    assert answer.status_code == 422
    (problem,) = problems_of(answer)
    assert (problem["code"], problem["path"]) == ("broadcast.too_many", "/601")
    assert "FLOWKIT_BROADCAST_LIMIT" in problem["message"]
    sweep(service)
    statuses = [b["status"] for b in service.ok("GET", "/api/broadcasts")["items"]]
    assert sorted(statuses) == ["cancelled", "completed"]
    assert len(service.ok("GET", "/api/executions?limit=500")["items"]) == 500


def test_the_limit_of_bodies_does_not_apply_to_lines(
    make_service: Callable[..., Service],
) -> None:
    service = make_service(body_limit_bytes=1024, payload_limit_bytes=256)
    service.add(json.loads(json.dumps(delayed() | {"id": "f"})))
    assert send(service, *contacts(500)).status_code == 202
    big = {"filter": "x" * 2000}
    assert service.refused(413, "POST", "/api/flows/f/broadcast", big)
    assert service.refused(413, "POST", "/api/flows", b"x" * 2000, headers=NDJSON)


def test_a_body_that_broke_off_is_never_run(service: Service, flow: Any) -> None:
    body = b"".join(json.dumps(one).encode() + b"\n" for one in contacts(600))
    longer = {"CONTENT_LENGTH": str(len(body) + 10), "wsgi.input_terminated": True}
    path = "/api/flows/f/broadcast"
    answer = service("POST", path, body, headers=NDJSON, environ_overrides=longer)
    assert answer.status_code == 400
    sweep(service)
    (told,) = service.ok("GET", "/api/broadcasts")["items"]
    assert (told["status"], told["created"]) == ("cancelled", 0)


def test_one_whose_process_died_is_cancelled_after_a_time(
    service: Service, flow: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Died(BaseException):
        pass

    def die(*_: Any) -> None:
        raise Died

    with monkeypatch.context() as patch:
        patch.setattr(service.store, "put_recipients", die)
        patch.setattr(service.store, "replace_broadcast", die)
        with pytest.raises(Died):
            send(service, *contacts(600))
    service.clock.advance(timedelta(minutes=9))
    sweep(service)
    assert service.ok("GET", "/api/broadcasts")["items"][0]["status"] == "accepting"
    service.clock.advance(timedelta(minutes=2))
    sweep(service)
    assert service.ok("GET", "/api/broadcasts")["items"][0]["status"] == "cancelled"


def test_recipients_that_come_in_slowly_are_waited_for(
    service: Service, flow: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = service.store.put_recipients

    def slowly(*args: Any) -> None:
        put(*args)
        service.clock.advance(timedelta(minutes=6))
        sweep(service)

    monkeypatch.setattr(service.store, "put_recipients", slowly)
    answer = send(service, *contacts(1600))
    assert answer.status_code == 202
    assert answer.get_json()["status"] == "running"


def test_a_broadcast_that_is_cancelled_while_it_comes_in_stays_so(
    service: Service, flow: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = service.store.put_recipients

    def then_cancel(broadcast_id: str, number: int, batch: Any) -> None:
        put(broadcast_id, number, batch)
        if number == 0:
            service.ok("POST", f"/api/broadcasts/{broadcast_id}/cancel")

    monkeypatch.setattr(service.store, "put_recipients", then_cancel)
    assert send(service, *contacts(1600)).status_code == 409
    sweep(service)
    (told,) = service.ok("GET", "/api/broadcasts")["items"]
    assert (told["status"], told["created"]) == ("cancelled", 0)


def test_only_an_active_flow_is_broadcast(service: Service) -> None:
    service.add(delayed() | {"id": "f"}, active=False)
    assert send(service, {"id": "a"}).status_code == 409
    assert send(service, {"id": "a"}, flow="other").status_code == 404


def test_the_version_of_now_is_used_to_the_end(service: Service, flow: Any) -> None:
    told = send(service, {"id": "a"}).get_json()
    service.ok("PUT", "/api/flows/f", delayed("New") | {"isActive": True})
    sweep(service)
    (execution,) = service.ok("GET", "/api/executions")["items"]
    assert execution["flowVersion"] == told["flowVersion"] == 1


def test_a_filter_is_over_stored_contacts(service: Service, flow: Any) -> None:
    for i in range(4):
        service.start(payload={"contact": {"id": f"c{i}", "country": "BR" if i % 2 else "PT"}})
    brazil = {"==": [{"var": "contact.country"}, "BR"]}
    told = service.ok("POST", "/api/flows/f/broadcast", {"filter": brazil}, status=202)
    assert (told["total"], told["filter"], told["status"]) == (None, brazil, "running")
    sweep(service)
    done = service.ok("GET", f"/api/broadcasts/{told['id']}")
    assert (done["status"], done["created"], done["skipped"]) == ("completed", 2, 2)


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({}, "/filter"),
        ([], "/filter"),
        (None, "/filter"),
        ({"filter": None}, "/filter"),
        ({"filter": {"nonsense": 1}}, "/filter"),
        ({"filter": True, "x~": 1}, "/x~0"),
    ],
)
def test_a_filter_that_is_none_is_refused(
    service: Service, flow: Any, body: Any, path: str
) -> None:
    answer = service("POST", "/api/flows/f/broadcast", body)
    assert answer.status_code == 422
    assert problems_of(answer)[0]["path"].startswith(path)
    assert service.ok("GET", "/api/broadcasts")["items"] == []


def test_another_type_of_body_is_415(service: Service, flow: Any) -> None:
    for headers in (
        {"Content-Type": "text/csv"},
        NDJSON | {"Content-Encoding": "gzip"},
    ):
        service.refused(415, "POST", "/api/flows/f/broadcast", b'{"id": 1}', headers=headers)


@pytest.mark.parametrize("pace", ["0", "-1", "nan", "inf", "1e-300", "x", "1e9"])
def test_a_pace_is_a_number_above_0(service: Service, flow: Any, pace: str) -> None:
    answer = send(service, {"id": "a"}, query=f"?perSecond={pace}")
    assert answer.status_code == 422
    assert [p["path"] for p in problems_of(answer)] == ["/perSecond"]


def test_the_pace_is_kept_and_changed(service: Service, flow: Any) -> None:
    told = send(service, *contacts(30), query="?perSecond=2.5").get_json()
    path = f"/api/broadcasts/{told['id']}"
    assert told["perSecond"] == 2.5
    sweep(service)
    assert service.ok("GET", path)["created"] == 2
    assert service.ok("PATCH", path, {"perSecond": 10})["perSecond"] == 10
    sweep(service)
    assert service.ok("GET", path)["created"] == 12
    assert service.ok("PATCH", path, {"perSecond": None})["perSecond"] is None
    sweep(service)
    assert service.ok("GET", path)["created"] == 30
    service.refused(409, "PATCH", path, {"perSecond": 1})
    service.refused(422, "PATCH", path, {})


def test_pause_resume_and_cancel(service: Service, flow: Any) -> None:
    path = f"/api/broadcasts/{send(service, *contacts(1100)).get_json()['id']}"
    service.refused(409, "POST", f"{path}/resume")
    assert service.ok("POST", f"{path}/pause")["status"] == "paused"
    service.refused(409, "POST", f"{path}/pause")
    sweep(service)
    assert service.ok("GET", path)["created"] == 0
    assert service.ok("POST", f"{path}/resume")["status"] == "running"
    ended = service.ok("POST", f"{path}/cancel")
    assert ended["status"] == "cancelled"
    assert ended["endedAt"]
    for action in ("pause", "resume", "cancel"):
        service.refused(409, "POST", f"{path}/{action}")
        service.refused(404, "POST", f"/api/broadcasts/nothing/{action}")


def test_broadcasts_are_listed_newest_first(service: Service, flow: Any) -> None:
    service.add(delayed() | {"id": "g"})
    ids = []
    for i in range(3):
        service.clock.advance(timedelta(seconds=1))
        ids.append(send(service, {"id": "a"}, flow="fgf"[i]).get_json()["id"])
    first = service.ok("GET", "/api/broadcasts?limit=2")
    rest = service.ok("GET", f"/api/broadcasts?limit=2&cursor={first['nextCursor']}")
    assert [b["id"] for b in first["items"] + rest["items"]] == ids[::-1]
    assert [b["id"] for b in service.ok("GET", "/api/broadcasts?flowId=g")["items"]] == [ids[1]]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_lines_are_the_same_however_they_arrive(size: int) -> None:
    body = b"one\n\ntwo\r\n" + b"x" * 11 + b"\nthree" + b"\n" + b"y" * 10 + b"\n" + b"z" * 40
    parts = iter([body[i : i + size] for i in range(0, len(body), size)])
    lines = list(split(lambda: next(parts, b""), 10))
    assert lines == [b"one", b"", b"two\r", None, b"three", b"y" * 10, None]
