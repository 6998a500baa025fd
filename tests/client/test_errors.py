"""What the client does when the service refuses, is away, or is something else; and the key."""

from __future__ import annotations

import pickle
import socket
import traceback
from typing import Any

import httpx
import pytest

from flowkit.client import Client
from flowkit.errors import Invalid, ServiceError

KEY = "sk-not-to-be-shown"


@pytest.mark.parametrize("status", [400, 401, 404, 409, 413, 422, 429, 500, 503])
def test_every_refusal_is_a_service_error_with_its_problems(
    client: Client, service: Any, status: int
) -> None:
    service.next = service.refusal(status, "some.code", "/a/0", "what is wrong")
    with pytest.raises(ServiceError) as refusal:
        client.cancel("x")
    assert refusal.value.status == status
    assert [problem.to_dict() for problem in refusal.value.problems] == [
        {"code": "some.code", "path": "/a/0", "message": "what is wrong", "severity": "error"}
    ]
    assert str(pickle.loads(pickle.dumps(refusal.value))) == str(refusal.value)


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(502, text="<html>Bad Gateway</html>"),
        httpx.Response(502, json=["not", "an object"]),
        httpx.Response(502, json={"problems": None}),
        httpx.Response(502, json={"problems": []}),
        httpx.Response(502, json={"problems": ["odd"]}),
        httpx.Response(502, content=b"\xff\xfe"),
    ],
)
def test_a_refusal_that_is_not_flowkits_still_has_a_problem(
    client: Client, service: Any, answer: httpx.Response
) -> None:
    service.next = answer
    with pytest.raises(ServiceError, match="HTTP 502") as refusal:
        client.health()
    assert refusal.value.problems[0].message == "Bad Gateway"


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, text="<html>It works!</html>"),
        httpx.Response(200, json=["not", "an object"]),
        httpx.Response(200, json={"hello": "world"}),
        httpx.Response(200),
    ],
)
def test_another_program_at_the_address_is_named_as_such(
    client: Client, service: Any, answer: httpx.Response
) -> None:
    service.next = answer
    with pytest.raises(ServiceError, match="not flowkit"):
        client.flows()


def test_a_redirect_is_not_followed_with_the_key(client: Client, service: Any) -> None:
    service.next = httpx.Response(301, headers={"Location": "http://elsewhere.example/"})
    with pytest.raises(ServiceError) as refusal:
        client.health()
    assert refusal.value.status == 301
    assert len(service.requests) == 1


def test_a_failure_in_the_middle_of_the_pages_gives_no_half_frame(
    client: Client, service: Any
) -> None:
    service.executions = [{"id": str(number)} for number in range(501)]

    def fail_next(read: int) -> None:
        service.next = service.refusal(500, "server.error", "", "broken")

    with pytest.raises(ServiceError, match="broken"):
        client.executions(progress=fail_next)


def test_a_service_that_is_not_there_says_what_to_do() -> None:
    with socket.socket() as reserved:  # bound, never listening: connections are refused
        reserved.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{reserved.getsockname()[1]}"
        with Client(address, api_key=KEY) as client, pytest.raises(ServiceError) as refusal:
            client.health()
    assert refusal.value.status == 0
    assert refusal.value.problems[0].code == "service.unreachable"
    assert address in str(refusal.value)
    assert "flowkit up" in str(refusal.value)


def test_no_answer_in_time_says_that_it_may_have_happened(client: Client, service: Any) -> None:
    service.next = httpx.ReadTimeout("timed out")
    with pytest.raises(ServiceError, match="may still do") as refusal:
        client.trigger("cart", {})
    assert (refusal.value.status, refusal.value.problems[0].code) == (0, "service.timeout")


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1:5000", "localhost", "ftp://host", "", "http://", "http://ana:pass-word@host"],
)
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(Invalid, match=r"http://127\.0\.0\.1:5000") as refusal:
        Client(address, api_key=KEY)
    assert "pass-word" not in str(refusal.value)


@pytest.mark.parametrize("key", ["", " \n", "café", "two\nlines", "nul\0"])
def test_a_key_that_cannot_be_a_header_is_refused_without_showing_it(key: str) -> None:
    with pytest.raises(Invalid) as refusal:
        Client("http://127.0.0.1:5000", api_key=key)
    assert not key.strip() or key not in str(refusal.value)


def test_a_key_read_from_a_file_may_end_in_a_newline(service: Any) -> None:
    transport = httpx.MockTransport(service)
    with Client("http://127.0.0.1:5000", api_key=f"{KEY}\n", transport=transport) as client:
        client.flows()
    assert service.requests[0].headers["Authorization"] == f"Bearer {KEY}"


def test_a_wrong_key_is_a_401(service: Any) -> None:
    transport = httpx.MockTransport(service)
    with (
        Client("http://127.0.0.1:5000", api_key="wrong", transport=transport) as client,
        pytest.raises(ServiceError) as refusal,
    ):
        client.flows()
    assert refusal.value.status == 401


@pytest.mark.parametrize("failure", [httpx.ConnectError("refused"), httpx.ReadTimeout("late")])
def test_the_key_is_shown_nowhere(service: Any, failure: httpx.HTTPError) -> None:
    service.next = failure
    transport = httpx.MockTransport(service)
    client = Client("http://127.0.0.1:5000/", api_key=KEY, transport=transport)
    with client, pytest.raises(ServiceError) as refusal:
        client.flows()
    shown = "".join(traceback.format_exception(refusal.value)) + repr(refusal.value.__cause__)
    assert KEY not in shown + repr(client)
    assert repr(client) == "Client('http://127.0.0.1:5000')"


def test_a_service_below_a_path(service: Any) -> None:
    seen: list[str] = []

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request.url.path)
        return httpx.Response(200, json={"items": [], "nextCursor": None})

    transport = httpx.MockTransport(handle)
    with Client("https://example.org/flowkit/", api_key=KEY, transport=transport) as client:
        client.flows()
    assert seen == ["/flowkit/api/flows"]
