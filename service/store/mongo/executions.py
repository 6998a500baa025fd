"""Executions in MongoDB, as they are created and read.

May import `flowkit`, pymongo and what is beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pymongo import DESCENDING
from pymongo.errors import BulkWriteError

from flowkit.errors import Conflict, NotFound
from flowkit.execution import Execution, ExecutionFilter, PageKey
from flowkit.options import Entry
from flowkit.wire import camel
from service.store.mongo.database import DUPLICATE, MongoDatabase
from service.store.mongo.documents import ExecutionDocument
from service.store.mongo.entries import enter
from service.store.mongo.known import BRANCHES, INBOX, LIVE, RUNS, executions, read_execution

PARTS = ("context", "branches", "executed_nodes")


class MongoExecutions:
    """The verbs of `service.store.base.Executions` that create and read."""

    _db: MongoDatabase

    def create(
        self,
        executions: Sequence[Execution],
        *,
        absent: bool = False,
        entry: Mapping[str, Entry] = {},
    ) -> list[str]:
        limited = [e for e in executions if e.contact_id is not None and e.flow_id in entry]
        ids = {e.id for e in limited}
        self._create([e for e in executions if e.id not in ids], absent=absent)
        return [
            e.id
            for e in limited
            if not enter(self._db, e, _new_document(e), entry[e.flow_id], absent=absent)
        ]

    def _create(self, new: Sequence[Execution], *, absent: bool) -> None:
        rows = self._db.rows(ExecutionDocument)
        documents = [_new_document(execution) for execution in new]
        ids = [document["_id"] for document in documents]
        if not absent and rows.find_one({"_id": {"$in": ids}}, {"_id": 1}) is not None:
            raise Conflict("an execution has one of these ids already")
        if not documents:
            return
        try:
            rows.insert_many(documents, ordered=False)
        except BulkWriteError as error:
            wrong = error.details["writeErrors"]
            if any(one["code"] != DUPLICATE for one in wrong):
                raise
            if not absent:  # somebody came between; what is ours of the others goes again
                taken = {one["index"] for one in wrong}
                ours = [id for index, id in enumerate(ids) if index not in taken]
                rows.delete_many({"_id": {"$in": ours}, "revision": 0})
                raise Conflict("an execution has one of these ids already") from error
        finally:
            self._db.count()

    def get_execution(self, execution_id: str) -> Execution:
        document = self._db.rows(ExecutionDocument).find_one({"_id": execution_id})
        if document is None:
            raise NotFound(f"there is no execution {execution_id}")
        return read_execution(document)

    def list_executions(
        self,
        where: ExecutionFilter,
        *,
        after: PageKey | None = None,
        limit: int,
        include: Iterable[str] = (),
    ) -> list[Execution]:
        query: dict[str, Any] = {
            name: value
            for name, value in (
                ("flowId", where.flow_id),
                ("status", where.status),
                ("contactId", where.contact_id),
            )
            if value is not None
        }
        if where.live:
            query["status"] = LIVE if where.status is None else LIVE | {"$eq": where.status}
        bounds = {"$gte": where.since, "$lt": where.until}
        created = {operator: moment for operator, moment in bounds.items() if moment is not None}
        if created:
            query["createdAt"] = created
        if after is not None:
            query["$or"] = older(after)
        hidden = {camel(part): 0 for part in (*PARTS, INBOX) if part not in set(include)}
        found = self._db.rows(ExecutionDocument).find(query, hidden).sort(NEWEST_FIRST).limit(limit)
        return [read_execution({BRANCHES: [], RUNS: [], **document}) for document in found]


NEWEST_FIRST = [("createdAt", DESCENDING), ("_id", DESCENDING)]


def older(after: PageKey) -> list[dict[str, Any]]:
    """Return the alternatives of which one holds of what comes behind a page."""
    return [
        {"createdAt": {"$lt": after.created_at}},
        {"createdAt": after.created_at, "_id": {"$lt": after.id}},
    ]


def _new_document(execution: Execution) -> dict[str, Any]:
    document = executions.write(execution)
    for element in document[BRANCHES]:
        element["readyAt"] = execution.created_at
    return document
