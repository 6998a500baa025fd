"""The collections: their fields, made of the records' dataclasses, and their indexes.

Owns how a record becomes a document and a document a record. Names are the wire's. Free-form data
(payloads, variables, results) is canonical JSON text, so that it comes back exactly; what is None
is absent, so that sparse indexes leave it out. mongoengine holds the declaration; the verbs work
on the collections themselves, since only there are guarded updates of array elements to be had.
May import `flowkit`, mongoengine and `service.store.base`.
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import Any, NamedTuple, TypeVar

from mongoengine import Document, EmbeddedDocument, fields
from mongoengine.base import BaseField

from flowkit.broadcast import Broadcast
from flowkit.contacts import Contact
from flowkit.execution import DayCount, Execution
from flowkit.flow import Flow, FlowVersion
from flowkit.wire import camel, canonical
from service.store.base import ApiKey, TriggerKey
from service.store.cells import Cell, CellAnswer

R = TypeVar("R")

TTL = "expires"
"""Name of the index by which a collection's documents expire; its time is a setting."""


class JsonText(fields.StringField):
    """JSON data, as canonical text."""


class Native(fields.DynamicField):
    """JSON data as BSON: see `service.store.mongo.values`."""


class ResumeData(fields.DynamicField):
    """Where a branch goes on: ``{nextNodeIds, branchId, context}``, the context as text."""


class LastEntry(NamedTuple):
    """A contact's last entry into a flow under a policy; it outlives the execution."""

    id: str
    execution_id: str
    at: datetime


class Day(fields.StringField):
    """A day, as ``2026-11-25``."""


def _fields(record: type, *, internal: bool = True) -> dict[str, Any]:
    """Return (python name: resolved type) of a record, whether dataclass or named tuple."""
    hints = typing.get_type_hints(record)
    if not dataclasses.is_dataclass(record):
        return hints
    return {
        f.name: hints[f.name]
        for f in dataclasses.fields(record)
        if internal or f.metadata.get("wire", True)
    }


def _kind(hint: Any, **options: Any) -> BaseField:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        (hint,) = (arg for arg in args if arg is not type(None))
        return _kind(hint, **options)
    if origin is typing.Literal:
        return fields.StringField(choices=args, **options)
    if origin in (list, tuple):
        if args[0] is str:
            return fields.ListField(fields.StringField(), **options)
        if dataclasses.is_dataclass(args[0]):
            return fields.EmbeddedDocumentListField(
                _embedded(typing.cast(type, args[0])), **options
            )
        return JsonText(**options)
    plain = {
        str: fields.StringField,
        int: fields.LongField,
        float: fields.FloatField,
        bool: fields.BooleanField,
        datetime: fields.DateTimeField,
        date: Day,
    }
    return plain.get(hint, JsonText)(**options)


STORES_OWN: dict[str, dict[str, type[BaseField]]] = {
    # `held` counts the parkings since branches were last made claimable; absent when none is.
    # `entry` names flow and contact while this is the contact's last entry under a policy.
    "Execution": {
        "held": fields.LongField,
        "commit": fields.StringField,
        "entry": fields.StringField,
    },
    # Who holds a branch until when, or since when it is ready for anybody; `claim` and `commit`
    # name the call that wrote the element last.
    "Branch": {
        "owner": fields.StringField,
        "ready_at": fields.DateTimeField,
        "lease_at": fields.DateTimeField,
        "claim": fields.StringField,
        "commit": fields.StringField,
    },
    "NodeRun": {"commit": fields.StringField},
    "Flow": {"view": Native, "revision": fields.LongField, "pending": Native},
    "Node": {"view": Native},
    "Edge": {"view": Native},
    "FlowVersion": {"flow": Native},
}
"""Fields that records do not have: what the store needs, and what a flow's editor adds."""

KEPT_AS = {
    ("Branch", "resume_data"): ResumeData,
    ("Flow", "settings"): Native,
    ("Node", "config"): Native,
    ("Node", "position"): Native,
}
"""Fields whose kind does not follow from their type."""

DOCUMENTS_ONLY = {"Flow", "Node", "Edge"}
"""Records that are documents already: what they have beside their wire fields is not kept."""


def _declared(record: type, key: str | None = None) -> dict[str, BaseField]:
    declared: dict[str, BaseField] = {}
    of = record.__name__
    for name, hint in _fields(record, internal=of not in DOCUMENTS_ONLY).items():
        options = (
            {"db_field": "_id", "primary_key": True} if name == key else {"db_field": camel(name)}
        )
        kind = KEPT_AS.get((of, name))
        declared[name] = kind(**options) if kind else _kind(hint, **options)
    for name, own in STORES_OWN.get(of, {}).items():
        declared[name] = own(db_field=camel(name))
    return declared


def _embedded(record: type) -> type[EmbeddedDocument]:
    return type(f"{record.__name__}Document", (EmbeddedDocument,), _declared(record))


def _document(
    record: type, collection: str, *indexes: Any, key: str | None = "id"
) -> type[Document]:
    meta = {
        "collection": collection,
        "indexes": list(indexes),
        "strict": False,  # a newer release may have added fields
        "auto_create_index": False,
    }
    declared = _declared(record, key)
    return type(f"{record.__name__}Document", (Document,), declared | {"meta": meta})


