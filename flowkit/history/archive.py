"""`Archive`: the frames of what was archived, alone or together with what a service still has.

Owns the reading of archives. Imports pyarrow, pandas, `history.frames` and `history.layout`.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from flowkit.errors import Invalid
from flowkit.flow import Flow
from flowkit.history import layout
from flowkit.history.frames import (
    COUNT,
    CREATED,
    EXECUTIONS,
    JSON,
    NODE_RUNS,
    TEXT,
    TRIGGERS,
    Column,
    assembled,
    by_course,
    by_creation,
    taken,
)
from flowkit.history.layout import Part, Place, check_version, damaged, month_of, not_read
from flowkit.problems import Problem
from flowkit.selection import query
from flowkit.wire import parse_iso

if TYPE_CHECKING:
    from flowkit.client import Client


class Archive:
    """What ``flowkit archive`` wrote, read with the methods, columns and dtypes of `Client`.

    Parameters
    ----------
    url : str
        Local path, or URL that fsspec knows, such as ``s3://bucket/flowkit``.
    live : Client, optional
        A service whose executions are read together with those of the archive. One that is in
        both, since it was retried while it was archived, is told as the service has it.

    Raises
    ------
    SettingsError
        When the URL is of no file system that is installed.

    Examples
    --------
    ::

        history = fk.history.Archive("s3://bucket/flowkit", live=client)
        history.executions(flow=flow, since="2026-01-01T00:00:00Z")
        history.node_runs(flow=flow)

    Files that no manifest names are not read, and a warning says so. An archive that is damaged
    or of a newer version is `Invalid` (``archive.damaged``, ``archive.version``).
    """

    def __init__(self, url: str, *, live: Client | None = None) -> None:
        self._place = Place(url)
        self._live = live

    def __repr__(self) -> str:
        return f"Archive({self._place.url!r})"

    def executions(
        self,
        flow: Flow | str | None = None,
        status: str | None = None,
        contact: str | None = None,
        since: datetime | str | None = None,
        until: datetime | str | None = None,
        limit: int | None = None,
    ) -> pd.DataFrame:
        """Return executions, one row each; see `Client.executions`.

        `since` and `until` keep the months that are outside from being read.
        """
        where = query(flow, None, contact, since, until)
        # The service first: what moves into the archive meanwhile is then in both, not in none.
        live = self._live.executions(**_by_argument(where)) if self._live else None
        return _heads(EXECUTIONS, self._parts(where), live, status, limit)

    def triggers(
        self,
        flow: Flow | str | None = None,
        contact: str | None = None,
        since: datetime | str | None = None,
        until: datetime | str | None = None,
        limit: int | None = None,
    ) -> pd.DataFrame:
        """Return what started executions, one row each; see `Client.triggers`."""
        where = query(flow, None, contact, since, until)
        live = self._live.triggers(**_by_argument(where)) if self._live else None
        return _heads(TRIGGERS, self._parts(where), live, None, limit)

    def node_runs(
        self,
        flow: Flow | str | None = None,
        status: str | None = None,
        contact: str | None = None,
        since: datetime | str | None = None,
        until: datetime | str | None = None,
        limit: int | None = None,
    ) -> pd.DataFrame:
        """Return node runs, one row each; see `Client.node_runs`."""
        chosen = None
        if limit is not None:
            chosen = self.executions(flow, status, contact, since, until, limit)["execution_id"]
        where = query(flow, None, contact, since, until)
        parts = []
        if self._live is not None:
            asked = _by_argument(where)
            runs = self._live.node_runs(**asked, status=status)
            heads = self._live.executions(**asked).set_index("execution_id")
            # What went into the archive between these two is told as the archive has it.
            runs = runs[runs["execution_id"].isin(heads.index)]
            created = heads["created_at"].reindex(runs["execution_id"])
            parts.append(runs.assign(created_at=created.array))
        files = self._parts(where)
        columns = ["revision", "execution_status", *_sources(NODE_RUNS, layout.NODE_RUNS)]
        table = files.read("node_runs", [*columns, "created_at"])
        copies = _copies(files.read("executions", ["execution_id", "revision"]))
        table = _newest(table, copies, "idempotency_key")
        if status is not None:
            table = table.filter(pc.equal(table["execution_status"], status))
        frame = _frame(NODE_RUNS + CREATED, table)
        if self._live is not None:
            frame = frame[~frame["execution_id"].isin(heads.index)]
        frame = pd.concat([frame, *parts])
        if chosen is not None:
            frame = frame[frame["execution_id"].isin(chosen)]
        frame = taken(frame, by_course(frame, _ages(frame)))
        return frame.drop(columns="created_at")

    def _parts(self, where: dict[str, str]) -> _Files:
        """Return the files of the months in question."""
        known = [part for parts in self._place.manifests().values() for part in parts]
        leftovers = self._place.leftovers(known)
        if not known and not leftovers:
            message = f"There is no archive at {self._place.url}; `flowkit archive` makes one."
            raise Invalid([Problem("archive.missing", "/url", message)])
        if leftovers:
            warnings.warn(f"{self._place.url}: {not_read(leftovers)}", stacklevel=3)
        return _Files(self._place, known, where)


class _Files:
    """The parts of an archive that may hold what is asked for.

    Parameters
    ----------
    place : Place
        Where they are.
    known : sequence of Part
        All that count.
    where : dict
        Filters of the executions list, of what never changes in an execution.
    """

    def __init__(self, place: Place, known: Sequence[Part], where: dict[str, str]) -> None:
        since, until = (parse_iso(where[k]) if k in where else None for k in ("from", "to"))
        self._place = place
        self._known = [
            part
            for part in known
            if not (since and part.month < month_of(since))
            and not (until and part.month > month_of(until))
        ]
        clauses = [ds.field(column) == where[k] for k, column in _EXACT.items() if k in where]
        if since:
            clauses.append(ds.field("created_at") >= pa.scalar(since, layout.TIME))
        if until:
            clauses.append(ds.field("created_at") < pa.scalar(until, layout.TIME))
        self._filter = clauses[0] if clauses else None
        for clause in clauses[1:]:
            self._filter &= clause

    def read(self, kind: str, columns: Sequence[str]) -> Any:
        """Return these columns of the rows that the filters let through."""
        schema = layout.SCHEMAS[kind]
        parts = {f"{self._place.root}/{p.path}": p for p in self._known if p.kind == kind}
        if not parts:
            return schema.empty_table().select(columns)
        # A checksum for each page tells of a bit that has turned over since it was written.
        scan = ds.ParquetFragmentScanOptions(page_checksum_verification=True)
        form = ds.ParquetFileFormat(default_fragment_scan_options=scan)
        part = next(iter(parts.values()))
        try:
            data = ds.dataset(list(parts), schema=schema, format=form, filesystem=self._place.fs)
            for fragment in data.get_fragments():
                part = parts[fragment.path]
                written = fragment.physical_schema.metadata or {}
                check_version(part.path, int(written.get(layout.VERSION_KEY, 0)))
                if fragment.metadata.num_rows != part.rows:
                    raise damaged(part.path, "it has not the rows that its manifest says")
            return data.to_table(columns=list(columns), filter=self._filter)
        except (pa.ArrowInvalid, OSError) as error:
            raise damaged(part.path, f"it, or one beside it, cannot be read ({error})") from error


_EXACT = {"flowId": "flow_id", "contact": "contact_id"}


def _by_argument(where: dict[str, str]) -> dict[str, Any]:
    """Return filters of the executions list as the arguments of the methods of `Client`."""
    names = {"flowId": "flow", "contact": "contact", "from": "since", "to": "until"}
    return {names[key]: value for key, value in where.items()}


def _heads(
    wanted: Sequence[Column],
    files: _Files,
    live: pd.DataFrame | None,
    status: str | None,
    limit: int | None,
) -> pd.DataFrame:
    """Return these columns of executions, a row each; what is live is told as it is there."""
    columns = ["revision", *_sources(wanted, layout.EXECUTIONS)]
    table = files.read("executions", columns)
    frame = _frame(wanted, _newest(table, _copies(table), "execution_id"))
    if live is not None:
        frame = pd.concat([frame[~frame["execution_id"].isin(live["execution_id"])], live])
    if status is not None:
        frame = frame[frame["status"] == status]
    frame = taken(frame, by_creation(frame))
    return frame if limit is None else frame.tail(_checked(limit)).reset_index(drop=True)


def _checked(limit: int) -> int:
    if limit < 1:
        message = f"{limit} is less than 1; leave it out for all"
        raise Invalid([Problem("filter.limit", "/limit", message)])
    return limit


def _sources(columns: Sequence[Column], schema: Any) -> list[str]:
    """Return the columns of an archive of which those of a frame are made."""
    names = (_source(column) for column in columns)
    return list(dict.fromkeys(name for name in names if name in schema.names))


def _source(column: Column) -> str:
    return column.source.partition(".")[0] if "." in column.source else column.name


def _copies(heads: Any) -> Any:
    """Return id and newest revision of the executions that are there more than once."""
    if pc.count_distinct(heads["execution_id"]).as_py() == len(heads):
        return None
    grouped = heads.group_by("execution_id").aggregate([("revision", "max"), ("revision", "count")])
    return grouped.filter(pc.greater(grouped["revision_count"], 1))


def _newest(table: Any, copies: Any, key: str) -> Any:
    """Return the rows of the newest revisions, of those with the same `key` one."""
    if copies is None:
        return table
    copies = copies.combine_chunks()
    place = pc.index_in(table["execution_id"], value_set=copies["execution_id"].combine_chunks())
    newest = copies["revision_max"].combine_chunks().take(place.combine_chunks())
    old = pc.fill_null(pc.not_equal(table["revision"], newest), False)
    table = table.filter(pc.invert(old))
    again = pd.Series(table[key].to_numpy(zero_copy_only=False), dtype=TEXT).duplicated()
    return table.filter(pa.array(~again.to_numpy(dtype=bool)))


def _frame(columns: Sequence[Column], table: Any) -> pd.DataFrame:
    """Return a frame of the rows of a table, in their order."""
    parsed = cache(lambda name: _parsed(table[name]))

    def read(column: Column) -> pd.Series[Any]:
        values = table[_source(column)]
        if "." in column.source:
            name, _, inner = column.source.partition(".")
            values = [value and value.get(inner) for value in parsed(name)]
            return pd.Series(values, dtype=column.dtype)
        if column.dtype == JSON:
            return pd.Series(parsed(column.name), dtype=JSON)
        if column.dtype == COUNT:
            return pd.Series(pd.array(values.to_numpy(), dtype=COUNT))
        if column.dtype == TEXT:
            return pd.Series(values.to_numpy(zero_copy_only=False), dtype=TEXT)
        moments = pd.Series(values.cast(pa.timestamp("ms")).to_numpy())
        return moments.dt.tz_localize("UTC")

    return assembled(columns, read)


def _parsed(texts: Any) -> list[Any]:
    # As one document: a call for each of a million texts takes several times as long.
    values = iter(json.loads(f"[{','.join(texts.drop_null().to_pylist())}]"))
    return [next(values) if valid else None for valid in texts.is_valid().to_pylist()]


def _ages(runs: pd.DataFrame) -> npt.NDArray[np.int64]:
    """Return the rank of the execution of each run, by its creation."""
    codes, ids = pd.factorize(runs["execution_id"])
    _, first = np.unique(codes, return_index=True)
    heads = pd.DataFrame({"execution_id": ids, "created_at": runs["created_at"].array[first]})
    ages = np.empty(len(heads), dtype=np.int64)
    ages[by_creation(heads)] = np.arange(len(heads))
    return ages[codes]
