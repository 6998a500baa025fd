"""`Contact`: a person, as triggers told of them last. Imports the standard library only."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


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
