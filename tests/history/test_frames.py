"""The frames have the declared columns whatever the documents are, and say what those say."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowkit import history
from flowkit.execution import Execution, NodeRun, run_order
from flowkit.history import frames
from flowkit.wire import cut, iso, to_wire
from tests.examples import examples

START = datetime(2026, 11, 22, 10, tzinfo=UTC)

text = st.text(st.characters(), max_size=8)  # surrogates too: JSON can spell them
ids = st.text("0123456789abcdef", min_size=1, max_size=6)
branch_ids = st.lists(st.integers(0, 12), max_size=3).map(
    lambda way: "_".join(["root", *map(str, way)])
)
moments = st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)).map(cut)
counts = st.integers(0, 2**40)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**40), 10**40) | st.floats(allow_nan=False) | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=5,
)
errors = st.fixed_dictionaries(
    {}, optional={"code": st.none() | text, "message": text, "transient": st.booleans()}
)


def document(**keys: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Any object in which each of these keys may be absent or null."""
    return st.fixed_dictionaries({}, optional={key: st.none() | v for key, v in keys.items()})


run_documents = document(
    nodeId=text,
    branchId=branch_ids,
    status=text,
    startTime=moments.map(iso),
    endTime=moments.map(iso),
    result=json_values,
    error=errors,
    idempotencyKey=text,
    retryCount=counts,
    arrivalCount=counts,
    visit=counts,
    sequence=counts,
    attempts=json_values,
)
execution_documents = document(
    id=text,
    flowId=text,
    flowVersion=counts,
    status=text,
    triggerType=text,
    contactId=text,
    createdAt=moments.map(iso),
    updatedAt=moments.map(iso),
    endedAt=moments.map(iso),
    resumeAt=moments.map(iso),
    context=document(trigger=json_values, contact=json_values),
    executedNodes=st.lists(run_documents, max_size=5),
)

runs = st.builds(
    NodeRun,
    node_id=ids,
    branch_id=branch_ids,
    status=st.sampled_from(["running", "waiting", "completed", "failed"]),
    # Few moments, so that the branch and the position decide often.
    start_time=st.integers(0, 3).map(lambda n: START + timedelta(milliseconds=n)),
    end_time=st.none() | moments,
    result=st.none() | st.dictionaries(text, json_values, max_size=2),
    error=st.none() | st.fixed_dictionaries({"code": text, "message": text}),
    idempotency_key=ids,
    retry_count=counts,
    arrival_count=counts,
    visit=counts,
    sequence=st.integers(0, 3),
)
executions = st.builds(
    Execution,
    id=ids,
    flow_id=ids,
    flow_version=counts,
    status=st.sampled_from(["running", "delayed", "completed", "failed", "cancelled"]),
    trigger_type=text,
    contact_id=st.none() | text,
    context=st.fixed_dictionaries({"trigger": json_values, "contact": json_values}),
    executed_nodes=st.lists(
        runs, max_size=6, unique_by=lambda r: (r.start_time, r.branch_id, r.sequence)
    ),
    created_at=st.integers(0, 3).map(lambda n: START + timedelta(milliseconds=n)),
    updated_at=moments,
    ended_at=st.none() | moments,
    resume_at=st.none() | moments,
)
histories = st.lists(executions, max_size=6, unique_by=lambda e: e.id)

BUILDERS = [
    pytest.param(history.executions, history.EXECUTIONS, id="executions"),
    pytest.param(history.node_runs, history.NODE_RUNS, id="node_runs"),
    pytest.param(history.triggers, history.TRIGGERS, id="triggers"),
]


def check_form(frame: pd.DataFrame, columns: tuple[history.Column, ...], rows: int) -> None:
    assert list(frame.columns) == [column.name for column in columns]
    for column in columns:
        assert frame.dtypes[column.name] == column.dtype, column.name
    pd.testing.assert_index_equal(frame.index, pd.RangeIndex(rows))


def rows_of(frame: pd.DataFrame) -> list[tuple[Any, ...]]:
    """The rows as plain values, None where one is missing."""
    columns = [
        [None if value is None or value is pd.NA or value is pd.NaT else value for value in column]
        for _, column in frame.items()
    ]
    return list(zip(*columns, strict=True))


def span(start: datetime, end: datetime | None) -> timedelta | None:
    return None if end is None else end - start


