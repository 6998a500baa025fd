"""What has been simulated, as the frames of the history.

Owns the expansion of courses to rows: many executions that took the same course share one record
of it, in which times are moments, and differ in their ids and times. Imports pandas and numpy,
`history.frames` (which owns the columns and the order), `execution`, `moments`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from flowkit.execution import Execution, NodeRun, branch_order
from flowkit.history.frames import (
    COUNT,
    EXECUTIONS,
    JSON,
    NODE_RUNS,
    TEXT,
    TIME,
    Column,
    assembled,
)
from flowkit.simulation.moments import Moment
from flowkit.wire import canonical, to_ms

Integers = npt.NDArray[np.int64]
MISSING = np.iinfo(np.int64).min
"""What numpy has for a time that is not there."""


@dataclass(slots=True)
class Group:
    """Executions that took the same course.

    `execution` is that of one, called `origin`, with the moments of all; `members` are the
    numbers of the executions, `times` their times in ms, a row each.
    """

    execution: Execution
    origin: str
    members: Integers
    times: Integers


@dataclass(frozen=True, slots=True)
class Heads:
    """What tells executions apart: their ids, and whom they are about; by number."""

    ids: list[str] = field(default_factory=list)
    contact_ids: list[str | None] = field(default_factory=list)


def renamed(value: Any, old: str, new: str) -> Any:
    """Return JSON data in which `old` is replaced by `new` in every text."""
    if isinstance(value, str):
        return value.replace(old, new)
    if isinstance(value, dict):
        return {renamed(k, old, new): renamed(v, old, new) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(renamed(item, old, new) for item in value)
    return value


def frames(groups: Sequence[Group], heads: Heads) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the frames `flowkit.history.executions` and `node_runs` of what was simulated."""
    kept = [group for group in groups if len(group.members)]
    members = _joined([group.members for group in kept])
    of_group = np.repeat(np.arange(len(kept)), [len(group.members) for group in kept])
    created = _joined([_times(g, g.execution.created_at) for g in kept])
    ids = _texts(heads.ids)
    order = np.lexsort((ids[members].astype(np.str_), created)) if len(members) else members
    executions = _executions(kept, heads, members[order], of_group[order], order)
    age = np.empty(len(heads.ids), dtype=np.int64)
    age[members[order]] = np.arange(len(members))
    return executions, _node_runs(kept, heads, ids, age)


def _executions(
    groups: Sequence[Group],
    heads: Heads,
    members: Integers,
    of_group: Integers,
    order: Integers,
) -> pd.DataFrame:
    def read(column: Column) -> pd.Series[Any]:
        if column.name == "execution_id":
            return _gathered(column, heads.ids, members)
        if column.name == "contact_id":
            return _gathered(column, heads.contact_ids, members)
        if column.name == "resume_at":
            return _series(column, _joined([_earliest(group) for group in groups])[order])
        if column.dtype == TIME:
            values = [_times(group, getattr(group.execution, column.name)) for group in groups]
            return _series(column, _joined(values)[order])
        constants = [getattr(group.execution, column.name) for group in groups]
        return _gathered(column, constants, of_group)

    return assembled(EXECUTIONS, read)


def _node_runs(
    groups: Sequence[Group], heads: Heads, ids: npt.NDArray[np.object_], age: Integers
) -> pd.DataFrame:
    """Return the rows of all groups; `age` ranks executions by their creation."""
    runs = [(group, run) for group in groups for run in group.execution.executed_nodes]
    branches = sorted({run.branch_id for _, run in runs}, key=branch_order)
    rank = {branch: place for place, branch in enumerate(branches)}
    rows = np.zeros(len(age) + 1, dtype=np.int64)
    for group in groups:
        rows[age[group.members] + 1] = len(group.execution.executed_nodes)
    first = np.cumsum(rows)
    which, starts, ends, whom = (np.empty(first[-1], dtype=np.int64) for _ in range(4))
    number = 0
    for group in groups:
        own = group.execution.executed_nodes
        if not own:
            continue
        began = np.stack([_times(group, run.start_time) for run in own], axis=1)
        ended = np.stack([_times(group, run.end_time) for run in own], axis=1)
        # Each execution's rows are sorted by themselves, and then go where all of its rows are.
        ties = [
            np.broadcast_to(_integers(values), began.shape)
            for values in ([run.sequence for run in own], [rank[run.branch_id] for run in own])
        ]
        order = np.lexsort((*ties, began), axis=-1)
        place = first[age[group.members]][:, None] + np.arange(len(own))
        which[place] = number + order
        starts[place] = np.take_along_axis(began, order, axis=1)
        ends[place] = np.take_along_axis(ended, order, axis=1)
        whom[place] = group.members[:, None]
        number += len(own)

    def read(column: Column) -> pd.Series[Any]:
        if column.name == "execution_id":
            return _gathered(column, heads.ids, whom)
        if column.name == "contact_id":
            return _gathered(column, heads.contact_ids, whom)
        if column.name == "start_time":
            return _series(column, starts)
        if column.name == "end_time":
            return _series(column, ends)
        if column.name == "idempotency_key":
            suffixes = [run.idempotency_key[len(group.origin) :] for group, run in runs]
            return _series(column, ids[whom] + _objects(suffixes)[which])
        if column.name == "result":
            return _series(column, _results(runs, ids, which, whom))
        return _gathered(column, [_constant(g, r, column) for g, r in runs], which)

    return assembled(NODE_RUNS, read)


