"""`Contact`: a person, as triggers told of them last. May import `execution`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from flowkit.execution import Execution


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    """A person whom flows write to.

    ``id`` is the ``contactId`` of executions; ``attributes`` is the object that a trigger's
    mapping found, such as ``{"phone": "+5511999990000", "country": "BR"}``.
    """

    id: str
    attributes: dict[str, Any] = field(default_factory=dict)
    created_at: datetime
    updated_at: datetime


def contacts_of(executions: Iterable[Execution]) -> list[Contact]:
    """Return the contacts for whom executions were started, each once, as the last one has it."""
    return list(
        {
            e.contact_id: Contact(
                id=e.contact_id,
                attributes=e.context["contact"],
                created_at=e.created_at,
                updated_at=e.created_at,
            )
            for e in executions
            if e.contact_id is not None
        }.values()
    )
