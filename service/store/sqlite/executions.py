"""Executions in the embedded store, as they are created and read.

May import `flowkit` and what is beside it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Container, Iterable, Mapping, Sequence

from flowkit.entry import Entered, may_enter
from flowkit.errors import Conflict, NotFound
from flowkit.execution import EXECUTION_STATUSES, Execution, ExecutionFilter, PageKey
from flowkit.options import Entry
from flowkit.wire import canonical, from_ms, to_ms
from service.store.sqlite.file import SqliteFile
from service.store.sqlite.rows import (
    HEAD,
    INSERT_BRANCH,
    WHOLE,
    fill,
    head_values,
    marks,
    new_branch_values,
    page_clauses,
    read_head,
)


class SqliteExecutions:
    """The verbs of `service.store.base.Executions`."""

    _file: SqliteFile

    def create(
        self,
        executions: Sequence[Execution],
        *,
        absent: bool = False,
        entry: Mapping[str, Entry] = {},
    ) -> list[str]:
        def work(c: sqlite3.Connection) -> list[str]:
            new = executions
            if absent:
                ids = [e.id for e in executions]
                taken = c.execute(f"SELECT id FROM executions WHERE id IN ({marks(len(ids))})", ids)
                known = {id for (id,) in taken}
                new = [e for e in executions if e.id not in known]
            beside = {e.id for e in new}
            refused = [e.id for e in new if not _enter(c, e, entry.get(e.flow_id), beside)]
            new = [e for e in new if e.id not in refused]
            try:
                c.executemany(
                    f"INSERT INTO executions ({HEAD}) VALUES ({marks(17)})",
                    [head_values(e) for e in new],
                )
            except sqlite3.IntegrityError as error:
                raise Conflict("an execution has one of these ids already") from error
            c.executemany(
                "INSERT INTO contexts VALUES (?, ?)", [(e.id, canonical(e.context)) for e in new]
            )
            c.executemany(
                INSERT_BRANCH,
                [
                    new_branch_values(e.id, b, owner=None, now=to_ms(e.created_at), lease=0)
                    for e in new
                    for b in e.branches
                ],
            )
            return refused

        return self._file.write(work, durable=True)

    def get_execution(self, execution_id: str) -> Execution:
        with self._file.reading() as c:
            row = c.execute(f"SELECT {HEAD} FROM executions WHERE id=?", (execution_id,)).fetchone()
            if row is None:
                raise NotFound(f"there is no execution {execution_id}")
            execution = read_head(row)
            fill(c, [execution], WHOLE)
        return execution

    def list_executions(
        self,
        where: ExecutionFilter,
        *,
        after: PageKey | None = None,
        limit: int,
        include: Iterable[str] = (),
    ) -> list[Execution]:
        clauses, values = page_clauses(after)
        for clause, value in (
            ("flow_id = ?", where.flow_id),
            ("contact_id = ?", where.contact_id),
            ("created_at >= ?", where.since and to_ms(where.since)),
            ("created_at < ?", where.until and to_ms(where.until)),
        ):
            if value is not None:
                clauses.append(clause)
                values.append(value)
        if where.live:
            clauses.append("ended_at IS NULL")
        if where.status is not None:
            if where.status not in EXECUTION_STATUSES:
                return []
            # A literal, since SQLite uses a partial index only when it can see the value.
            clauses.append(f"status = '{where.status}'")
        with self._file.reading() as c:
            rows = c.execute(
                f"SELECT {HEAD} FROM executions WHERE {' AND '.join(clauses)} "
                "ORDER BY created_at DESC, id DESC LIMIT ?",
                (*values, limit),
            )
            executions = [read_head(row) for row in rows]
            fill(c, executions, include)
        return executions


LAST_ENTRY = """
SELECT execution_id, at, EXISTS
    (SELECT 1 FROM executions WHERE id = entries.execution_id AND ended_at IS NULL)
FROM entries WHERE flow_id=? AND contact_id=?
"""


def _enter(
    c: sqlite3.Connection, e: Execution, entry: Entry | None, beside: Container[str]
) -> bool:
    """Note that an execution's contact enters the flow, if it may; return whether.

    Those that are created `beside` it are live, although there is no row of them yet.
    """
    if entry is None or e.contact_id is None:
        return True
    row = c.execute(LAST_ENTRY, (e.flow_id, e.contact_id)).fetchone()
    last = None if row is None else Entered(row[0], from_ms(row[1]), row[2] or row[0] in beside)
    if not may_enter(entry, e, last):
        return False
    c.execute(
        "INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?)",
        (e.flow_id, e.contact_id, e.id, to_ms(e.created_at)),
    )
    return True
