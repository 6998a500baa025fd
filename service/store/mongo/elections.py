"""Who has which duty, in MongoDB. May import `flowkit`, pymongo and what is beside it."""

from __future__ import annotations

from datetime import datetime, timedelta

from pymongo.errors import DuplicateKeyError

from service.store.mongo.database import MongoDatabase


class MongoElections:
    """The verbs of `service.store.base.Elections`."""

    _db: MongoDatabase

    def elect(self, duty: str, owner: str, *, now: datetime, lease_ms: int) -> bool:
        lease = timedelta(milliseconds=lease_ms)
        free = [{"owner": owner}, {"until": {"$lte": now}}, {"until": {"$gt": now + 2 * lease}}]
        try:
            # Where somebody else has it, nothing matches, and inserting meets his document.
            self._db.database["duties"].update_one(
                {"_id": duty, "$or": free},
                {"$set": {"owner": owner, "until": now + lease}},
                upsert=True,
            )
        except DuplicateKeyError:
            return False
        self._db.count()
        return True

    def resign(self, duty: str, owner: str) -> None:
        self._db.database["duties"].delete_one({"_id": duty, "owner": owner})
