"""What is counted: by day through the API, and what is under way for Prometheus."""

from __future__ import annotations

from datetime import date, timedelta

import httpx
import pandas as pd
import pytest

import flowkit as fk
from flowkit import history
from flowkit.wire import to_wire
from tests.api.harness import KEY, NOW, REFUSED, Service, delayed, sending

DAY = timedelta(days=1)
TODAY = NOW.date()


def counted(service: Service) -> str:
    """Two flows that ran on the day before yesterday, counted; return the id of one."""
    service.clock.advance(-2 * DAY)
    flow = service.add(sending())
    service.add(delayed("Later", "later"))
    service.start()
    service.start("later")
    service.work(lambda performance: REFUSED)
    service.clock.advance(timedelta(hours=2))
    service.work()
    service.clock.advance(2 * DAY - timedelta(hours=2))
    service.store.roll_up(TODAY - 2 * DAY)
    return str(flow["id"])


def test_counts_are_those_of_the_store(service: Service) -> None:
    flow_id = counted(service)
    days = {"since": TODAY - 2 * DAY, "until": TODAY}
    everything = service.store.list_counts(**days)
    assert sum(c.count for c in everything if c.node_id is None) == 2
    answer = service.ok("GET", "/api/metrics")
    assert answer == {"items": to_wire(everything)}
    assert answer["items"][0]["day"] == str(TODAY - 2 * DAY)
    of_flow = service.ok("GET", f"/api/metrics?flowId={flow_id}")["items"]
    assert {item["flowId"] for item in of_flow} == {flow_id}
    assert {c["status"]: c["count"] for c in of_flow if c["nodeId"] is None} == {"failed": 1}
    assert service.ok("GET", f"/api/metrics?to={TODAY - 2 * DAY}") == {"items": []}
    assert service.ok("GET", f"/api/metrics?from={TODAY - DAY}") == {"items": []}


def test_days_are_bounded_and_well_formed(service: Service) -> None:
    year = f"from={TODAY - 366 * DAY}&to={TODAY}"
    assert service.ok("GET", f"/api/metrics?{year}") == {"items": []}
    answer = f"/api/metrics?from={TODAY - 367 * DAY}&to={TODAY}"
    assert service.refused(422, "GET", answer) == {"query.days"}
    for query in ("from=today", "to=2026-02-30", "from=2026-11-22T00:00:00Z", "day=2026-11-22"):
        assert service.refused(422, "GET", f"/api/metrics?{query}") == {"query.invalid"}
    assert service.ok("GET", "/api/metrics?to=0001-01-02") == {"items": []}
    assert service.ok("GET", f"/api/metrics?from={TODAY}&to={TODAY - DAY}") == {"items": []}


def test_the_client_gives_a_frame(service: Service) -> None:
    flow_id = counted(service)
    transport = httpx.WSGITransport(app=service.app)
    with fk.Client("http://service", api_key=KEY, transport=transport) as client:
        frame = client.counts(flow_id, since=TODAY - 2 * DAY, until=str(TODAY))
        assert list(frame.columns) == [column.name for column in history.COUNTS]
        assert frame["day"].unique().tolist() == [pd.Timestamp(TODAY - 2 * DAY, tz="UTC")]
        heads = frame[frame["node_id"].isna()]
        assert heads["status"].tolist() == ["failed"]
        assert frame["count"].sum() == 4, "the execution, TRIGGER and two messages"
        empty = client.counts(until=date(2020, 1, 1))
        pd.testing.assert_series_equal(empty.dtypes, frame.dtypes)
        assert empty.empty


def test_prometheus_is_told_what_is_under_way(service: Service) -> None:
    service.add(delayed())
    service.start()
    service.work()
    service.start()
    service.clock.advance(timedelta(seconds=7))
    answer = service("GET", "/metrics")
    assert answer.content_type == "text/plain; version=0.0.4; charset=utf-8"
    lines = [line for line in answer.text.splitlines() if not line.startswith("#")]
    assert lines == [
        'flowkit_executions{status="delayed"} 1',
        'flowkit_executions{status="running"} 1',
        "flowkit_late_seconds 7.0",
    ]
    service.work()
    assert "flowkit_late_seconds 0.0\n" in service("GET", "/metrics").text


@pytest.mark.sqlite
def test_counting_what_is_open_reads_no_history(service: Service) -> None:
    from service.store.sqlite.counts import OPEN

    with service.store._file.reading() as c:
        (plan, *_) = c.execute(f"EXPLAIN QUERY PLAN {OPEN}").fetchall()
    assert "COVERING INDEX executions_by_status (status=?)" in plan[3]
