"""The connection to MongoDB, and what is made there at the start.

Owns how sure a write is, where reads go, indexes, expiry, the sharding of executions and the
version of the schema. May import `flowkit`, pymongo and `service.store.mongo.documents`.

Every write is acknowledged by a majority and journaled, since executions are what a 2xx answer
rests on; retryable writes are on, as the driver has them. Reads go to the primary whatever the URL
says: a claim decided on old data would be refused anyway, and a list that lacks what was just
accepted would mislead. Everything else (hosts, TLS, pool, time-outs) is the URL's.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from mongoengine import Document
from pymongo import MongoClient, ReadPreference
from pymongo.collection import Collection
from pymongo.errors import (
    ConfigurationError,
    ConnectionFailure,
    InvalidURI,
    OperationFailure,
    PyMongoError,
)

from flowkit.errors import SettingsError, StoreTooNew, StoreUnavailable
from service.store.mongo.documents import (
    DOCUMENTS,
    TTL,
    CellAnswerDocument,
    CellDocument,
    ExecutionDocument,
    TriggerKeyDocument,
)

VERSION = 1
"""Of the schema: the shapes and indexes that this program knows."""
DEFAULT_NAME = "flowkit"
DUPLICATE = 11000
"""Code of the error that a unique key is taken."""
PATIENCE_MS = 5_000
"""How long a call looks for a server, unless the URL says otherwise."""

Rows = Collection[dict[str, Any]]


class MongoDatabase:
    """One client of one database.

    Parameters
    ----------
    url : str
        ``mongodb://`` or ``mongodb+srv://``; its path names the database, ``flowkit`` if none.
    retention_days : int or None
        How long executions stay after their end; None for ever.
    key_hours : int
        How long idempotency keys of triggers stay.
    client : MongoClient, optional
        In place of one for `url`, for tests.

    Raises
    ------
    SettingsError
        When the URL is malformed, or the server refuses it (credentials, rights).
    StoreUnavailable
        When no server answers.
    StoreTooNew
        When a newer version of this program has written there.
    """

    def __init__(
        self, url: str, *, retention_days: int | None, key_hours: int, client: Any = None
    ) -> None:
        self.writes = 0
        self._counting = threading.Lock()
        try:
            self.client: MongoClient[dict[str, Any]] = client or _connect(url)
            self.database = self.client.get_database(
                self.client.get_default_database(DEFAULT_NAME).name,
                read_preference=ReadPreference.PRIMARY,
            )
            self.client.admin.command("ping")
            self._prepare(retention_days, key_hours)
        except (InvalidURI, ConfigurationError, ValueError):  # which may quote the password
            self.close()
            raise SettingsError(
                "FLOWKIT_MONGODB_URL is malformed: write it as "
                "mongodb://user:password@host:27017/flowkit, with reserved characters escaped"
            ) from None
        except ConnectionFailure as error:
            self.close()
            raise StoreUnavailable(
                f"no MongoDB answers at FLOWKIT_MONGODB_URL: {short(error)}"
            ) from error
        except OperationFailure as error:
            self.close()
            raise SettingsError(
                f"MongoDB refuses what FLOWKIT_MONGODB_URL asks for: {short(error)}"
            ) from error
        except BaseException:
            self.close()
            raise

    def rows(self, document: type[Document]) -> Rows:
        """Return the collection of a declared document."""
        return self.database[document._meta["collection"]]

    def bulk(self, rows: Rows, operations: Sequence[Any]) -> int:
        """Make updates in one go, in any order; return how many documents matched."""
        matched = rows.bulk_write(operations, ordered=False).matched_count
        self.count()
        return matched

    def count(self) -> None:
        """Count a write."""
        with self._counting:
            self.writes += 1

    def clock_offset(self) -> timedelta:
        """Return by how much the server's clock is ahead, to half a round trip."""
        before = datetime.now(UTC)
        answer = self.client.admin.command("hello", codec_options=self.database.codec_options)
        said: datetime = answer["localTime"]
        after = datetime.now(UTC)
        return said - (before + (after - before) / 2)

    def close(self) -> None:
        """Close the connections."""
        client = getattr(self, "client", None)
        if client is not None:
            client.close()

    # -- what is made at the start

    def _prepare(self, retention_days: int | None, key_hours: int) -> None:
        self._check_version()
        for document in DOCUMENTS:
            for spec in _indexes(document):
                self._index(document, spec)
        # Two days at the least: a day is counted when it is over, also what ended first in it.
        self._expiry(ExecutionDocument, retention_days and max(retention_days, 2) * 86_400)
        for document in (TriggerKeyDocument, CellDocument, CellAnswerDocument):
            self._expiry(document, key_hours * 3_600)
        self._shard()

    def _check_version(self) -> None:
        schema = self.database["schema"]
        schema.update_one({"_id": "version"}, {"$setOnInsert": {"version": VERSION}}, upsert=True)
        found = schema.find_one({"_id": "version"}) or {}
        if found["version"] > VERSION:
            raise StoreTooNew(
                f"the database {self.database.name} has schema {found['version']}, written by a "
                f"newer flowkit; this one knows schema {VERSION}: upgrade flowkit or use another "
                "database"
            )

    def _index(self, document: type[Document], spec: Mapping[str, Any]) -> None:
        options = {name: value for name, value in spec.items() if name != "fields"}
        self.rows(document).create_index(spec["fields"], **options)

    def _expiry(self, document: type[Document], seconds: int | None) -> None:
        """Let documents expire so long after what the index is on, or never; changed in place."""
        rows = self.rows(document)
        (spec,) = (spec for spec in _indexes(document, expiry=True))
        found = rows.index_information().get(TTL)
        if found is not None and found.get("expireAfterSeconds") == seconds:
            return
        if seconds is None:
            if found is not None:
                rows.drop_index(TTL)
        elif found is None:
            self._index(document, {**spec, "expireAfterSeconds": seconds})
        else:
            change = {"name": TTL, "expireAfterSeconds": seconds}
            self.database.command("collMod", rows.name, index=change)

    def _shard(self) -> None:
        """Spread executions by their hashed ids, where the deployment is sharded."""
        if self.client.admin.command("hello").get("msg") != "isdbgrid":
            return
        rows = self.rows(ExecutionDocument)
        rows.create_index([("_id", "hashed")])
        # Repeated, it changes nothing.
        self.client.admin.command(
            "shardCollection", f"{self.database.name}.{rows.name}", key={"_id": "hashed"}
        )


def _connect(url: str) -> MongoClient[dict[str, Any]]:
    defaults: dict[str, Any] = {}
    if "serverselectiontimeoutms" not in url.lower():
        defaults["serverSelectionTimeoutMS"] = PATIENCE_MS
    client: MongoClient[dict[str, Any]] = MongoClient(
        url,
        w="majority",
        journal=True,
        tz_aware=True,
        tzinfo=UTC,
        appname="flowkit",
        **defaults,
    )
    return client


def _indexes(document: type[Document], *, expiry: bool = False) -> list[dict[str, Any]]:
    """Return the declared indexes: those that `_expiry` makes, or the others."""
    found = [dict(spec) for spec in document._meta["index_specs"]]
    return [spec for spec in found if (spec.get("name") == TTL) == expiry]


def short(error: PyMongoError) -> str:
    """Return the first clause of a driver's message, which goes on for pages."""
    return str(error).split(", Timeout:")[0].splitlines()[0][:300]