def _constant(group: Group, run: NodeRun, column: Column) -> Any:
    """Return what a run has in a column for every execution of its group."""
    if column.source:
        return (run.error or {}).get(column.source.partition(".")[2])
    if hasattr(run, column.name):
        return getattr(run, column.name)
    return getattr(group.execution, column.name)


def _results(
    runs: Sequence[tuple[Group, NodeRun]],
    ids: npt.NDArray[np.object_],
    which: Integers,
    whom: Integers,
) -> npt.NDArray[np.object_]:
    """Return the results, in which each execution has its own id."""
    values = np.empty(len(which), dtype=object)
    given = _joined([np.array([run.result is not None for _, run in runs], dtype=np.int64)])
    if not len(runs):
        return values
    makers = [_maker(run.result, group.origin) for group, run in runs]
    rows = np.flatnonzero(given[which])
    for row, number, own in zip(rows.tolist(), which[rows].tolist(), ids[whom[rows]], strict=True):
        values[row] = makers[number](own)
    return values


def _maker(result: dict[str, Any] | None, origin: str) -> Callable[[str], Any]:
    """Return what makes the result of an execution of its id; nobody shares an object."""
    if result is None or any(isinstance(value, (dict, list)) for value in result.values()):
        return lambda own: renamed(result, origin, own)
    if origin not in canonical(result):
        return lambda own: dict(result)
    if len(result) == 1:
        ((name, value),) = result.items()
        if isinstance(value, str):
            parts = value.split(origin)
            return lambda own: {name: own.join(parts)}
    return lambda own: renamed(result, origin, own)


def _times(group: Group, moment: datetime | None) -> Integers:
    """Return the times in ms at which a moment was for the members of a group."""
    if isinstance(moment, Moment):
        place, offset = moment.place, moment.offset
        return group.times[:, place] + offset // 1000
    return np.full(len(group.members), MISSING if moment is None else to_ms(moment))


def _earliest(group: Group) -> Integers:
    """Return when the first waiting branch goes on."""
    waiting = [b.resume_at for b in group.execution.branches if b.status == "waiting"]
    known = [_times(group, at) for at in waiting if at is not None]
    return np.minimum.reduce(known) if known else _times(group, None)


def _series(column: Column, values: npt.NDArray[Any]) -> pd.Series[Any]:
    if column.dtype == TIME:
        return moments_of(values)
    if column.dtype == JSON:
        return pd.Series(values, dtype=JSON, copy=False)
    if column.dtype == COUNT:
        return pd.Series(values.astype(np.int64), dtype=COUNT)
    assert column.dtype == TEXT
    return pd.Series(values, dtype=TEXT, copy=False)


def _gathered(column: Column, values: Sequence[Any], which: Integers) -> pd.Series[Any]:
    """Return as a column, for each row, that one of some values."""
    if column.dtype != TEXT:
        made = _integers(values) if column.dtype == COUNT else _objects(values)
        return _series(column, made[which])
    known: Any = pd.Series(_texts(values), dtype=TEXT).array
    return pd.Series(known.take(which), copy=False)


def moments_of(times: Integers) -> pd.Series[Any]:
    """Return times in ms as a column."""
    return pd.Series(times.view("datetime64[ms]")).dt.tz_localize("UTC")


def _texts(values: Sequence[str | None]) -> npt.NDArray[np.object_]:
    return _objects([pd.NA if value is None else value for value in values])


def _objects(values: Sequence[Any]) -> npt.NDArray[np.object_]:
    made = np.empty(len(values), dtype=object)
    made[:] = values
    return made


def _integers(values: Sequence[int]) -> Integers:
    return np.array(values, dtype=np.int64)


def _joined(parts: Sequence[Integers]) -> Integers:
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)
