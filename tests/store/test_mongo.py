"""MongoDB under the store contract: over the wire all of it, on mongomock what it can judge."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from flowkit.testing import StoreContract
from service.store.mongo import MongoStore


class TestMongoServer(StoreContract):
    @pytest.fixture
    def make_store(self, mongodb_url: str) -> Callable[[], MongoStore]:
        self.url = mongodb_url
        return lambda: MongoStore(mongodb_url)

    EXAMPLES = 12

    def fresh(self) -> MongoStore:
        store = MongoStore(self.url)
        for name in store._db.database.list_collection_names():
            if name != "schema":
                store._db.database[name].delete_many({})
        return store
