"""Keys of the API in MongoDB. May import `flowkit`, pymongo and what is beside it."""

from __future__ import annotations

from pymongo import ASCENDING
from pymongo.errors import DuplicateKeyError

from flowkit.errors import Conflict, NotFound
from service.store.base import ApiKey
from service.store.mongo.database import MongoDatabase
from service.store.mongo.documents import ApiKeyDocument, Mapper

_keys = Mapper(ApiKey, ApiKeyDocument)


class MongoKeys:
    """The verbs of `service.store.base.Keys`."""

    _db: MongoDatabase

    def insert_api_key(self, key: ApiKey) -> None:
        try:
            self._db.rows(ApiKeyDocument).insert_one(_keys.write(key))
        except DuplicateKeyError as error:
            raise Conflict(f"there is a key {key.name} already; delete it first") from error
        self._db.count()

    def list_api_keys(self) -> list[ApiKey]:
        return [_keys.read(d) for d in self._db.rows(ApiKeyDocument).find().sort("_id", ASCENDING)]

    def find_api_key(self, digest: str) -> ApiKey | None:
        document = self._db.rows(ApiKeyDocument).find_one({"digest": digest})
        return None if document is None else _keys.read(document)

    def delete_api_key(self, name: str) -> None:
        if self._db.rows(ApiKeyDocument).delete_one({"_id": name}).deleted_count == 0:
            raise NotFound(f"there is no key {name}")
        self._db.count()
