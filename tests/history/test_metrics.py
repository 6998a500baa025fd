"""The per-node table counts what the node runs show."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd

from flowkit import history
from flowkit.wire import iso

START = datetime(2026, 11, 22, 10, tzinfo=UTC)
COLUMNS = {
    "flow_id": "string[python]",
    "node_id": "string[python]",
    "entered": "int64",
    "completed": "int64",
    "failed": "int64",
    "median_duration": "timedelta64[ms]",
}


def run(node_id: str, at: int, status: str = "completed", took: int | None = 10) -> dict[str, Any]:
    start = START + timedelta(seconds=at)
    return {
        "nodeId": node_id,
        "branchId": "root",
        "status": status,
        "startTime": iso(start),
        "endTime": None if took is None else iso(start + timedelta(milliseconds=took)),
    }


def execution(number: int, *runs: dict[str, Any], flow_id: str = "cart") -> dict[str, Any]:
    created = iso(START + timedelta(minutes=number))
    return {"id": str(number), "flowId": flow_id, "createdAt": created, "executedNodes": list(runs)}


def table(*documents: dict[str, Any]) -> pd.DataFrame:
    return history.node_table(history.node_runs(documents))


def test_counts_and_medians() -> None:
    answer = table(
        execution(1, run("trigger", 0), run("send", 1, "failed", 30)),
        execution(2, run("trigger", 0), run("send", 1, "completed", 10), run("end", 2)),
        execution(3, run("trigger", 0), run("send", 1, "running", None)),
        execution(4, run("trigger", 0), run("send", 1, "unknown", 14)),
    )
    assert answer.to_dict("list") == {
        "flow_id": ["cart"] * 3,
        "node_id": ["trigger", "send", "end"],
        "entered": [4, 4, 1],
        "completed": [4, 1, 1],
        "failed": [0, 1, 0],
        "median_duration": [timedelta(milliseconds=ms) for ms in (10, 14, 10)],
    }
    assert dict(answer.dtypes) == COLUMNS


def test_nodes_stand_where_they_usually_run_not_where_they_were_first_seen() -> None:
    answer = table(
        execution(1, run("trigger", 0), run("yes", 1), run("thanks", 2), run("end", 3)),
        execution(2, run("trigger", 0), run("no", 1), run("thanks", 2), run("end", 3)),
    )
    assert answer["node_id"].tolist() == ["trigger", "no", "yes", "thanks", "end"]


def test_the_same_node_id_in_two_flows_is_two_nodes() -> None:
    answer = table(
        execution(1, run("end", 0), flow_id="a"), execution(2, run("end", 0), flow_id="b")
    )
    assert answer[["flow_id", "node_id", "entered"]].values.tolist() == [
        ["a", "end", 1],
        ["b", "end", 1],
    ]


def test_a_node_that_never_ended_has_no_median() -> None:
    answer = table(execution(1, run("wait", 0, "waiting", None)))
    assert answer["median_duration"].isna().all()
    assert dict(answer.dtypes) == COLUMNS


def test_no_runs_give_an_empty_table_of_the_same_columns() -> None:
    answer = table()
    assert answer.empty
    assert dict(answer.dtypes) == COLUMNS


def test_fall_backs_of_zones_are_counted() -> None:
    def zoned(node_id: str, source: str, **more: str) -> dict[str, Any]:
        return run(node_id, 0) | {"result": {"timeZone": "UTC", "timeZoneFrom": source, **more}}

    lost = {"timeZoneUnknown": "Mars/Olympus"}
    held = {"quietHours": {"timeZoneFrom": "flow", "timeZone": "UTC"}, "messageId": "wamid.1"}
    documents = [
        execution(1, zoned("wait", "contact"), run("send", 1) | {"result": held}),
        execution(2, zoned("wait", "flow", **lost), run("end", 1)),
        execution(3, zoned("wait", "flow", **lost), run("send", 1) | {"result": {"a": [1]}}),
    ]
    found = history.zone_table(history.node_runs(documents))
    assert {c: str(t) for c, t in found.dtypes.items()} == {
        "flow_id": "string",
        "node_id": "string",
        "source": "string",
        "unknown": "string",
        "count": "int64",
    }
    rows = [tuple(row) for row in found.drop(columns="flow_id").fillna("").to_numpy()]
    assert sorted(rows) == [
        ("send", "flow", "", 1),
        ("wait", "contact", "", 1),
        ("wait", "flow", "Mars/Olympus", 2),
    ]
    assert list(history.zone_table(history.node_runs([])).columns) == list(found.columns)
