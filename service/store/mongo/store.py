"""`MongoStore`: the verbs of the contract, put together over one database."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from service.store.mongo.broadcasts import MongoBroadcasts
from service.store.mongo.contacts import MongoContacts
from service.store.mongo.counts import MongoCounts
from service.store.mongo.database import MongoDatabase
from service.store.mongo.elections import MongoElections
from service.store.mongo.executions import MongoExecutions
from service.store.mongo.flows import MongoFlows
from service.store.mongo.keys import MongoKeys
from service.store.mongo.known import Memory
from service.store.mongo.retention import MongoRetention
from service.store.mongo.triggers import MongoTriggers
from service.store.mongo.work import MongoWork


class MongoStore(
    MongoFlows,
    MongoExecutions,
    MongoRetention,
    MongoCounts,
    MongoWork,
    MongoContacts,
    MongoTriggers,
    MongoBroadcasts,
    MongoKeys,
    MongoElections,
):
    """A `service.store.base.Store` on MongoDB; the parameters are `MongoDatabase`'s."""

    database_type: type[MongoDatabase] = MongoDatabase

    def __init__(
        self,
        url: str,
        *,
        retention_days: int | None = 90,
        key_hours: int = 24,
        client: Any = None,
    ) -> None:
        self._db = self.database_type(
            url, retention_days=retention_days, key_hours=key_hours, client=client
        )
        self._memory = Memory()

    @property
    def transactions(self) -> int:
        """How many writes this client has made, batches counting as one."""
        return self._db.writes

    def clock_offset(self) -> timedelta:
        return self._db.clock_offset()

    def ping(self) -> None:
        self._db.client.admin.command("ping")

    def close(self) -> None:
        self._db.close()
