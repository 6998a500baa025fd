"""Broadcasts through the client: contacts of any kind, streamed; and what is done with one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import pytest

import flowkit as fk
from flowkit.client import Client
from flowkit.errors import Invalid, ServiceError


@pytest.fixture
def flow(client: Client) -> fk.Flow:
    return client.push(fk.Flow("News", trigger="news").end())


def lines(service: Any) -> list[Any]:
    """The contacts that were sent last."""
    (request,) = [r for r in service.requests if r.url.path.endswith("/broadcast")]
    assert request.headers["Content-Type"] == "application/x-ndjson"
    assert "Content-Length" not in request.headers
    return [json.loads(line) for line in request.content.decode().splitlines()]


def test_contacts_are_streamed_and_the_broadcast_runs(
    client: Client, service: Any, flow: fk.Flow
) -> None:
    def many() -> Iterator[dict[str, Any]]:
        for i in range(5000):
            yield {"id": f"é{i}", "n": i, "at": datetime(2026, 1, 1, tzinfo=UTC)}

    told = client.broadcast(flow, many(), per_second=0.5)
    assert told == {"id": "b/1", "status": "running"}
    sent = lines(service)
    assert len(sent) == 5000
    assert sent[7] == {"id": "é7", "n": 7, "at": "2026-01-01T00:00:00+00:00"}
    assert service.requests[-2].url.params["perSecond"] == "0.5"


def test_a_frame_is_sent_without_what_it_does_not_know(
    client: Client, service: Any, flow: fk.Flow
) -> None:
    frame = pd.DataFrame(
        {
            "id": ["a", "b"],
            "age": pd.array([None, 7], dtype="Int64"),
            "score": [float("nan"), 1.5],
            "since": [pd.Timestamp("2026-01-01", tz="UTC"), pd.NaT],
            "tags": [["x"], []],
            "group": pd.Categorical(["g", None]),
            "ok": [True, False],
        }
    )
    client.broadcast(flow.id or "", frame)
    assert lines(service) == [
        {"id": "a", "since": "2026-01-01T00:00:00+00:00", "tags": ["x"], "group": "g", "ok": True},
        {"id": "b", "age": 7, "score": 1.5, "tags": [], "ok": False},
    ]


def test_a_filter_is_sent_as_jsonlogic(client: Client, service: Any, flow: fk.Flow) -> None:
    assert client.broadcast(flow, filter=fk.contact.country == "BR")["status"] == "running"
    assert service.sent() == {"filter": {"==": [{"var": "contact.country"}, "BR"]}}
    client.broadcast(flow, filter=True)
    assert service.sent() == {"filter": True}


@pytest.mark.parametrize(
    ("contacts", "path"),
    [
        ([{"id": "a"}, "b"], "/contacts/1"),
        ([{"id": object()}], "/contacts/0"),
        ([{"id": float("nan")}], "/contacts/0"),
        (None, "/contacts"),
    ],
)
def test_what_cannot_be_sent_is_named(
    client: Client, service: Any, flow: fk.Flow, contacts: Any, path: str
) -> None:
    with pytest.raises(Invalid) as refused:
        client.broadcast(flow, contacts)
    assert [p.path for p in refused.value.problems] == [path]


def test_a_flow_without_an_id_is_refused(client: Client) -> None:
    with pytest.raises(Invalid, match="no id"):
        client.broadcast(fk.Flow("x", trigger="x").end(), [])
    with pytest.raises(ServiceError, match="404"):
        client.broadcast("nothing", [{"id": "a"}])


def test_what_is_done_with_a_broadcast(client: Client, service: Any) -> None:
    assert client.broadcast_status("b/1")["status"] == "running"
    assert client.pause_broadcast("b/1")["status"] == "paused"
    assert client.resume_broadcast("b/1")["status"] == "running"
    assert client.cancel_broadcast("b/1")["status"] == "cancelled"
    client.pace_broadcast("b/1", 5)
    assert service.sent() == {"perSecond": 5}
    client.pace_broadcast("b/1", None)
    assert service.sent() == {"perSecond": None}


def test_a_trigger_names_its_event(client: Client, service: Any) -> None:
    client.trigger("cart", {}, idempotency_key="order-7")
    assert service.requests[-1].headers["Idempotency-Key"] == "order-7"
    client.trigger("cart", {})
    assert "Idempotency-Key" not in service.requests[-1].headers
