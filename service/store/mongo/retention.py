"""How ended executions leave MongoDB. May import `flowkit`, pymongo and what is beside it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pymongo import ASCENDING

from flowkit.execution import Execution, PageKey
from flowkit.wire import camel
from service.store.mongo.database import MongoDatabase
from service.store.mongo.documents import ExecutionDocument
from service.store.mongo.executions import PARTS
from service.store.mongo.known import BRANCHES, INBOX, RUNS, read_execution


class MongoRetention:
    """The verbs of `service.store.base.Executions` that are about ended ones."""

    _db: MongoDatabase

    def list_ended(
        self, *, before: datetime, after: PageKey | None = None, limit: int
    ) -> list[Execution]:
        query: dict[str, Any] = {"endedAt": {"$lt": before}, **behind(after)}
        found = self._db.rows(ExecutionDocument).find(query)
        ordered = found.sort([("endedAt", ASCENDING), ("_id", ASCENDING)]).limit(limit)
        return [read_execution(document) for document in ordered]

    def list_owing(self, *, after: PageKey | None = None, limit: int) -> list[Execution]:
        query = {"owes": True, "endedAt": {"$exists": True}, **behind(after)}
        hidden = {camel(part): 0 for part in (*PARTS, INBOX)}
        found = self._db.rows(ExecutionDocument).find(query, hidden)
        ordered = found.sort([("endedAt", ASCENDING), ("_id", ASCENDING)]).limit(limit)
        return [read_execution({BRANCHES: [], RUNS: [], **document}) for document in ordered]

    def delete_ended(self, refs: Sequence[tuple[str, int]]) -> int:
        by_revision: dict[int, list[str]] = {}
        for execution_id, revision in refs:
            by_revision.setdefault(revision, []).append(execution_id)
        removed = 0
        for revision, ids in by_revision.items():
            still = {"_id": {"$in": ids}, "revision": revision, "endedAt": {"$exists": True}}
            removed += self._db.rows(ExecutionDocument).delete_many(still).deleted_count
            self._db.count()
        return removed

    def expire(self, *, executions: datetime | None, keys: datetime, limit: int) -> int:
        return 0  # the indexes see to it: `MongoDatabase`


def behind(after: PageKey | None) -> dict[str, Any]:
    """Return the condition of what comes behind a page in the order of ends."""
    if after is None:
        return {}
    alternatives = [
        {"endedAt": {"$gt": after.created_at}},
        {"endedAt": after.created_at, "_id": {"$gt": after.id}},
    ]
    return {"$or": alternatives}
