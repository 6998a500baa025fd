"""What is counted in the embedded store. May import `flowkit` and what is beside it."""

from __future__ import annotations

import sqlite3
from datetime import UTC, date, datetime, time, timedelta

from flowkit.execution import DayCount
from flowkit.wire import to_ms
from service.store.sqlite.file import SqliteFile

COUNT = """
SELECT flow_id, flow_version, NULL, status, count(*) FROM executions
    WHERE ended_at IS NOT NULL AND ended_at >= :since AND ended_at < :until GROUP BY 1, 2, 4
UNION ALL
SELECT e.flow_id, e.flow_version, r.node_id, r.status, count(*)
    FROM executions AS e JOIN node_runs AS r ON r.execution_id = e.id
    WHERE e.ended_at IS NOT NULL AND e.ended_at >= :since AND e.ended_at < :until
    GROUP BY 1, 2, 3, 4
"""
OPEN = """
SELECT status, count(*) FROM executions
    WHERE status <> 'completed' AND status IN ('running', 'delayed') GROUP BY status
"""


class SqliteCounts:
    """The verbs of `service.store.base.Executions` that count."""

    _file: SqliteFile

    def count_open(self) -> dict[str, int]:
        with self._file.reading() as c:
            return {"running": 0, "delayed": 0} | dict(c.execute(OPEN).fetchall())

    def roll_up(self, day: date) -> None:
        since = datetime.combine(day, time(), UTC)
        asked = {"since": to_ms(since), "until": to_ms(since + timedelta(days=1))}
        # Counted outside of the transaction that writes: a large day takes seconds to read.
        with self._file.reading() as c:
            counted = c.execute(COUNT, asked).fetchall()
            there = c.execute("SELECT 1 FROM metrics WHERE day=?", (day.isoformat(),)).fetchone()
        if not counted and there is None:
            return

        def work(c: sqlite3.Connection) -> None:
            c.execute("DELETE FROM metrics WHERE day=?", (day.isoformat(),))
            c.executemany(
                "INSERT INTO metrics VALUES (?, ?, ?, ?, ?, ?)",
                [(day.isoformat(), *row) for row in counted],
            )

        self._file.write(work, durable=True)

    def list_counts(
        self, *, flow_id: str | None = None, since: date, until: date
    ) -> list[DayCount]:
        with self._file.reading() as c:
            rows = c.execute(
                "SELECT day, flow_id, flow_version, node_id, status, count FROM metrics "
                "WHERE day >= ? AND day < ? AND flow_id = ifnull(?, flow_id) "
                "ORDER BY day, flow_id, flow_version, node_id, status",
                (since.isoformat(), until.isoformat(), flow_id),
            ).fetchall()
        return [
            DayCount(
                day=date.fromisoformat(day),
                flow_id=flow,
                flow_version=version,
                node_id=node_id,
                status=status,
                count=count,
            )
            for day, flow, version, node_id, status, count in rows
        ]
