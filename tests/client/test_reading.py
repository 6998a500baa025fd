"""What the client reads: frames through all pages, filters as the service knows them, records."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import httpx
import pandas as pd
import pytest

from flowkit import history
from flowkit.client import Client
from flowkit.errors import Invalid, ServiceError
from flowkit.execution import Branch, Execution, NodeRun
from flowkit.flow import Flow
from flowkit.wire import to_wire

START = datetime(2026, 11, 22, 10, tzinfo=UTC)


def execution(number: int) -> Execution:
    moment = START + timedelta(seconds=number)
    run = NodeRun(
        node_id="end",
        branch_id="root",
        status="completed",
        start_time=moment,
        end_time=moment + timedelta(milliseconds=5),
        result={"n": 2**70},
        idempotency_key=f"{number:04}_end",
    )
    return Execution(
        id=f"{number:04}",
        flow_id="cart",
        flow_version=3,
        status="completed",
        trigger_type="cart_abandoned",
        contact_id="ana",
        context={"trigger": {}, "contact": {"first_name": "Ana"}},
        branches=[
            Branch(branch_id="root", status="completed", current_node_id="end", path=["end"])
        ],
        executed_nodes=[run, run],
        created_at=moment,
        updated_at=moment,
        ended_at=moment,
    )


@pytest.fixture
def thousand(service: Any) -> list[str]:
    """Ids of 1,201 executions at the service, oldest first: three pages."""
    records = [execution(number) for number in range(1201)]
    service.executions = [to_wire(record) for record in reversed(records)]
    return [record.id for record in records]


def test_executions_are_read_through_all_pages_and_ordered(
    client: Client, service: Any, thousand: list[str]
) -> None:
    progress: list[int] = []
    frame = client.executions(progress=progress.append)
    assert frame["execution_id"].tolist() == thousand
    assert progress == [500, 1000, 1201]
    assert service.query() == {"limit": "500", "cursor": "1000"}


def test_node_runs_are_read_through_all_pages(
    client: Client, service: Any, thousand: list[str]
) -> None:
    frame = client.node_runs()
    assert frame["execution_id"].tolist() == [one for one in thousand for _ in range(2)]
    assert frame["result"].tolist() == [{"n": 2**70}] * 2402
    assert {request.url.params["include"] for request in service.requests} == {"executedNodes"}


def test_triggers_are_read_with_what_they_brought(
    client: Client, service: Any, thousand: list[str]
) -> None:
    frame = client.triggers(flow="cart", limit=600)
    assert frame["execution_id"].tolist() == thousand[-600:]
    assert frame["contact"].tolist() == [{"first_name": "Ana"}] * 600
    assert service.query()["include"] == "context"


@pytest.mark.parametrize(("limit", "pages"), [(1, ["1"]), (500, ["500"]), (600, ["500", "100"])])
def test_a_limit_gives_the_newest_and_asks_for_no_more(
    client: Client, service: Any, thousand: list[str], limit: int, pages: list[str]
) -> None:
    frame = client.executions(limit=limit)
    assert frame["execution_id"].tolist() == thousand[-limit:]
    assert [request.url.params["limit"] for request in service.requests] == pages


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_below_one_is_refused(client: Client, service: Any, limit: int) -> None:
    with pytest.raises(Invalid, match="less than 1"):
        client.executions(limit=limit)
    assert not service.requests


def test_nothing_found_gives_empty_frames_of_the_same_columns(client: Client) -> None:
    pd.testing.assert_frame_equal(client.executions(), history.executions([]))
    pd.testing.assert_frame_equal(client.node_runs(), history.node_runs([]))
    pd.testing.assert_frame_equal(client.triggers(), history.triggers([]))


def test_filters_reach_the_service_under_its_names(client: Client, service: Any) -> None:
    client.executions(
        flow="cart",
        status="failed",
        contact="+55 11/ção&",
        since=datetime(2026, 11, 22, 7, 0, 0, 1999, tzinfo=timezone(timedelta(hours=-3))),
        until="2026-11-23T00:00:00+01:00",
    )
    assert service.query() == {
        "flowId": "cart",
        "status": "failed",
        "contact": "+55 11/ção&",
        "from": "2026-11-22T10:00:00.001Z",
        "to": "2026-11-22T23:00:00.000Z",
        "limit": "500",
    }


@pytest.mark.parametrize("moment", [START, START.isoformat(), pd.Timestamp(START)])
def test_moments_in_any_form_are_the_same_moment(client: Client, service: Any, moment: Any) -> None:
    client.node_runs(since=moment)
    assert service.query()["from"] == "2026-11-22T10:00:00.000Z"


@pytest.mark.parametrize(
    "moment",
    [
        datetime(2026, 11, 22),
        pd.Timestamp("2026-11-22"),
        pd.NaT,
        "2026-11-22T10:00:00",
        "2026-11-22",
        "yesterday",
        20261122,
    ],
)
@pytest.mark.parametrize("argument", ["since", "until"])
def test_a_moment_without_a_zone_is_refused(
    client: Client, service: Any, argument: str, moment: Any
) -> None:
    with pytest.raises(Invalid) as refusal:
        client.executions(**{argument: moment})
    assert refusal.value.problems[0].path == f"/{argument}"
    assert "aware" in refusal.value.problems[0].message
    assert not service.requests


def test_a_flow_that_was_never_pushed_cannot_filter(client: Client, service: Any) -> None:
    with pytest.raises(Invalid, match="no id"):
        client.executions(flow=Flow("Cart", trigger="cart_abandoned"))
    assert not service.requests


def test_a_stored_flow_filters_by_its_id(client: Client, service: Any) -> None:
    stored = client.push(Flow("Cart", trigger="cart_abandoned").end())
    client.executions(flow=stored)
    assert service.query()["flowId"] == stored.id


def test_one_execution_comes_as_a_record(client: Client, service: Any) -> None:
    service.executions = [to_wire(execution(1))]
    assert client.execution("0001") == execution(1)


def test_retry_and_cancel_return_the_execution(client: Client, service: Any) -> None:
    service.executions = [to_wire(execution(1))]
    assert client.retry("0001", ["end"]) == execution(1)
    assert service.sent() == {"nodeIds": ["end"]}
    assert client.retry("0001") == execution(1)
    assert service.sent() == {}
    assert client.cancel("0001") == execution(1)
    assert service.requests[-1].url.path == "/api/executions/0001/cancel"


def test_where_a_retry_goes_on(client: Client, service: Any) -> None:
    service.executions = [to_wire(execution(1))]
    client.retry("0001", latest=True)
    assert (service.query(), service.sent()) == ({"version": "latest"}, {})
    client.retry("0001", from_start=True)
    assert (service.query(), service.sent()) == ({}, {"fromStart": True})


def test_a_retry_of_all_goes_through_every_page(client: Client, service: Any) -> None:
    records = [execution(number) for number in range(4)]
    records[1].status = "failed"
    service.executions = [to_wire(record) for record in records]
    seen: list[int] = []
    answer = client.retry_all(
        "cart", error_code="busy", node_ids=("a",), latest=True, progress=seen.append
    )
    assert answer["retried"] == ["0001"]
    assert [one["executionId"] for one in answer["refused"]] == ["0000", "0002", "0003"]
    assert seen == [0, 1, 1, 1]
    chosen = {"flowId": "cart", "errorCode": "busy", "nodeIds": ["a"], "version": "latest"}
    assert service.sent() == chosen | {"limit": 500, "cursor": "3"}
    client.retry_all()
    assert service.sent() == {"limit": 500, "cursor": "3"}


def test_what_answers_a_retry_of_all_otherwise_is_not_flowkit(client: Client, service: Any) -> None:
    service.next = httpx.Response(200, json={"retried": []})
    with pytest.raises(ServiceError, match="not flowkit"):
        client.retry_all()


def test_an_id_stays_one_segment_of_the_path(client: Client, service: Any) -> None:
    with pytest.raises(ServiceError):
        client.execution("a/b?c#d é")
    assert service.requests[-1].url.raw_path == b"/api/executions/a%2Fb%3Fc%23d%20%C3%A9"


def test_node_types_and_health(client: Client) -> None:
    assert [node_type["type"] for node_type in client.node_types()] == ["DELAY", "END"]
    assert client.health() == {"status": "ok"}


def test_importing_the_client_does_not_import_pandas() -> None:
    code = "import sys, flowkit.client; sys.exit('pandas' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
