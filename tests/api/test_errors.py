"""Bad requests get a 4xx with problems, whatever they are, and leave nothing behind."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable

import pytest

from tests.api.harness import Service, delayed, problems_of

DEEP = b"[" * 5_000 + b"]" * 5_000
NESTED = b'{"nodes":[],"edges":[],"x":' + b"[" * 200 + b"]" * 200 + b"}"


def flow_with(text: str) -> bytes:
    return b'{"nodes": [], "edges": [], "name": ' + text.encode() + b"}"


BODIES: dict[str, tuple[bytes, int, str]] = {
    "empty": (b"", 422, "document.type"),
    "no JSON": (b"{nodes}", 400, "body.malformed"),
    "cut off": (b'{"nodes": [', 400, "body.malformed"),
    "two values": (b"{} {}", 400, "body.malformed"),
    "byte order mark": (b"\xef\xbb\xbf{}", 400, "body.malformed"),
    "no UTF-8": (b'{"name": "\xff"}', 400, "body.malformed"),
    "UTF-16": ('{"name": "x"}'.encode("utf-16"), 400, "body.malformed"),
    "NaN": (flow_with("NaN"), 400, "body.malformed"),
    "infinity": (flow_with("-Infinity"), 400, "body.malformed"),
    "1e400": (flow_with("1e400"), 400, "body.malformed"),
    "many digits": (flow_with("9" * 5_000), 400, "body.malformed"),
    "raw control character": (flow_with('"\x00"'), 400, "body.malformed"),
    "NUL": (flow_with('"a\\u0000b"'), 422, "body.text"),
    "NUL in a key": (b'{"nodes": [], "edges": [], "a\\u0000": 1}', 422, "body.text"),
    "half a surrogate pair": (flow_with('"\\ud800"'), 422, "body.text"),
    "the other half": (flow_with('"\\uDFFF x"'), 422, "body.text"),
    "half a pair in a key": (b'{"nodes": [], "edges": [], "\\ud83d": 1}', 422, "body.text"),
    "deep": (DEEP, 422, "body.too_deep"),
    "deep inside": (NESTED, 422, "body.too_deep"),
    "null": (b"null", 422, "document.type"),
    "a list": (b"[]", 422, "document.type"),
    "a text": (b'"x"', 422, "document.type"),
    "no nodes": (b"{}", 422, "document.type"),
}


@pytest.mark.parametrize("case", BODIES)
@pytest.mark.parametrize(("method", "path"), [("POST", "/api/flows"), ("PUT", "/api/flows/one")])
def test_bad_bodies_are_refused_and_leave_nothing(
    service: Service, method: str, path: str, case: str
) -> None:
    service.add(delayed() | {"id": "one"})
    before = service.everything()
    body, status, code = BODIES[case]
    assert code in service.refused(status, method, path, body)
    assert service.everything() == before


@pytest.mark.parametrize("case", [name for name, (_, _, code) in BODIES.items() if "body." in code])
@pytest.mark.parametrize(
    "path", ["/api/flows/trigger/cart", "/api/executions/x/retry", "/api/flows/trigger/nobody"]
)
def test_bad_json_is_refused_everywhere(service: Service, path: str, case: str) -> None:
    service.add(delayed())
    before = service.everything()
    body, status, code = BODIES[case]
    assert service.refused(status, "POST", path, body) == {code}
    assert service.everything() == before


def test_what_only_looks_like_a_surrogate_or_a_nul_is_welcome(service: Service) -> None:
    name = "😀 \\u0000 \\ud800 é"
    sent = json.dumps(delayed(name)).encode()
    assert b"\\ud83d\\ude00" in sent
    assert b"\\\\u0000" in sent
    created = service("POST", "/api/flows", sent)
    assert created.status_code == 201
    assert service.ok("GET", f"/api/flows/{created.json['id']}")["name"] == name


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "multipart/form-data; boundary=x"},
        {"Content-Type": "nonsense"},
        {"Content-Type": ""},
        {"Content-Encoding": "gzip"},
    ],
)
@pytest.mark.parametrize("path", ["/api/flows", "/api/flows/trigger/x", "/api/executions/x/retry"])
def test_a_body_must_say_that_it_is_json(
    service: Service, path: str, headers: dict[str, str]
) -> None:
    assert service.refused(415, "POST", path, {}, headers=headers) == {"body.type"}


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "application/ld+json"])
def test_json_has_several_names(service: Service, kind: str) -> None:
    answer = service("POST", "/api/flows", delayed(), headers={"Content-Type": kind})
    assert answer.status_code == 201


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/flows"),
        ("PUT", "/api/flows/x"),
        ("PATCH", "/api/flows/x"),
        ("POST", "/api/flows/trigger/x"),
        ("POST", "/api/executions/x/retry"),
        ("POST", "/api/executions/x/cancel"),
        ("POST", "/api/flows/x/validate"),
        ("DELETE", "/api/flows/x"),
        ("GET", "/api/flows"),
    ],
)
def test_a_body_over_the_limit_is_413(
    make_service: Callable[..., Service], method: str, path: str
) -> None:
    service = make_service(body_limit_bytes=4_096, payload_limit_bytes=4_096)
    answer = service(method, path, b'"' + b"x" * 4_095 + b'"')
    assert answer.status_code == 413
    (problem,) = problems_of(answer)
    assert "FLOWKIT_BODY_LIMIT_BYTES" in problem["message"]
    assert service(method, path, b'"' + b"x" * 4_094 + b'"').status_code != 413


def test_a_body_without_a_length_is_limited_too(make_service: Callable[..., Service]) -> None:
    service = make_service(body_limit_bytes=4_096, payload_limit_bytes=4_096)
    chunked = {"CONTENT_LENGTH": "", "wsgi.input_terminated": True}
    large = service("POST", "/api/flows", b"[" + b" " * 5_000 + b"]", environ_overrides=chunked)
    assert large.status_code == 413
    small = service("POST", "/api/flows", b"[]", environ_overrides=chunked)
    assert {problem["code"] for problem in problems_of(small)} == {"document.type"}


def test_another_method_is_405_and_says_which_are_possible(service: Service) -> None:
    answer = service("DELETE", "/api/flows")
    assert answer.status_code == 405
    assert {"GET", "POST"} <= set(answer.headers["Allow"].replace(",", " ").split())
    problems_of(answer)


@pytest.mark.parametrize(
    "identifier",
    [
        "x",
        "%00",
        "%FF",
        "%ED%A0%80",
        "..",
        "%2e%2e",
        "a%20b",
        "'%3B--",
        "x" * 5_000,
        "%F0%9F%98%80",
    ],
)
def test_ids_of_any_shape_are_just_not_there(service: Service, identifier: str) -> None:
    for method, path in (
        ("GET", "/api/flows/{}"),
        ("DELETE", "/api/flows/{}"),
        ("DELETE", "/api/flows/{}?cancel=true"),
        ("POST", "/api/flows/{}/validate"),
        ("GET", "/api/executions/{}"),
        ("POST", "/api/executions/{}/retry"),
        ("POST", "/api/executions/{}/cancel"),
    ):
        service.refused(404, method, path.format(identifier))
    service.refused(404, "PUT", f"/api/flows/{identifier}", delayed())
    service.refused(404, "PATCH", f"/api/flows/{identifier}", {"isActive": False})


@pytest.mark.parametrize("path", ["/api/flows/", "//api/flows", "/api//flows", "/api/flows/a/b/c"])
def test_addresses_are_exact(service: Service, path: str) -> None:
    assert service.refused(404, "GET", path) == {"http.not_found"}


@pytest.mark.parametrize(
    ("query", "place"),
    [
        ("limit=0", "/limit"),
        ("limit=501", "/limit"),
        ("limit=-1", "/limit"),
        ("limit=x", "/limit"),
        ("limit=", "/limit"),
        ("limit=1.5", "/limit"),
        ("limit=" + "9" * 5_000, "/limit"),
        ("cursor=x", "/cursor"),
        ("cursor=", "/cursor"),
        ("cursor=%00", "/cursor"),
        ("cursor=é", "/cursor"),
        ("cursor=LTEuYQ", "/cursor"),
        ("flow=x", "/flow"),
        ("status=done", "/status"),
        ("status=", "/status"),
        ("from=yesterday", "/from"),
        ("from=2026-11-22", "/from"),
        ("from=2026-11-22T10:00:00", "/from"),
        ("from=0001-01-01T00:00:00%2B14:00", "/from"),
        ("to=9999-12-31T23:59:59-14:00", "/to"),
        ("from=2026-11-22T10:00:00+01:00", "/from"),
        ("include=everything", "/include/0"),
    ],
)
def test_bad_filters_of_executions_are_422(service: Service, query: str, place: str) -> None:
    answer = service("GET", f"/api/executions?{query}")
    assert answer.status_code == 422, answer.text
    assert [problem["path"] for problem in problems_of(answer)] == [place]


@pytest.mark.parametrize(
    "query", ["isActive=1", "isActive=yes", "isActive=", "limit=0", "status=x"]
)
def test_bad_filters_of_flows_are_422(service: Service, query: str) -> None:
    assert service.refused(422, "GET", f"/api/flows?{query}") == {"query.invalid"}


def test_a_crash_is_500_without_its_inside_and_is_logged(
    service: Service, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def crash(flow_id: str) -> None:
        raise OSError("/secret/path is full")

    monkeypatch.setattr(service.store, "get_flow", crash)
    with caplog.at_level(logging.ERROR):
        answer = service("GET", "/api/flows/x")
    assert answer.status_code == 500
    (problem,) = problems_of(answer)
    assert problem["code"] == "http.internal_server_error"
    assert "secret" not in answer.text
    assert "/secret/path is full" in caplog.text


def test_a_store_that_is_gone_makes_the_process_unready_not_dead(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert service.ok("GET", "/readyz") == {"status": "ok"}

    def gone() -> None:
        raise OSError("secret")

    monkeypatch.setattr(service.store, "ping", gone)
    answer = service("GET", "/readyz")
    assert answer.status_code == 503
    assert {problem["code"] for problem in problems_of(answer)} == {"store.unavailable"}
    assert "secret" not in answer.text
    assert service.ok("GET", "/healthz") == {"status": "ok"}
