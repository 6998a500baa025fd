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

from flowkit.testing import StoreContract
from service.store.mongo import MongoStore
from service.store.mongo.database import MongoDatabase
from service.store.mongo.work import PLACES


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
        return sum(
            (rows.update_many if type(one).__name__ == "UpdateMany" else rows.update_one)(
                one._filter, one._doc
            ).matched_count
            for one in operations
        )


class Mock(Sorting):
    """The store on mongomock."""

    database_type = OneByOne


FOR_EVER: dict[str, Any] = {"retention_days": None, "key_hours": 2**16}
"""The times of tests are long past, and mongomock does let documents expire."""


def mock(client: Any) -> MongoStore:
    """Return a client of the database that `client` holds."""
    return Mock("mongodb://mock/flowkit", client=client, **FOR_EVER)


class TestMongoServer(StoreContract):
    EXAMPLES = 12

    @pytest.fixture
    def make_store(self, mongodb_url: str) -> Callable[[], MongoStore]:
        self.url = mongodb_url
        return lambda: Sorting(mongodb_url, **FOR_EVER)

    def fresh(self) -> MongoStore:
        store = Sorting(self.url, **FOR_EVER)
        store._db.database["executions"].delete_many({})
        return store


class TestMongomock(StoreContract):
    EXAMPLES = 12

    @pytest.fixture
    def make_store(self) -> Callable[[], MongoStore]:
        client = mongomock.MongoClient(tz_aware=True)
        return lambda: mock(client)

    test_of_two_changes_of_one_revision_one_wins = None
    test_a_branch_is_claimed_by_one = None
    test_of_two_owners_of_one_epoch_one_commits = None

    def fresh(self) -> MongoStore:
        return mock(mongomock.MongoClient(tz_aware=True))
