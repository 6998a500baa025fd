"""`MongoStore`: the verbs of the contract, put together over one database."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import wraps
from typing import Any, TypeVar, cast

from pymongo.errors import ConnectionFailure

from flowkit.errors import StoreUnavailable
from service.store.mongo.broadcasts import MongoBroadcasts
from service.store.mongo.cells import MongoCells
from service.store.mongo.contacts import MongoContacts
from service.store.mongo.counts import MongoCounts
from service.store.mongo.database import MongoDatabase, short
from service.store.mongo.elections import MongoElections
from service.store.mongo.executions import MongoExecutions
from service.store.mongo.flows import MongoFlows
from service.store.mongo.keys import MongoKeys
from service.store.mongo.known import Memory
from service.store.mongo.retention import MongoRetention
from service.store.mongo.triggers import MongoTriggers
from service.store.mongo.work import MongoWork

V = TypeVar("V", bound=Callable[..., Any])


def _answered(verb: V) -> V:
    """Say it in the contract's words when no server answers."""

    @wraps(verb)
    def call(*args: Any, **options: Any) -> Any:
        try:
            return verb(*args, **options)
        except ConnectionFailure as error:
            raise StoreUnavailable(f"MongoDB does not answer: {short(error)}") from error

    return cast(V, call)


class MongoStore(
    MongoFlows,
    MongoExecutions,
    MongoRetention,
    MongoCounts,
    MongoWork,
    MongoContacts,
    MongoCells,
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

    def clock_offset(self) -> timedelta | None:
        return self._db.clock_offset()

    def ping(self) -> None:
        self._db.client.admin.command("ping")

    def close(self) -> None:
        self._db.close()


for _name in dir(MongoStore):
    _verb = getattr(MongoStore, _name)
    if callable(_verb) and not _name.startswith("_") and not isinstance(_verb, type):
        setattr(MongoStore, _name, _answered(_verb))
