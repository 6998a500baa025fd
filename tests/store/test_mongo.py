"""MongoDB under the store contract: over the wire, and on mongomock what it can judge.

Neither mongo-java-server nor mongomock sorts by the least value of an array, as MongoDB does; for
both that one thing is done in Python. mongomock is not atomic between threads, so the races are
not run on it, and its bulk writes do not work with PyMongo of today, so they are made one by one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mongomock
import pytest
from pymongo import ReplaceOne, UpdateMany, UpdateOne
from pymongo.errors import BulkWriteError, DuplicateKeyError

from flowkit.testing import StoreContract
from service.store.mongo import MongoStore
from service.store.mongo.database import MongoDatabase
from service.store.mongo.work import PLACES
from tests.examples import examples
from tests.store.keys import KeysContract


class Sorting(MongoStore):
    """The store, with the order that MongoDB gives; and of what is equal, the model's."""

    def _ordered(self, query: dict[str, Any], path: str, limit: int) -> list[dict[str, Any]]:
        def least(document: dict[str, Any]) -> Any:
            outer, _, inner = path.partition(".")
            values = [e[inner] for e in document[outer] if inner in e] if inner else document[outer]
            return (min(values) if inner else values), document["_id"]

        return sorted(self._executions.find(query, PLACES), key=least)[:limit]


class OneByOne(MongoDatabase):
    """The database, without bulk writes and without what mongomock does not know."""

    def _shard(self) -> None:
        pass

    def bulk(self, rows: Any, operations: Any) -> int:
        self.count()
        made = {
            UpdateOne: rows.update_one,
            UpdateMany: rows.update_many,
            ReplaceOne: rows.replace_one,
        }
        matched, wrong = 0, []
        for index, one in enumerate(operations):
            make = made[type(one)]
            try:
                matched += make(one._filter, one._doc, upsert=bool(one._upsert)).matched_count
            except DuplicateKeyError as error:
                wrong.append({"index": index, "code": error.code})
        if wrong:
            raise BulkWriteError({"writeErrors": wrong})
        return matched


class Mock(Sorting):
    """The store on mongomock."""

    database_type = OneByOne


FOR_EVER: dict[str, Any] = {"retention_days": None, "key_hours": 2**16}
"""The times of tests are long past, and mongomock does let documents expire."""


def mock(client: Any) -> MongoStore:
    """Return a client of the database that `client` holds."""
    return Mock("mongodb://mock/flowkit", client=client, **FOR_EVER)


class TestMongoServer(StoreContract, KeysContract):
    EXAMPLES = examples(3, 30)

    @pytest.fixture
    def make_store(self, mongodb_url: str) -> Callable[[], MongoStore]:
        self.url = mongodb_url
        return lambda: Sorting(mongodb_url, **FOR_EVER)

    def fresh(self) -> MongoStore:
        store = Sorting(self.url, **FOR_EVER)
        store._db.database["executions"].delete_many({})
        return store


class TestMongomock(StoreContract, KeysContract):
    EXAMPLES = examples(3, 30)

    @pytest.fixture
    def make_store(self) -> Callable[[], MongoStore]:
        client = mongomock.MongoClient(tz_aware=True)
        return lambda: mock(client)

    def fresh(self) -> MongoStore:
        return mock(mongomock.MongoClient(tz_aware=True))


# mongomock is not atomic between threads: what races has no meaning on it.
for name in dir(TestMongoServer):
    code = getattr(getattr(TestMongoServer, name), "__code__", None)
    if name.startswith("test_") and code is not None and "at_once" in code.co_names:
        setattr(TestMongomock, name, None)