@settings(max_examples=examples(20, 100))
@given(st.lists(execution_documents, max_size=5))
def test_any_documents_give_the_declared_columns(documents: list[dict[str, Any]]) -> None:
    check_form(history.executions(documents), history.EXECUTIONS, len(documents))
    check_form(history.triggers(documents), history.TRIGGERS, len(documents))
    count = sum(len(document.get("executedNodes") or ()) for document in documents)
    check_form(history.node_runs(documents), history.NODE_RUNS, count)


@settings(max_examples=examples(15, 100))
@given(histories)
def test_executions_say_what_the_records_say(records: list[Execution]) -> None:
    expected = [
        (
            e.id,
            e.flow_id,
            e.flow_version,
            e.status,
            e.trigger_type,
            e.contact_id,
            e.created_at,
            e.updated_at,
            e.ended_at,
            e.resume_at,
            span(e.created_at, e.ended_at),
        )
        for e in sorted(records, key=lambda e: (e.created_at, e.id))
    ]
    assert rows_of(history.executions(map(to_wire, records))) == expected


@settings(max_examples=examples(15, 100))
@given(histories)
def test_triggers_say_what_started_the_executions(records: list[Execution]) -> None:
    frame = history.triggers(map(to_wire, records))
    ordered = sorted(records, key=lambda e: (e.created_at, e.id))
    assert frame["execution_id"].tolist() == [e.id for e in ordered]
    contents = zip(frame["payload"], frame["contact"], strict=True)
    assert list(contents) == [(e.context["trigger"], e.context["contact"]) for e in ordered]


@settings(max_examples=examples(15, 100))
@given(histories)
def test_node_runs_say_what_the_records_say_in_the_order_of_the_engine(
    records: list[Execution],
) -> None:
    expected = [
        (
            e.id,
            e.flow_id,
            e.flow_version,
            e.contact_id,
            r.node_id,
            r.branch_id,
            r.visit,
            r.sequence,
            r.status,
            r.start_time,
            r.end_time,
            span(r.start_time, r.end_time),
            r.result,
            r.error and r.error["code"],
            r.error and r.error["message"],
            r.idempotency_key,
            r.retry_count,
            r.arrival_count,
        )
        for e in sorted(records, key=lambda e: (e.created_at, e.id))
        for r in sorted(e.executed_nodes, key=run_order)
    ]
    assert rows_of(history.node_runs(map(to_wire, records))) == expected


@pytest.mark.parametrize(("build", "columns"), BUILDERS)
@settings(max_examples=examples(10, 60))
@given(records=histories, size=st.integers(1, 4))
def test_batches_leave_no_trace(
    build: Any, columns: tuple[history.Column, ...], records: list[Execution], size: int
) -> None:
    whole = build(map(to_wire, records))
    with mock.patch.object(frames, "BATCH", size):
        parts = build(map(to_wire, records))
    pd.testing.assert_frame_equal(parts, whole)


@pytest.mark.parametrize(("build", "columns"), BUILDERS)
def test_an_empty_history_has_the_same_columns(
    build: Any, columns: tuple[history.Column, ...]
) -> None:
    check_form(build([]), columns, 0)


@pytest.mark.parametrize(("build", "columns"), BUILDERS)
@settings(max_examples=examples(10, 60))
@given(records=histories)
def test_an_empty_frame_joins_any_other_without_changing_its_dtypes(
    build: Any, columns: tuple[history.Column, ...], records: list[Execution]
) -> None:
    full = build(map(to_wire, records))
    both = pd.concat([build([]), full], ignore_index=True)
    pd.testing.assert_frame_equal(both, full)


def test_an_execution_without_node_runs_has_no_rows_there() -> None:
    documents = [{"id": "a", "executedNodes": []}, {"id": "b"}, {"id": "c", "executedNodes": None}]
    check_form(history.node_runs(documents), history.NODE_RUNS, 0)


def test_other_spellings_of_a_moment_are_the_same_moment() -> None:
    spellings = ["2026-11-22T10:00:00.000Z", "2026-11-22T10:00:00Z", "2026-11-22T13:00:00+03:00"]
    frame = history.executions([{"createdAt": spelling} for spelling in spellings])
    assert frame["created_at"].tolist() == [pd.Timestamp(START)] * 3


@pytest.mark.parametrize(("build", "columns"), BUILDERS)
def test_the_docstring_shows_every_column(build: Any, columns: tuple[history.Column, ...]) -> None:
    for column in columns:
        assert f"{column.name} " in build.__doc__
        assert column.dtype in build.__doc__
        assert column.help in build.__doc__
