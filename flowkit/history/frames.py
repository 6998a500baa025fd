"""The frames of the history: which columns they have, and how wire documents become rows.

Owns the columns of its frames, declared once: builders, docstrings and tests read the
declarations. A frame has the same columns, dtypes and order whatever is in it, also
when it is empty, and under pandas 2.2 as under 3. Imports pandas, `execution` and `wire`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd

from flowkit.execution import branch_order
from flowkit.wire import camel

Document = Mapping[str, Any]
F = TypeVar("F", bound=Callable[..., pd.DataFrame])

# Named with their storage, unit and zone: the short names mean different things under pandas
# 2.2 and 3, and depend on whether pyarrow is installed. Milliseconds are what the wire has.
TEXT = "string[python]"
COUNT = "Int64"
TIME = "datetime64[ms, UTC]"
DURATION = "timedelta64[ms]"
JSON = "object"

BATCH = 2_000
"""Documents that are held at once; what they become takes a fraction of their memory."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a frame.

    Parameters
    ----------
    name : str
        Name in the frame.
    dtype : str
        Its pandas dtype; every one but ``object`` has a missing value of its own.
    help : str
        What it says, for the docstrings.
    source : str
        Key in the wire document, dotted when nested; made from `name` when empty.
    """

    name: str
    dtype: str
    help: str
    source: str = ""


EXECUTIONS: tuple[Column, ...] = (
    Column("execution_id", TEXT, "id of the execution", "id"),
    Column("flow_id", TEXT, "flow that it runs"),
    Column("flow_version", COUNT, "version of the flow to which it is pinned"),
    Column("status", TEXT, "running, delayed, completed, failed or cancelled"),
    Column("trigger_type", TEXT, "event that started it"),
    Column("contact_id", TEXT, "whom it is about; missing when the flow knows no contact"),
    Column("created_at", TIME, "when its trigger was accepted"),
    Column("updated_at", TIME, "when it last changed"),
    Column("ended_at", TIME, "when it ended; missing while it has not"),
    Column("resume_at", TIME, "when the earliest waiting branch goes on"),
    Column("duration", DURATION, "ended_at - created_at"),
)
"""Columns of `executions`."""

_WHOSE = {"execution_id", "flow_id", "flow_version", "contact_id"}
_OF_EXECUTION = tuple(column for column in EXECUTIONS if column.name in _WHOSE)
TRIGGERS: tuple[Column, ...] = (
    *(c for c in EXECUTIONS if c.name in _WHOSE | {"trigger_type", "created_at"}),
    Column("payload", JSON, "what the trigger brought, as parsed JSON", "context.trigger"),
    Column("contact", JSON, "the contact at the start, as parsed JSON", "context.contact"),
)
"""Columns of `triggers`."""

_OF_RUN = (
    Column("node_id", TEXT, "node that ran"),
    Column("branch_id", TEXT, "branch that ran it; root, root_0, ..."),
    Column("visit", COUNT, "1 for the first time at this node, higher in loops"),
    Column("sequence", COUNT, "position among the runs of its branch"),
    Column("status", TEXT, "running, waiting, completed, failed, suppressed, unknown, cancelled"),
    Column("start_time", TIME, "start of the last attempt; at END and JOIN the first arrival"),
    Column("end_time", TIME, "its end; at END and JOIN the last arrival"),
    Column("duration", DURATION, "end_time - start_time"),
    Column("result", JSON, "what the node gave, as parsed JSON; None when nothing"),
    Column("error_code", TEXT, "stable name of the failure; missing without one", "error.code"),
    Column("error_message", TEXT, "what happened, in a sentence", "error.message"),
    Column("idempotency_key", TEXT, "key under which the visit takes effect at most once"),
    Column("retry_count", COUNT, "attempts after the first"),
    Column("arrival_count", COUNT, "branches that arrived, at END and JOIN"),
)
NODE_RUNS: tuple[Column, ...] = _OF_EXECUTION + _OF_RUN
"""Columns of `node_runs`."""

COUNTS: tuple[Column, ...] = (
    Column("day", TIME, "the day, by its beginning in UTC"),
    Column("flow_id", TEXT, "flow"),
    Column("flow_version", COUNT, "version of the flow"),
    Column("node_id", TEXT, "node of which runs are counted; missing: executions are"),
    Column("status", TEXT, "status of the executions or the node runs"),
    Column("count", COUNT, "how many, of executions that ended on that day"),
)
"""Columns of `counts`."""

_SPANS = {"ended_at": "created_at", "end_time": "start_time"}
CREATED = tuple(column for column in EXECUTIONS if column.name == "created_at")


def _tabulated(columns: Sequence[Column]) -> Callable[[F], F]:
    """Add the table of `columns` to a function's docstring."""
    table = "\n".join(f"        {c.name:<16} {c.dtype:<20} {c.help}" for c in columns)

    def document(function: F) -> F:
        function.__doc__ = f"{(function.__doc__ or '').rstrip()}\n\n    Columns::\n\n{table}\n    "
        return function

    return document


@_tabulated(EXECUTIONS)
def executions(documents: Iterable[Document]) -> pd.DataFrame:
    """Return one row per execution, ordered by ``created_at``, then ``execution_id``.

    Parameters
    ----------
    documents : iterable of mapping
        Executions as the service's API gives them; consumed in batches, so that a generator
        never has all of them in memory. A key that is absent or null is a missing value.

    Returns
    -------
    pandas.DataFrame
        Index 0, 1, 2, ...
    """
    frame = _stack([_frame(EXECUTIONS, batch) for batch in _batches(documents)])
    return taken(frame, by_creation(frame))


