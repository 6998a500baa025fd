"""Entries under a policy in MongoDB: of those who come at once, one holds the contact's place.

The place is a unique field of the execution's own document, so that whoever enters does so in the
one write that creates the execution, and a crash leaves nothing half done. It is given up by who
enters next. May import `flowkit`, pymongo and what is beside it.
"""

from __future__ import annotations

from typing import Any

from pymongo.errors import DuplicateKeyError

from flowkit.entry import Entered, may_enter
from flowkit.errors import Conflict
from flowkit.execution import TERMINAL, Execution
from flowkit.options import Entry
from flowkit.wire import canonical
from service.store.mongo.database import MongoDatabase
from service.store.mongo.documents import EntryDocument, ExecutionDocument

ROUNDS = 100
"""How often it is tried when others enter at the same time."""


def enter(
    db: MongoDatabase,
    execution: Execution,
    document: dict[str, Any],
    entry: Entry,
    *,
    absent: bool,
) -> bool:
    """Insert the document of an execution whose contact may enter; return whether it may."""
    rows = db.rows(ExecutionDocument)
    place = canonical([execution.flow_id, execution.contact_id])
    for _ in range(ROUNDS):
        if rows.find_one({"_id": execution.id}, {"_id": 1}) is not None:
            if absent:
                return True
            raise Conflict("an execution has one of these ids already")
        holder = rows.find_one({"entry": place}, {"createdAt": 1, "status": 1})
        if not may_enter(entry, execution, _last(db, place, holder)):
            return False
        if holder is not None:
            # Under a guard: it may have been retried, or given up its place, meanwhile.
            still = {"_id": holder["_id"], "entry": place, "status": holder["status"]}
            freed = rows.update_one(still, {"$unset": {"entry": ""}}).matched_count
            db.count()
            if not freed:
                continue
        try:
            rows.insert_one(document | {"entry": place})
        except DuplicateKeyError:
            continue
        finally:
            db.count()
        noted = {"executionId": execution.id, "at": execution.created_at}
        db.rows(EntryDocument).update_one({"_id": place}, {"$set": noted}, upsert=True)
        db.count()
        return True
    raise Conflict(f"contact {execution.contact_id} keeps entering flow {execution.flow_id}")


def _last(db: MongoDatabase, place: str, holder: dict[str, Any] | None) -> Entered | None:
    """Return the last entry: that of who holds the place, else the one that was noted."""
    if holder is not None:
        live = holder["status"] not in TERMINAL
        return Entered(holder["_id"], holder["createdAt"], live)
    noted = db.rows(EntryDocument).find_one({"_id": place})
    return Entered(noted["executionId"], noted["at"], live=False) if noted else None
