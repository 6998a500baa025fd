"""Named keys of the API."""

from __future__ import annotations

from datetime import timedelta

import pytest

from service.api.auth import REMEMBERED
from service.keys import FORM, digest_of, new_key
from service.store.base import ApiKey
from tests.api.harness import NOW, Service, delayed


@pytest.fixture
def key(service: Service) -> str:
    made = new_key()
    service.store.insert_api_key(ApiKey("ann", digest_of(made), NOW))
    return made


def test_a_stored_key_lets_in_beside_the_installations_own(service: Service, key: str) -> None:
    assert service("GET", "/api/flows", key=key).status_code == 200
    service.ok("GET", "/api/flows")
    assert service.refused(401, "GET", "/api/flows", key=new_key()) == {"auth.wrong"}
    assert service.refused(401, "GET", "/api/flows", key=digest_of(key)) == {"auth.wrong"}


def test_its_name_is_the_author_unless_another_is_named(service: Service, key: str) -> None:
    body = delayed() | {"isActive": True}
    flow_id = service("POST", "/api/flows", body, key=key).get_json()["id"]
    address = f"/api/flows/{flow_id}/versions"
    service("POST", address, {}, key=key)
    service("POST", address, {"author": "bob"}, key=key)
    service("POST", address, {})
    listed = service.ok("GET", address)["items"]
    assert [item["author"] for item in listed] == [None, "bob", "ann", "ann"]


def test_a_key_costs_no_query_each_time(
    service: Service, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[str] = []
    find = service.store.find_api_key
    monkeypatch.setattr(
        service.store, "find_api_key", lambda digest: (looked.append(digest), find(digest))[1]
    )
    for _ in range(5):
        assert service("GET", "/api/flows", key=key).status_code == 200
    assert looked == [digest_of(key)]
    service.refused(401, "GET", "/api/flows", key="no-key-of-that-form")
    assert len(looked) == 1, "what cannot be a key is not looked for"


def test_a_deleted_key_stops_working_soon(service: Service, key: str) -> None:
    assert service("GET", "/api/flows", key=key).status_code == 200
    service.store.delete_api_key("ann")
    assert service("GET", "/api/flows", key=key).status_code == 200, "it is remembered"
    service.clock.advance(REMEMBERED)
    assert service.refused(401, "GET", "/api/flows", key=key) == {"auth.wrong"}


def test_a_clock_that_went_back_lets_no_deleted_key_live_on(service: Service, key: str) -> None:
    assert service("GET", "/api/flows", key=key).status_code == 200
    service.store.delete_api_key("ann")
    service.clock.advance(-timedelta(hours=1))
    service.refused(401, "GET", "/api/flows", key=key)


def test_keys_are_long_and_told_from_other_words() -> None:
    keys = {new_key() for _ in range(100)}
    assert len(keys) == 100
    assert all(FORM.fullmatch(key) for key in keys)
