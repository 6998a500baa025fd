"""What workers do with branches in the embedded store: claim, renew, release, commit.

May import `flowkit` and what is beside it.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from flowkit.execution import Answer, BranchRef, Claim, Patch
from flowkit.wire import from_ms, to_ms
from service.store.sqlite.file import SqliteFile
from service.store.sqlite.patch import apply, prepared, wake
from service.store.sqlite.rows import HEAD, load, marks, read_head

CLAIMABLE = """
SELECT execution_id, branch_id, epoch, status FROM (
    SELECT * FROM (SELECT execution_id, branch_id, epoch, status, claim_at FROM branches
        WHERE status = 'ready' AND claim_at IS NOT NULL ORDER BY claim_at LIMIT :limit)
    UNION ALL
    SELECT * FROM (SELECT execution_id, branch_id, epoch, status, claim_at FROM branches
        WHERE status = 'waiting' AND claim_at <= :now ORDER BY claim_at LIMIT :limit)
    UNION ALL
    SELECT * FROM (SELECT execution_id, branch_id, epoch, status, claim_at FROM branches
        WHERE :expired AND status = 'running' AND owner <> :owner
        AND (claim_at <= :now OR claim_at > :now + 2 * :lease) ORDER BY claim_at LIMIT :limit)
) ORDER BY claim_at, execution_id, branch_id LIMIT :limit
"""


NEXT_DUE = """
SELECT min(at) FROM (
    SELECT min(min(claim_at), :now) AS at FROM branches
        WHERE status = 'ready' AND claim_at IS NOT NULL
    UNION ALL
    SELECT min(claim_at) FROM branches WHERE status = 'waiting' AND claim_at IS NOT NULL
    UNION ALL
    SELECT min(claim_at) FROM branches WHERE status = 'running' AND claim_at IS NOT NULL
)
"""

# From one flow to the next in the index: DISTINCT would read every parked execution each time.
HELD_FLOWS = """
WITH RECURSIVE held_flows (id) AS (
    SELECT min(flow_id) FROM executions WHERE held
    UNION ALL
    SELECT (SELECT min(flow_id) FROM executions WHERE held AND flow_id > held_flows.id)
        FROM held_flows WHERE id IS NOT NULL
)
SELECT id FROM held_flows WHERE id IS NOT NULL
"""


class SqliteWork:
    """The verbs of `service.store.base.Work`."""

    _file: SqliteFile

    def claim(
        self, owner: str, *, now: datetime, lease_ms: int, limit: int, expired: bool = True
    ) -> list[Claim]:
        if lease_ms <= 0:
            raise ValueError("a lease must be longer than 0 ms")
        asked: dict[str, Any] = {
            "now": to_ms(now),
            "lease": lease_ms,
            "limit": limit,
            "expired": expired,
            "owner": owner,
        }
        with self._file.reading() as c:
            if c.execute(CLAIMABLE, {**asked, "limit": 1}).fetchone() is None:
                return []

        def work(c: sqlite3.Connection) -> list[tuple[str, str, int, str]]:
            taken = c.execute(CLAIMABLE, asked).fetchall()
            until = asked["now"] + lease_ms
            c.executemany(
                "UPDATE branches SET status='running', owner=?, epoch=epoch+1, claim_at=? "
                "WHERE execution_id=? AND branch_id=?",
                [(owner, until, execution_id, branch_id) for execution_id, branch_id, *_ in taken],
            )
            wake(c, Counter(execution_id for execution_id, *_, was in taken if was == "waiting"))
            return taken

        epochs: dict[str, dict[str, int]] = {}
        for execution_id, branch_id, epoch, _ in self._file.write(work, durable=False):
            epochs.setdefault(execution_id, {})[branch_id] = epoch + 1
        # What is ours now can be read while others write.
        with self._file.reading() as c:
            return _load_claims(c, epochs)

    def renew(self, refs: Sequence[BranchRef], *, now: datetime, lease_ms: int) -> list[BranchRef]:
        until = to_ms(now) + lease_ms

        def work(c: sqlite3.Connection) -> list[BranchRef]:
            statement = (
                "UPDATE branches SET claim_at=? WHERE execution_id=? AND branch_id=? "
                "AND epoch=? AND status='running'"
            )
            return [ref for ref in refs if c.execute(statement, (until, *ref)).rowcount == 0]

        return self._file.write(work, durable=False)

    def release(self, refs: Sequence[BranchRef], *, now: datetime, hold: bool = False) -> None:
        at = None if hold else to_ms(now)

        def work(c: sqlite3.Connection) -> None:
            for ref in refs:
                changed = c.execute(
                    "UPDATE branches SET status='ready', epoch=epoch+1, owner=NULL, claim_at=? "
                    "WHERE execution_id=? AND branch_id=? AND epoch=? AND status='running'",
                    (at, *ref),
                ).rowcount
                if hold and changed:
                    c.execute("UPDATE executions SET held=1 WHERE id=?", (ref.execution_id,))

        self._file.write(work, durable=False)

    def held_flows(self) -> frozenset[str]:
        with self._file.reading() as c:
            return frozenset(flow_id for (flow_id,) in c.execute(HELD_FLOWS))

    def unhold(self, flow_id: str, *, now: datetime, limit: int) -> int:
        def work(c: sqlite3.Connection) -> int:
            ids = c.execute(
                "SELECT id FROM executions WHERE held AND flow_id=? LIMIT ?", (flow_id, limit)
            ).fetchall()
            c.executemany(
                "UPDATE branches SET claim_at=? "
                "WHERE execution_id=? AND status='ready' AND claim_at IS NULL",
                [(to_ms(now), id) for (id,) in ids],
            )
            c.executemany("UPDATE executions SET held=0 WHERE id=?", ids)
            return len(ids)

        return self._file.write(work, durable=False)

    def commit(self, patches: Sequence[Patch], *, now: datetime, lease_ms: int = 0) -> list[Answer]:
        at = to_ms(now)
        made = [prepared(patch, at, lease_ms) for patch in patches]
        return self._file.write(
            lambda c: list(apply(c, made, at, lease_ms)),
            durable=any(patch.durable for patch in patches),
        )

    def next_due(self, *, now: datetime) -> datetime | None:
        with self._file.reading() as c:
            due: int | None
            (due,) = c.execute(NEXT_DUE, {"now": to_ms(now)}).fetchone()
        return from_ms(due)


def _load_claims(c: sqlite3.Connection, epochs: dict[str, dict[str, int]]) -> list[Claim]:
    """Read what was claimed, each branch under its epoch; not what has changed hands since."""
    ids = list(epochs)
    heads = [
        read_head(row)
        for row in c.execute(f"SELECT {HEAD} FROM executions WHERE id IN ({marks(len(ids))})", ids)
    ]
    load(c, heads, ("context", "branches"))
    # A fresh execution has neither runs nor events to look for.
    load(c, [head for head in heads if head.revision], ("executed_nodes", "inbox"))
    claims = []
    for head in heads:
        ours = epochs[head.id]
        branches = {b.branch_id: b for b in head.branches if ours.get(b.branch_id) == b.epoch}
        runs = {run.idempotency_key: run for run in head.executed_nodes}
        head.branches, head.executed_nodes = [], []
        if branches:
            claims.append(Claim(head, branches, runs))
    return claims
