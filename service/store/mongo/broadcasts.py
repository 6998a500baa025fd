"""Broadcasts and their recipients in MongoDB.

May import `flowkit`, pymongo and what is beside it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pymongo import ASCENDING
from pymongo.errors import DuplicateKeyError

from flowkit.broadcast import Broadcast
from flowkit.errors import Conflict, NotFound
from flowkit.execution import PageKey
from flowkit.problems import Problem
from flowkit.wire import canonical
from service.store.mongo.database import MongoDatabase, Rows
from service.store.mongo.documents import BroadcastDocument, Mapper
from service.store.mongo.executions import NEWEST_FIRST, older

_problems = Mapper(Problem, BroadcastDocument._fields["problems"].field.document_type)
_broadcasts = Mapper(Broadcast, BroadcastDocument, problems=_problems)


class MongoBroadcasts:
    """The verbs of `service.store.base.Broadcasts`."""

    _db: MongoDatabase

    @property
    def _recipients(self) -> Rows:
        return self._db.database["recipients"]

    def insert_broadcast(self, broadcast: Broadcast) -> None:
        try:
            self._db.rows(BroadcastDocument).insert_one(_broadcasts.write(broadcast))
        except DuplicateKeyError as error:
            raise Conflict(f"there is a broadcast {broadcast.id} already") from error
        self._db.count()

    def replace_broadcast(self, broadcast: Broadcast) -> None:
        before = {"_id": broadcast.id, "revision": broadcast.revision - 1}
        replaced = self._db.rows(BroadcastDocument).replace_one(
            before, _broadcasts.write(broadcast)
        )
        if replaced.matched_count == 0:
            self.get_broadcast(broadcast.id)
            raise Conflict(f"broadcast {broadcast.id} has changed meanwhile")
        self._db.count()

    def get_broadcast(self, broadcast_id: str) -> Broadcast:
        document = self._db.rows(BroadcastDocument).find_one({"_id": broadcast_id})
        if document is None:
            raise NotFound(f"there is no broadcast {broadcast_id}")
        found: Broadcast = _broadcasts.read(document)
        return found

    def list_broadcasts(
        self, *, flow_id: str | None = None, after: PageKey | None = None, limit: int
    ) -> list[Broadcast]:
        query: dict[str, Any] = {} if flow_id is None else {"flowId": flow_id}
        if after is not None:
            query["$or"] = older(after)
        found = self._db.rows(BroadcastDocument).find(query).sort(NEWEST_FIRST).limit(limit)
        return [_broadcasts.read(document) for document in found]

    def due_broadcasts(self, *, now: datetime, limit: int) -> list[Broadcast]:
        due = self._db.rows(BroadcastDocument).find({"nextAt": {"$lte": now}})
        found = due.sort([("nextAt", ASCENDING), ("_id", ASCENDING)]).limit(limit)
        return [_broadcasts.read(document) for document in found]

    def put_recipients(self, broadcast_id: str, number: int, recipients: Sequence[object]) -> None:
        document = {"broadcastId": broadcast_id, "number": number}
        kept = {**document, "recipients": canonical(recipients)}
        named = {"_id": f"{broadcast_id}:{number}"}
        self._recipients.replace_one(named, kept, upsert=True)
        self._db.count()

    def get_recipients(self, broadcast_id: str, number: int) -> list[object]:
        document = self._recipients.find_one({"_id": f"{broadcast_id}:{number}"})
        if document is None:
            raise NotFound(f"there is no batch {number} of recipients of broadcast {broadcast_id}")
        found: list[object] = json.loads(document["recipients"])
        return found

    def delete_recipients(self, broadcast_id: str) -> None:
        # The ids that begin so: the character after the colon is a semicolon.
        self._recipients.delete_many(
            {"_id": {"$gt": f"{broadcast_id}:", "$lt": f"{broadcast_id};"}}
        )
        self._db.count()
