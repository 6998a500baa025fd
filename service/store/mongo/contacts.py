"""Contacts in MongoDB. May import `flowkit`, pymongo and what is beside it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from pymongo import ASCENDING, UpdateOne
from pymongo.errors import BulkWriteError

from flowkit.contacts import Contact, cell_of, shown
from flowkit.errors import NotFound
from service.store.mongo.database import DUPLICATE, MongoDatabase
from service.store.mongo.documents import CellDocument, ContactDocument, Mapper

_contacts = Mapper(Contact, ContactDocument)


class MongoContacts:
    """The verbs of `service.store.base.Contacts`."""

    _db: MongoDatabase

    def save_contacts(self, contacts: Sequence[Contact]) -> None:
        updates = []
        for contact in contacts:
            document = _contacts.write(contact)
            first = {"createdAt": document.pop("createdAt")}
            # A newer one does not match; inserting then meets it, and leaves it alone.
            older = {"_id": document.pop("_id"), "updatedAt": {"$lt": contact.updated_at}}
            updates.append(UpdateOne(older, {"$set": document, "$setOnInsert": first}, upsert=True))
        try:
            if updates:
                self._db.bulk(self._db.rows(ContactDocument), updates)
        except BulkWriteError as error:
            if any(one["code"] != DUPLICATE for one in error.details["writeErrors"]):
                raise

    def get_contact(self, contact_id: str) -> Contact:
        document = self._db.rows(ContactDocument).find_one({"_id": contact_id})
        if document is None:
            raise NotFound(f"there is no contact {contact_id}")
        (contact,) = self._shown([_contacts.read(document)])
        return contact

    def list_contacts(self, *, after: str | None = None, limit: int) -> list[Contact]:
        query: dict[str, Any] = {"_id": {"$gt": after}} if after is not None else {}
        found = self._db.rows(ContactDocument).find(query).sort("_id", ASCENDING).limit(limit)
        return self._shown([_contacts.read(document) for document in found])

    def _shown(self, told: list[Contact]) -> list[Contact]:
        """Return contacts with what flows have changed of them."""
        cells = {"_id": {"$in": [cell_of(contact.id) for contact in told]}}
        found = self._db.rows(CellDocument).find(cells, {"state": 1})
        changes = {cell["_id"]: json.loads(cell["state"]) for cell in found}
        return [shown(contact, changes.get(cell_of(contact.id))) for contact in told]