@_tabulated(TRIGGERS)
def triggers(documents: Iterable[Document]) -> pd.DataFrame:
    """Return what started each execution: one row per execution, ordered as `executions` is.

    Parameters
    ----------
    documents : iterable of mapping
        Executions as the service's API gives them with ``context``; consumed in batches.

    Returns
    -------
    pandas.DataFrame
        Index 0, 1, 2, ...
    """
    frame = _stack([_frame(TRIGGERS, batch) for batch in _batches(documents)])
    return taken(frame, by_creation(frame))


@_tabulated(COUNTS)
def counts(documents: Iterable[Document]) -> pd.DataFrame:
    """Return one row per day, flow, version, node and status, in the order of `documents`.

    Parameters
    ----------
    documents : iterable of mapping
        Counts as the service's API gives them.

    Returns
    -------
    pandas.DataFrame
        Index 0, 1, 2, ...
    """
    return _stack([_frame(COUNTS, batch) for batch in _batches(documents)])


@_tabulated(NODE_RUNS)
def node_runs(documents: Iterable[Document]) -> pd.DataFrame:
    """Return one row per node run of the executions in `documents`.

    Ordered by execution as `executions` is, within one by start time, then branch in numeric
    order (``root_2`` before ``root_10``), then position in the branch.

    Parameters
    ----------
    documents : iterable of mapping
        Executions as the service's API gives them with ``executedNodes``; consumed in batches.

    Returns
    -------
    pandas.DataFrame
        Index 0, 1, 2, ...
    """
    head_parts, run_parts, count_parts = [], [], []
    for batch in _batches(documents):
        nested = [document.get("executedNodes") or () for document in batch]
        head_parts.append(_frame(_OF_EXECUTION + CREATED, batch))
        run_parts.append(_frame(_OF_RUN, list(chain.from_iterable(nested))))
        count_parts.append(np.fromiter(map(len, nested), dtype=np.int64, count=len(nested)))
    heads, runs = _stack(head_parts), _stack(run_parts)
    owner = np.repeat(np.arange(len(heads)), np.concatenate(count_parts))
    age = np.empty(len(heads), dtype=np.int64)
    age[by_creation(heads)] = np.arange(len(heads))
    order = by_course(runs, age[owner])
    of_execution = heads[[column.name for column in _OF_EXECUTION]]
    return pd.concat([taken(of_execution, owner[order]), taken(runs, order)], axis=1)


def _batches(documents: Iterable[Document]) -> Iterator[list[Document]]:
    """Yield lists of at most `BATCH` documents; one empty list when there are none."""
    remaining = iter(documents)
    yield list(islice(remaining, BATCH))
    while batch := list(islice(remaining, BATCH)):
        yield batch


def _frame(columns: Sequence[Column], documents: Sequence[Document]) -> pd.DataFrame:
    """Return the columns of `documents`, a row each, in their order."""

    def read(column: Column) -> pd.Series[Any]:
        return _series(column.dtype, _values(documents, column.source or camel(column.name)))

    return assembled(columns, read)


def assembled(columns: Sequence[Column], read: Callable[[Column], pd.Series[Any]]) -> pd.DataFrame:
    """Return a frame of what `read` gives for each column; durations follow from the times."""
    data = {column.name: read(column) for column in columns if column.dtype != DURATION}
    for end, start in _SPANS.items():
        if end in data:
            data["duration"] = data[end] - data[start]
    return pd.DataFrame({column.name: data[column.name] for column in columns}, copy=False)


def _values(documents: Sequence[Document], source: str) -> list[Any]:
    key, _, inner = source.partition(".")
    if inner:
        return [(document.get(key) or {}).get(inner) for document in documents]
    return [document.get(key) for document in documents]


def _series(dtype: str, values: list[Any]) -> pd.Series[Any]:
    if dtype == TIME:
        return pd.Series(pd.to_datetime(values, format="ISO8601", utc=True).as_unit("ms"))
    if dtype == TEXT:
        # Every document brings its own copies of the same ids and statuses: keep one of each.
        known: dict[str | None, str | None] = {}
        values = [known.setdefault(value, value) for value in values]
    return pd.Series(values, dtype=dtype)


def _stack(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    return pd.concat(parts, ignore_index=True)


def taken(frame: pd.DataFrame, order: npt.NDArray[np.int64]) -> pd.DataFrame:
    """Return the rows at these positions, numbered anew."""
    return frame.take(order).reset_index(drop=True)


def by_course(runs: pd.DataFrame, age: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the order of `node_runs`; `age` ranks the execution of each row by its creation."""
    return np.lexsort(
        (
            runs["sequence"].to_numpy(dtype=np.int64, na_value=0),
            _branch_ranks(runs["branch_id"]),
            _moments(runs["start_time"]),
            age,
        )
    )


def by_creation(frame: pd.DataFrame) -> npt.NDArray[np.int64]:
    """Return the order of `executions`."""
    ids = frame["execution_id"].to_numpy(dtype=np.str_, na_value="")
    return np.lexsort((ids, _moments(frame["created_at"])))


def _moments(times: pd.Series[Any]) -> npt.NDArray[np.datetime64]:
    """Return `times` as numpy has them, which sorts missing ones last."""
    moments: npt.NDArray[np.datetime64] = times.dt.tz_localize(None).to_numpy()
    return moments


def _branch_ranks(branches: pd.Series[Any]) -> npt.NDArray[np.int64]:
    """Return a number per row that orders branches as `branch_order` does, missing ones last."""
    codes, found = pd.factorize(branches)
    ids: list[str] = found.tolist()
    ranks = np.full(len(ids) + 1, len(ids))
    ranks[sorted(range(len(ids)), key=lambda code: branch_order(ids[code]))] = np.arange(len(ids))
    return ranks[codes]  # the code of a missing one, -1, is the last element
