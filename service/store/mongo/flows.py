"""Flows and their versions in MongoDB. May import `flowkit`, pymongo and what is beside it.

A version is published in two writes: the flow with the snapshot as `pending` inside, which is the
one that counts, then the snapshot in its own collection. Whoever comes upon a `pending` snapshot
later finishes that.
"""

from __future__ import annotations

from typing import Any

from pymongo import ASCENDING, DESCENDING
from pymongo.errors import DuplicateKeyError

from flowkit.errors import Conflict, NotFound
from flowkit.execution import PageKey
from flowkit.flow import Flow, FlowVersion
from flowkit.wire import fields_of, iso, parse_iso
from service.store.base import StoredFlow
from service.store.mongo.database import MongoDatabase
from service.store.mongo.documents import (
    ExecutionDocument,
    FlowDocument,
    FlowVersionDocument,
    Mapper,
)
from service.store.mongo.executions import NEWEST_FIRST, older
from service.store.mongo.values import pack, unpack

WIRE = frozenset(wire for _, wire, _ in fields_of(Flow))
MOMENTS = ("createdAt", "updatedAt")
LIVE = ("running", "delayed")

_versions = Mapper(FlowVersion, FlowVersionDocument)


class MongoFlows:
    """The verbs of `service.store.base.Flows`."""

    _db: MongoDatabase

    def insert_flow(
        self,
        flow: Flow,
        *,
        publish: bool,
        author: str | None = None,
        message: str | None = None,
    ) -> None:
        if self._db.rows(FlowVersionDocument).find_one({"flowId": flow.id}, {"_id": 1}):
            raise Conflict(f"flow {flow.id} exists or existed; choose another id")
        document = _write(flow) | {"revision": 1}
        if publish:
            document["pending"] = _snapshot(flow, author, message)
        try:
            self._db.rows(FlowDocument).insert_one(document)
        except DuplicateKeyError as error:
            raise Conflict(f"flow {flow.id} exists already") from error
        self._db.count()
        self._finish(document)

    def replace_flow(
        self,
        flow: Flow,
        *,
        revision: int,
        publish: bool,
        author: str | None = None,
        message: str | None = None,
    ) -> None:
        rows = self._db.rows(FlowDocument)
        self._finish(rows.find_one({"_id": flow.id, "pending": {"$exists": True}}))
        document = _write(flow) | {"revision": revision + 1}
        if publish:
            if self._version(flow.id or "", flow.version) is not None:
                raise Conflict(f"version {flow.version} of flow {flow.id} is published already")
            document["pending"] = _snapshot(flow, author, message)
        # A snapshot that became pending meanwhile raised the revision.
        if rows.replace_one({"_id": flow.id, "revision": revision}, document).matched_count == 0:
            raise Conflict(f"flow {flow.id} was changed or deleted meanwhile; load it again")
        self._db.count()
        self._finish(document)

    def delete_flow(self, flow_id: str, *, revision: int | None = None) -> None:
        live = self._db.rows(ExecutionDocument).count_documents(
            {"flowId": flow_id, "status": {"$in": LIVE}}
        )
        if live:
            raise Conflict(
                f"flow {flow_id} has {live} executions under way; cancel them with "
                "?cancel=true or wait until they have ended"
            )
        rows = self._db.rows(FlowDocument)
        self._finish(rows.find_one({"_id": flow_id}))
        named = {"_id": flow_id} | ({} if revision is None else {"revision": revision})
        if rows.delete_one(named).deleted_count == 0:
            self.get_flow(flow_id)
            raise Conflict(f"flow {flow_id} was changed meanwhile; load it again")
        self._db.count()

    def get_flow(self, flow_id: str) -> StoredFlow:
        document = self._db.rows(FlowDocument).find_one({"_id": flow_id})
        if document is None:
            raise NotFound(f"there is no flow {flow_id}")
        return StoredFlow(_read(document), document["revision"])

    def get_version(self, flow_id: str, version: int) -> Flow:
        found = self._version(flow_id, version)
        if found is None:
            raise NotFound(f"there is no version {version} of flow {flow_id}")
        return _read(found["flow"])

    def list_versions(
        self, flow_id: str, *, before: int | None = None, limit: int
    ) -> list[FlowVersion]:
        self._finish(
            self._db.rows(FlowDocument).find_one({"_id": flow_id, "pending": {"$exists": True}})
        )
        query: dict[str, Any] = {"flowId": flow_id}
        if before is not None:
            query["version"] = {"$lt": before}
        found = (
            self._db.rows(FlowVersionDocument)
            .find(query, {"flow": 0})
            .sort("version", DESCENDING)
            .limit(limit)
        )
        return [_versions.read(document) for document in found]

    def list_flows(
        self,
        *,
        trigger_type: str | None = None,
        is_active: bool | None = None,
        after: PageKey | None = None,
        limit: int,
    ) -> list[Flow]:
        query: dict[str, Any] = {}
        if trigger_type is not None:
            query["triggerType"] = trigger_type
        if is_active is not None:
            query["isActive"] = is_active
        if after is not None:
            query["$or"] = older(after)
        found = self._db.rows(FlowDocument).find(query).sort(NEWEST_FIRST).limit(limit)
        return [_read(document) for document in found]

    def active_versions(self, trigger_type: str) -> list[tuple[str, int]]:
        found = (
            self._db.rows(FlowDocument)
            .find({"triggerType": trigger_type, "isActive": True}, {"version": 1})
            .sort([("createdAt", ASCENDING), ("_id", ASCENDING)])
        )
        return [(document["_id"], document["version"]) for document in found]

    def paused_flows(self) -> frozenset[str]:
        found = self._db.rows(FlowDocument).find({"isPaused": True}, {"_id": 1})
        return frozenset(document["_id"] for document in found)

    def _version(self, flow_id: str, version: int) -> dict[str, Any] | None:
        """Return the document of a version, wherever it is."""
        named = {"flowId": flow_id, "version": version}
        found = self._db.rows(FlowVersionDocument).find_one(named)
        if found is not None:
            return found
        flow = self._db.rows(FlowDocument).find_one({"_id": flow_id, "pending.version": version})
        if flow is not None:
            return dict(flow["pending"])
        # It may have been finished between the two looks.
        return self._db.rows(FlowVersionDocument).find_one(named)

    def _finish(self, flow: dict[str, Any] | None) -> None:
        """Put the pending snapshot of a flow's document where it belongs."""
        pending = (flow or {}).get("pending")
        if flow is None or pending is None:
            return
        named = {name: pending[name] for name in ("flowId", "version")}
        self._db.rows(FlowVersionDocument).update_one(named, {"$setOnInsert": pending}, upsert=True)
        self._db.rows(FlowDocument).update_one(
            {"_id": flow["_id"], "pending.version": pending["version"]}, {"$unset": {"pending": ""}}
        )
        self._db.count()


def _write(flow: Flow) -> dict[str, Any]:
    """Return a flow's document: the wire's, native, with keys that only editors know apart."""
    wire = flow.to_dict()
    document = {key: pack(value) for key, value in wire.items() if key in WIRE and key != "id"}
    for name in MOMENTS:
        if document.get(name) is not None:
            document[name] = parse_iso(document[name])
    view = {key: value for key, value in wire.items() if key not in WIRE}
    return {"_id": wire["id"], **document, "view": pack(view)}


def _read(document: dict[str, Any]) -> Flow:
    wire = {key: unpack(value) for key, value in document.items() if key in WIRE}
    for name in MOMENTS:
        if wire.get(name) is not None:
            wire[name] = iso(wire[name])
    return Flow.from_dict({"id": document["_id"], **wire, **unpack(document["view"])})


def _snapshot(flow: Flow, author: str | None, message: str | None) -> dict[str, Any]:
    version = FlowVersion(
        flow_id=flow.id or "",
        version=flow.version,
        author=author,
        message=message,
        created_at=flow.updated_at,  # type: ignore[arg-type]  # a stored flow has it
    )
    return {**_versions.write(version), "flow": _write(flow)}
