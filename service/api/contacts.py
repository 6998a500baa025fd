"""Contacts: list, detail."""

from __future__ import annotations

import base64
from typing import Any

import marshmallow as ma

from flowkit.contacts import Contact
from service.api.body import Blueprint
from service.api.installation import installation
from service.api.paging import LimitQuery, page
from service.schemas import page_of, schema_for

ContactSchema = schema_for(Contact)

blp = Blueprint(
    "Contacts", __name__, url_prefix="/api/contacts", description="Whom flows started for."
)


class IdCursor(ma.fields.Field[str]):
    """A cursor that stands for the id behind which to go on."""

    def _deserialize(self, value: Any, attr: Any, data: Any, **options: Any) -> str:
        try:
            return base64.urlsafe_b64decode(value + "=" * (-len(value) % 4)).decode()
        except ValueError:
            message = "This is no cursor; take nextCursor from the page before, as it is."
            raise ma.ValidationError(message) from None


class ContactQuery(LimitQuery):
    """Which contacts a list holds."""

    cursor = IdCursor(metadata={"description": "`nextCursor` of the page before."})


@blp.route("")
@blp.arguments(ContactQuery, location="query")
@blp.response(200, page_of(ContactSchema))
def list_contacts(query: dict[str, Any]) -> dict[str, Any]:
    """List contacts, by id."""
    limit = query["limit"]
    found = installation().store.list_contacts(after=query.get("cursor"), limit=limit + 1)
    return page(found, limit, behind=_behind)


@blp.route("/<path:contact_id>")
@blp.response(200, ContactSchema)
@blp.alt_response(404, "NOT_FOUND")
def get_contact(contact_id: str) -> Contact:
    """Return one contact, as a trigger or a broadcast told of it last.

    Executions keep the contact as it was when they started.
    """
    return installation().store.get_contact(contact_id)


def _behind(contact: Contact) -> str:
    return base64.urlsafe_b64encode(contact.id.encode()).decode().rstrip("=")
