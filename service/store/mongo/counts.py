"""What is counted in MongoDB. May import `flowkit`, pymongo and what is beside it."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from pymongo import ASCENDING, ReplaceOne

from flowkit.execution import DayCount
from service.store.mongo.database import MongoDatabase
from service.store.mongo.documents import DayCountDocument, ExecutionDocument, Mapper
from service.store.mongo.known import RUNS

_counts = Mapper(DayCount, DayCountDocument)
NAMES = ("flowId", "flowVersion", "nodeId", "status")
VERSION = {"flowId": "$flowId", "flowVersion": "$flowVersion"}
NODES = [
    {"$unwind": f"${RUNS}"},
    {
        "$group": {
            "_id": {**VERSION, "nodeId": f"${RUNS}.nodeId", "status": f"${RUNS}.status"},
            "count": {"$sum": 1},
        }
    },
]
STATUSES = [{"$group": {"_id": {**VERSION, "status": "$status"}, "count": {"$sum": 1}}}]


class MongoCounts:
    """The verbs of `service.store.base.Executions` that count."""

    _db: MongoDatabase

    def count_open(self) -> dict[str, int]:
        rows = self._db.rows(ExecutionDocument)
        return {
            status: rows.count_documents({"status": status}) for status in ("running", "delayed")
        }

    def roll_up(self, day: date) -> None:
        since = datetime.combine(day, time(), UTC)
        ended = {"$match": {"endedAt": {"$gte": since, "$lt": since + timedelta(days=1)}}}
        rows = self._db.rows(DayCountDocument)
        stored = day.isoformat()
        counted: dict[str, dict[str, Any]] = {}
        for pipeline in (STATUSES, NODES):
            for group in self._db.rows(ExecutionDocument).aggregate([ended, *pipeline]):
                named = group["_id"]
                parts = (stored, *(str(named.get(n, "")) for n in NAMES))
                counted["|".join(parts)] = {"day": stored, **named, "count": group["count"]}
        # The same day counted again finds its own documents; what is not counted any more goes.
        if counted:
            self._db.bulk(
                rows, [ReplaceOne({"_id": id}, one, upsert=True) for id, one in counted.items()]
            )
        rows.delete_many({"day": stored, "_id": {"$nin": list(counted)}})
        self._db.count()

    def list_counts(
        self, *, flow_id: str | None = None, since: date, until: date
    ) -> list[DayCount]:
        query: dict[str, Any] = {"day": {"$gte": since.isoformat(), "$lt": until.isoformat()}}
        if flow_id is not None:
            query["flowId"] = flow_id
        found = self._db.rows(DayCountDocument).find(query)
        order = [(name, ASCENDING) for name in ("day", *NAMES)]
        return [_counts.read(document) for document in found.sort(order)]
