"""Moves ended executions from the store into an archive, so that nothing is lost on the way.

Owns the order of the steps: write, read back, name in a manifest, count the days, delete. May
import `flowkit`, `service.counting`, `service.faults`, `service.store.base`, pyarrow.

Killed at any point and run again, nothing is lost: what is deleted has been read back and named
in a manifest. And nothing counts twice: what no manifest names is not read, and of two copies of
an execution readers take the one of the newest revision. Two that run at once do no harm either.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

import pyarrow as pa
import pyarrow.parquet as pq

from flowkit.errors import Invalid
from flowkit.execution import Execution, PageKey
from flowkit.history.layout import (
    SCHEMAS,
    Part,
    Place,
    damaged,
    month_of,
    tables,
    write_manifest,
)
from flowkit.problems import Problem
from service.counting import beginning, count_day, first_open_day
from service.faults import hit
from service.store.base import Store

PAGE = 200
"""Executions read at once; each may be a mebibyte."""
BATCH = 20_000
"""Executions in one batch: a part a month, and one manifest."""
BATCH_BYTES = 2**26
"""Bytes of rows after which a batch is full."""
DELETE = 500
"""Executions deleted in one transaction."""

_AGE = re.compile(r"(\d{1,6})([dh])", re.ASCII)


@dataclass(slots=True)
class Summary:
    """What was archived, or would be: numbers of rows, by month where it says so."""

    executions: int = 0
    node_runs: int = 0
    batches: int = 0
    kept: int = 0
    """Executions that changed meanwhile and stay in the store."""
    months: Counter[str] = field(default_factory=Counter)

    def add(self, batch: _Batch) -> None:
        """Enter a batch."""
        self.batches += 1
        self.executions += len(batch.refs)
        self.months.update(batch.months)
        self.node_runs += sum(batch.rows(month, "node_runs").num_rows for month in batch.months)


def cutoff(text: str, now: datetime) -> datetime:
    """Return the moment that an age (``90d``, ``12h``) or a date (``2026-11-01``) means.

    Raises
    ------
    Invalid
        When it is neither.
    """
    age = _AGE.fullmatch(text)
    try:
        if age is not None:
            return now - timedelta(**{"days" if age[2] == "d" else "hours": int(age[1])})
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        message = f"{text!r} is neither an age such as 90d or 12h nor a date such as 2026-11-01."
        raise Invalid([Problem("archive.before", "/before", message)]) from None


def reach(before: datetime, now: datetime, *, keys: timedelta) -> datetime:
    """Return how far an archive may reach.

    Days that are not counted yet stay in the store, and so does what ended less than `keys` ago:
    while the idempotency key of its trigger is kept, a redelivery must find the execution.
    """
    return min(before, now - keys, beginning(first_open_day(now)))


def survey(store: Store, *, before: datetime) -> Summary:
    """Return what `archive` would move; nothing is changed."""
    summary = Summary()
    for batch in _batches(store, before):
        summary.add(batch)
    return summary


def archive(
    store: Store,
    place: Place,
    *,
    before: datetime,
    progress: Callable[[Summary], None] = lambda summary: None,
) -> Summary:
    """Move the executions that ended before a moment into an archive.

    Parameters
    ----------
    store : Store
        Where they are. What changes meanwhile, by a retry, stays there.
    place : Place
        Where they go.
    before : datetime
        See `reach`.
    progress : callable
        Called after each batch.

    Raises
    ------
    Invalid
        When what was written cannot be read back as it was, or the archive that is there is
        damaged or of a newer version: nothing of that batch is deleted.
    """
    summary = Summary()
    there = place.manifests()
    for batch in _batches(store, before):
        earlier = [parts for name, parts in there.items() if name.startswith(batch.digest())]
        if earlier:  # a run was killed before it deleted anything of it
            _verify(place, earlier[0], batch)
        else:
            _keep(place, batch)
        hit("after_archive_commit")
        for day in sorted(batch.days):
            count_day(store, day)
        for start in range(0, len(batch.refs), DELETE):
            refs = batch.refs[start : start + DELETE]
            summary.kept += len(refs) - store.delete_ended(refs)
            hit("after_archive_delete")
        summary.add(batch)
        progress(summary)
    return summary


class _Batch:
    """Executions that are archived together, as rows by month and kind."""

    def __init__(self) -> None:
        self.refs: list[tuple[str, int]] = []
        self.days: set[date] = set()
        self.months: Counter[str] = Counter()
        self.bytes = 0
        self._tables: dict[str, dict[str, list[pa.Table]]] = {}

    def add(self, executions: Sequence[Execution]) -> None:
        """Take a page of executions in."""
        self.refs += [(e.id, e.revision) for e in executions]
        self.days.update(e.ended_at.date() for e in executions if e.ended_at)
        by_month: dict[str, list[Execution]] = {}
        for e in executions:
            by_month.setdefault(month_of(e.created_at), []).append(e)
        for month, some in by_month.items():
            self.months[month] += len(some)
            for kind, table in tables(some).items():
                self._tables.setdefault(month, {}).setdefault(kind, []).append(table)
                self.bytes += table.nbytes

    def rows(self, month: str, kind: str) -> pa.Table:
        """Return the rows of one part."""
        return pa.concat_tables(self._tables[month][kind]).combine_chunks()

    def digest(self) -> str:
        """Return what the batch is known by: the same for the same executions as they are now."""
        content = "".join(f"{id} {revision}\n" for id, revision in self.refs)
        return hashlib.sha256(content.encode()).hexdigest()[:24]


def _batches(store: Store, before: datetime) -> Iterator[_Batch]:
    batch, after = _Batch(), None
    while page := store.list_ended(before=before, after=after, limit=PAGE):
        last = page[-1]
        assert last.ended_at is not None
        after = PageKey(last.ended_at, last.id)
        batch.add(page)
        if len(batch.refs) >= BATCH or batch.bytes >= BATCH_BYTES:
            yield batch
            batch = _Batch()
    if batch.refs:
        yield batch


def _keep(place: Place, batch: _Batch) -> None:
    """Write the parts of a batch, read them back, and name them in a manifest."""
    # A name of its own, so that two runs at once never write the same file.
    name = f"{batch.digest()}-{secrets.token_hex(4)}"
    parts = []
    for month in batch.months:
        for kind in SCHEMAS:
            path = f"{kind}/month={month}/part-{name}.parquet"
            table = batch.rows(month, kind)
            data = _parquet(table)
            place.put(path, data)
            checksum = hashlib.sha256(data).hexdigest()
            parts.append(Part(path, table.num_rows, len(data), checksum))
    hit("after_archive_write")
    _verify(place, parts, batch)
    hit("after_archive_verify")
    path, manifest = f"manifests/{name}.json", write_manifest(parts)
    place.put(path, manifest)
    if place.get(path) != manifest:
        raise damaged(path, "it does not read as it was written")


def _parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def _verify(place: Place, parts: Sequence[Part], batch: _Batch) -> None:
    """Read parts back: their checksums, the number of rows, and every value of every row."""
    for part in parts:
        data = place.get(part.path)
        if hashlib.sha256(data).hexdigest() != part.sha256:
            raise damaged(part.path, "it does not read as it was written")
        found = pq.read_table(pa.BufferReader(data))
        expected = batch.rows(part.month, part.kind)
        if found.num_rows != part.rows or not found.equals(expected, check_metadata=True):
            raise damaged(part.path, "its rows are not those of the store")
