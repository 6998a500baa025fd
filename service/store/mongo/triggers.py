"""Idempotency keys in MongoDB. May import `flowkit`, pymongo and what is beside it."""

from __future__ import annotations

from pymongo.errors import DuplicateKeyError

from service.store.base import TriggerKey
from service.store.mongo.database import MongoDatabase
from service.store.mongo.documents import Mapper, TriggerKeyDocument

_keys = Mapper(TriggerKey, TriggerKeyDocument)


class MongoTriggers:
    """The verbs of `service.store.base.Triggers`."""

    _db: MongoDatabase

    def pin(self, key: TriggerKey) -> TriggerKey:
        rows = self._db.rows(TriggerKeyDocument)
        try:
            rows.insert_one(_keys.write(key))
            self._db.count()
            return key
        except DuplicateKeyError:
            document = rows.find_one({"_id": key.id})
        if document is None:  # it expired between the two
            return self.pin(key)
        found: TriggerKey = _keys.read(document)
        versions = tuple((flow_id, version) for flow_id, version in found.versions)
        return found._replace(versions=versions)
