"""HTTP requests of flows against a real server on this machine: what is sent, and what becomes."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from service.channels.http import HttpChannel, is_public
from service.server import free_port
from tests.channels.server import System, system


@pytest.fixture
def other() -> Iterator[System]:
    with system() as made:
        yield made


@pytest.fixture
def channel() -> Iterator[HttpChannel]:
    made = HttpChannel(allow_private=True)
    yield made
    made.close()


def asked(url: str, method: str = "POST", **more: Any) -> dict[str, Any]:
    return {"method": method, "url": url, "headers": {}, "maximumBytes": 1_000} | more


def error(outcome: Any) -> tuple[str, str, bool]:
    assert outcome.result is None
    return outcome.status, outcome.error["code"], outcome.error["transient"]


def test_the_request_carries_the_key_and_the_body(channel: HttpChannel, other: System) -> None:
    request = asked(f"{other.url}/a?b=%20", body={"name": "Zoë"}, headers={"X-Shop": "1"})
    outcome = channel.perform(request, "x_call", 5)
    assert outcome.status == "completed"
    assert outcome.result == {"status": 200, "body": {"ok": True}}
    (came,) = other.requests
    assert (came["method"], came["path"]) == ("POST", "/a?b=%20")
    assert json.loads(came["body"]) == {"name": "Zoë"}
    headers = came["headers"]
    assert headers["Idempotency-Key"] == "x_call"
    assert headers["Content-Type"] == "application/json"
    assert headers["X-Shop"] == "1"
    assert headers["Host"] == other.url.removeprefix("http://")


def test_what_is_kept_of_the_answer_is_mapped(channel: HttpChannel, other: System) -> None:
    other.answer = lambda request: (201, {}, b'{"order": {"id": 7, "lines": [1, 2]}}')
    outcome = channel.perform(asked(other.url, result="order.id"), "k", 5)
    assert outcome.result == {"status": 201, "body": 7}
    outcome = channel.perform(asked(other.url, result="max(order)"), "k", 5)
    assert error(outcome) == ("failed", "mapping_failed", False)


@pytest.mark.parametrize(
    ("body", "value"),
    [(b"", None), (b"fine", "fine"), (b"NaN", "NaN"), (b"\xff", "\ufffd"), (b"[1]", [1])],
)
def test_an_answer_that_is_no_json_is_text(
    channel: HttpChannel, other: System, body: bytes, value: Any
) -> None:
    other.answer = lambda request: (200, {}, body)
    outcome = channel.perform(asked(other.url), "k", 5)
    assert outcome.result == {"status": 200, "body": value}


@pytest.mark.parametrize(
    ("status", "transient"),
    [(400, False), (404, False), (429, True), (500, True), (503, True), (302, False)],
)
def test_an_answer_of_300_or_more_fails(
    channel: HttpChannel, other: System, status: int, transient: bool
) -> None:
    other.answer = lambda request: (status, {"Location": "/elsewhere"}, b"why")
    outcome = channel.perform(asked(other.url, "GET"), "k", 5)
    assert error(outcome) == ("failed", f"http_{status}", transient)
    assert "why" in outcome.error["message"]  # type: ignore[index]
    assert len(other.requests) == 1, "redirects are not followed"


def test_an_answer_that_is_too_large_is_not_read(channel: HttpChannel, other: System) -> None:
    other.answer = lambda request: (200, {}, b"x" * 1_001)
    outcome = channel.perform(asked(other.url), "k", 5)
    assert error(outcome) == ("failed", "http_answer_too_large", False)
    outcome = channel.perform(asked(other.url, maximumBytes=1_001), "k", 5)
    assert outcome.status == "completed"


def test_without_an_answer_only_a_get_can_be_asked_again(
    channel: HttpChannel, other: System
) -> None:
    other.answer = other.hang
    assert error(channel.perform(asked(other.url), "k", 0.1)) == (
        "unknown",
        "outcome_unknown",
        False,
    )
    outcome = channel.perform(asked(other.url, "GET"), "k", 0.1)
    assert error(outcome) == ("failed", "http_unanswered", True)
    assert len(other.requests) == 2


def test_a_host_that_is_not_there_is_tried_again(channel: HttpChannel) -> None:
    outcome = channel.perform(asked(f"http://127.0.0.1:{free_port()}"), "k", 5)
    assert error(outcome) == ("failed", "http_unreachable", True)


def test_a_name_that_nobody_knows(channel: HttpChannel, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*args: Any, **options: Any) -> Any:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    outcome = channel.perform(asked("http://nowhere.example"), "k", 5)
    assert error(outcome) == ("failed", "http_unreachable", True)


@pytest.mark.parametrize("url", ["http://exa\nmple.com", "http://a:99999/", "ftp://a.example"])
def test_what_is_no_request_is_refused(channel: HttpChannel, url: str) -> None:
    status, code, transient = error(channel.perform(asked(url), "k", 5))
    assert (status, transient) == ("failed", False)
    assert code in ("request_invalid", "http_forbidden")
    outcome = channel.perform(asked("http://127.0.0.1", body="\ud800"), "k", 5)
    assert error(outcome) == ("failed", "request_invalid", False)


# ------------------------------------------------------------------- where it may go


def test_private_addresses_are_refused_unless_allowed(other: System) -> None:
    closed = HttpChannel()
    for url in (other.url, other.url.replace("127.0.0.1", "localhost"), "http://[::1]:80/"):
        assert error(closed.perform(asked(url), "k", 5)) == ("failed", "http_forbidden", False)
    assert other.requests == []
    closed.close()


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1::1", True),
        ("127.0.0.1", False),
        ("0.0.0.0", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("224.0.0.1", False),
        ("255.255.255.255", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:93.184.216.34", True),
        ("64:ff9b::7f00:1", False),
        ("64:ff9b::5db8:d822", True),
        ("2002:7f00:1::", False),
    ],
)
def test_which_addresses_are_public(address: str, public: bool) -> None:
    assert is_public(address) is public


def found(*addresses: str) -> Any:
    """Return a look-up of names that finds these addresses."""

    def look_up(host: str, port: Any, **options: Any) -> Any:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, port)) for a in addresses]

    return look_up


def test_one_private_address_of_a_name_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", found("93.184.216.34", "10.0.0.1"))
    outcome = HttpChannel().perform(asked("https://shop.example"), "k", 5)
    assert error(outcome) == ("failed", "http_forbidden", False)


def test_the_address_that_was_judged_is_the_one_that_is_reached(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    came: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        came.append(request)
        if request.url.host == "93.184.216.34":
            raise httpx.ConnectError("refused")
        return httpx.Response(200, json=1)

    monkeypatch.setattr(socket, "getaddrinfo", found("93.184.216.34", "93.184.216.35"))
    channel = HttpChannel(transport=httpx.MockTransport(answer))
    outcome = channel.perform(asked("https://shop.example:8443/a"), "k", 5)
    assert outcome.status == "completed"
    assert [request.url.host for request in came] == ["93.184.216.34", "93.184.216.35"]
    assert came[1].headers["Host"] == "shop.example:8443"
    assert came[1].extensions["sni_hostname"] == "shop.example"
