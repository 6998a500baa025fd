"""Who may come in. Routes are taken from the map, so that a new one is covered by itself."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowkit.errors import SettingsError
from service.api.auth import OPEN
from service.app import create_app
from service.settings import Settings
from tests.api.harness import KEY, Service, problems_of

OPEN_ADDRESSES = {
    "/healthz",
    "/readyz",
    "/api/openapi.json",
    "/api/docs",
    "/api/docs/docs.html",
}


def addresses(service: Service) -> list[tuple[str, str, str]]:
    """(method, path, endpoint) of every route, with something in place of its variables."""
    found = []
    with service.app.test_request_context():
        for rule in service.app.url_map.iter_rules():
            values = {name: 1 if name == "version" else "docs.html" for name in rule.arguments}
            _, path = rule.build(values) or ("", "")
            found += [(method, path, rule.endpoint) for method in rule.methods or ()]
    return found


def test_what_is_open_without_a_key_is_this_and_nothing_else(service: Service) -> None:
    opened = set()
    for method, path, endpoint in addresses(service):
        answer = service(method, path, key=None)
        if endpoint in OPEN:
            assert answer.status_code in (200, 304), (method, path)
            opened.add(path)
        else:
            assert answer.status_code == 401, (method, path)
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")
            if method != "HEAD":
                problems_of(answer)
    assert opened == OPEN_ADDRESSES


def test_an_address_that_does_not_exist_tells_a_stranger_nothing(service: Service) -> None:
    assert service.refused(401, "GET", "/api/nothing", key=None) == {"auth.missing"}
    assert service.refused(404, "GET", "/api/nothing") == {"http.not_found"}


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        f"Basic {KEY}",
        KEY,
        f"Bearer {KEY}x",
        f"Bearer {KEY[:-1]}",
        f"Bearer {KEY.upper()}",
        "Bearer schlüssel",
        "Bearer \udc80",
        "Bearer 密码",
        f"Bearer {KEY} {KEY}",
    ],
)
def test_other_headers_are_turned_away(service: Service, header: str) -> None:
    environ = {"HTTP_AUTHORIZATION": header}
    answer = service("GET", "/api/flows", key=None, environ_overrides=environ)
    assert answer.status_code == 401
    assert {p["code"] for p in problems_of(answer)} <= {"auth.missing", "auth.wrong"}


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_key_lets_in(service: Service, scheme: str) -> None:
    headers = {"Authorization": f"{scheme} {KEY}"}
    assert service("GET", "/api/flows", key=None, headers=headers).status_code == 200


def test_the_key_may_be_checked_before_a_body_is_looked_at(service: Service) -> None:
    assert service.refused(401, "POST", "/api/flows", b"x" * 2_000_000, key="wrong-key")


def test_without_a_key_there_is_no_application(service: Service) -> None:
    with pytest.raises(SettingsError):
        create_app(Settings(), service.store)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(min_codepoint=1, max_codepoint=255), max_size=60))
def test_no_header_makes_the_guard_fail(service: Service, header: str) -> None:
    answer = service(
        "GET", "/api/flows", key=None, environ_overrides={"HTTP_AUTHORIZATION": header}
    )
    assert answer.status_code == 401