FlowDocument = _document(
    Flow,
    "flows",
    ("trigger_type", "is_active"),
    ("-created_at", "-id"),
    {"fields": ["is_paused"], "partialFilterExpression": {"isPaused": True}},
)
FlowVersionDocument = _document(
    FlowVersion, "flow_versions", {"fields": ["flow_id", "version"], "unique": True}, key=None
)
ExecutionDocument = _document(
    Execution,
    "executions",
    ("flow_id", "status", "-created_at"),
    ("status", "resume_at"),
    ("-created_at", "-id"),
    {"fields": ["contact_id", "-created_at"], "sparse": True},
    {"fields": ["contact_id", "status"], "sparse": True},
    {"fields": ["entry"], "sparse": True, "unique": True},
    # Elements have these only while they are ready, or held under a lease.
    {"fields": ["branches.ready_at"], "sparse": True},
    {"fields": ["branches.lease_at"], "sparse": True},
    {"fields": ["flow_id", "held"], "partialFilterExpression": {"held": {"$exists": True}}},
    {"fields": ["ended_at", "id"], "partialFilterExpression": {"owes": True}},
    {"fields": ["ended_at"], "name": TTL, "sparse": True},
)
ContactDocument = _document(Contact, "contacts")
TriggerKeyDocument = _document(TriggerKey, "trigger_keys", {"fields": ["created_at"], "name": TTL})
EntryDocument = _document(LastEntry, "entries")
BroadcastDocument = _document(
    Broadcast, "broadcasts", ("-created_at", "-id"), {"fields": ["next_at"], "sparse": True}
)
CellDocument = _document(Cell, "cells", {"fields": ["expires_at"], "name": TTL, "sparse": True})
CellAnswerDocument = _document(
    CellAnswer, "cell_answers", {"fields": ["created_at"], "name": TTL}, key="key"
)
ApiKeyDocument = _document(ApiKey, "api_keys", {"fields": ["digest"], "unique": True}, key="name")
DayCountDocument = _document(DayCount, "metrics", ("day", "flow_id"), key=None)

DOCUMENTS: tuple[type[Document], ...] = (
    FlowDocument,
    FlowVersionDocument,
    ExecutionDocument,
    ContactDocument,
    TriggerKeyDocument,
    EntryDocument,
    BroadcastDocument,
    CellDocument,
    CellAnswerDocument,
    ApiKeyDocument,
    DayCountDocument,
)


# ------------------------------------------------------------------ records to documents

Codec = tuple[str, str, Callable[[Any], Any] | None, Callable[[Any], Any] | None]
"""Python name, stored name, and the ways there and back; None where the value stays as it is."""


def _resume_there(data: dict[str, Any]) -> dict[str, Any]:
    return data | {"context": canonical(data.get("context"))}


def _resume_back(data: dict[str, Any]) -> dict[str, Any]:
    return data | {"context": json.loads(data["context"])}


WAYS: dict[type[BaseField], tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    JsonText: (canonical, json.loads),
    Day: (date.isoformat, date.fromisoformat),
    ResumeData: (_resume_there, _resume_back),
}


def _codecs(document: Any, names: Mapping[str, Any]) -> tuple[Codec, ...]:
    found: list[Codec] = []
    for name, kind in document._fields.items():
        if name in names:
            there, back = WAYS.get(type(kind), (None, None))
            if typing.get_origin(names[name]) is tuple and there is None:
                there, back = list, tuple
            found.append((name, kind.db_field, there, back))
    return tuple(found)


class Mapper:
    """Turns records of one type into documents and back.

    Parameters
    ----------
    record : type
        A dataclass or a named tuple.
    document : type
        The mongoengine document that was made of it.
    **parts : Mapper
        Of the fields that are lists of records.
    """

    def __init__(self, record: type, document: Any, **parts: Mapper) -> None:
        names = _fields(record)
        self._record = record
        self._parts = parts
        self._codecs = _codecs(document, names)
        self._tuples = {n for n, hint in names.items() if typing.get_origin(hint) is tuple}

    def write(self, record: Any) -> dict[str, Any]:
        """Return the document of a record; what is None or an empty tuple is absent."""
        made = {}
        for name, stored, there, _ in self._codecs:
            value = getattr(record, name)
            if value is None or value == ():
                continue
            part = self._parts.get(name)
            if part is not None:
                value = [part.write(item) for item in value]
            elif there is not None:
                value = there(value)
            made[stored] = value
        return made

    def read(self, document: Mapping[str, Any]) -> Any:
        """Return the record of a document; fields that are absent keep their defaults."""
        made: dict[str, Any] = {}
        for name, stored, _, back in self._codecs:
            value = document.get(stored)
            if value is None:
                if name in self._tuples:
                    made[name] = ()
                continue
            part = self._parts.get(name)
            if part is not None:
                value = [part.read(item) for item in value]
            elif back is not None:
                value = back(value)
            made[name] = tuple(value) if name in self._tuples else value
        return self._record(**made)

    def changes(self, was: Any, now: Any) -> tuple[dict[str, Any], list[str]]:
        """Return the stored fields that are set anew, and those that are to be absent."""
        new, gone = {}, []
        for name, stored, there, _ in self._codecs:
            value = getattr(now, name)
            if value == getattr(was, name):
                continue
            if value is None or value == ():
                gone.append(stored)
            else:
                new[stored] = there(value) if there is not None else value
        return new, gone
