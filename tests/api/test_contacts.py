"""Contacts: what triggers told of them last."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest

from tests.api.harness import Service, delayed


def tell(service: Service, **contact: Any) -> str:
    (execution,) = service.start(payload={"contact": contact})
    return execution


def test_a_trigger_tells_of_its_contact(service: Service) -> None:
    service.add(delayed())
    execution = tell(service, id="c 1/+", country="BR")
    first = service.ok("GET", "/api/contacts")["items"][0]
    service.clock.advance(timedelta(seconds=1))
    tell(service, id="c 1/+", phone="+55", country="PT")
    told = service.ok("GET", f"/api/contacts/{quote('c 1/+', safe='')}")
    assert told["attributes"] == {"id": "c 1/+", "phone": "+55", "country": "PT"}
    assert told["createdAt"] == first["createdAt"] == first["updatedAt"]
    assert told["updatedAt"] > told["createdAt"]
    kept = service.ok("GET", f"/api/executions/{execution}")["context"]["contact"]
    assert kept == {"id": "c 1/+", "country": "BR"}, "frozen at the start"
    service.refused(404, "GET", "/api/contacts/nobody")


def test_contacts_are_paged_by_id(service: Service) -> None:
    service.add(delayed())
    ids = ["+1", "B", "a", "é", "😀/x"]
    for id in reversed(ids):
        tell(service, id=id)
    found, query = [], "?limit=2"
    while True:
        page = service.ok("GET", f"/api/contacts{query}")
        found += [contact["id"] for contact in page["items"]]
        if page["nextCursor"] is None:
            break
        query = f"?limit=2&cursor={page['nextCursor']}"
    assert found == ids
    for cursor in ("é", "%ff", "a"):
        service.refused(422, "GET", f"/api/contacts?cursor={cursor}")


def test_no_contact_is_saved_where_there_is_none(service: Service) -> None:
    service.add(delayed())
    service.start(payload={"contact": {"name": "x"}})
    assert service.ok("GET", "/api/contacts")["items"] == []


def test_a_contact_that_cannot_be_saved_fails_no_trigger(
    service: Service, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    service.add(delayed())

    def full(contacts: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(service.store, "save_contacts", full)
    with caplog.at_level(logging.WARNING):
        tell(service, id="c1")
    assert "disk full" in caplog.text
    assert len(service.ok("GET", "/api/executions")["items"]) == 1
