"""`Contact`: a person, as triggers told of them last, and what flows have changed since.

The two are kept apart, and put together where a contact is shown: news of a trigger take the place
of what triggers told before and leave alone what flows changed.
May import `execution`, `wire`, `errors`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from flowkit.errors import NodeFailed
from flowkit.execution import Execution
from flowkit.wire import to_ms


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


Changes = dict[str, tuple[int, Any] | tuple[int]]
"""What flows have changed of a contact: by name when, in milliseconds, and the value if any.

JSON keeps the tuples as arrays. Names are never dropped, so that a later one is known as such.
"""

IDENTITY = frozenset({"id", "user_id"})
"""Attributes that say who a contact is, which no flow changes."""
MAX_TAGS = 200


def cell_of(contact_id: str) -> str:
    """Return the id of the cell that keeps what flows have changed of a contact."""
    return f"contact:{contact_id}"


def shown(told: Contact, changes: Mapping[str, Sequence[Any]] | None) -> Contact:
    """Return a contact as triggers told of it, with what flows have changed since.

    Of each attribute the later news counts: a trigger that names it again overrides a flow. Its
    ``updated_at`` stays when a trigger told of it last.
    """
    if not changes:
        return told
    attributes = dict(told.attributes)
    for name, (at, *value) in changes.items():
        if name in attributes and to_ms(told.updated_at) > at:
            continue
        attributes.pop(name, None)
        if value:
            attributes[name] = value[0]
    return replace(told, attributes=attributes)


def changed(
    told: Contact,
    changes: Mapping[str, Sequence[Any]] | None,
    change: Mapping[str, Any],
    at: datetime,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the changes of a contact with one more, and what the contact then has.

    Parameters
    ----------
    told : Contact
        As triggers told of it.
    changes : mapping or None
        What flows have changed so far.
    change : mapping
        ``{set: {name: value}, unset: [name], increment: {name: number}, addTags, removeTags}``;
        what is left out changes nothing. What is unset goes first, tags come last.
    at : datetime
        The moment of the change.

    Returns
    -------
    tuple
        The changes, and ``{contact: {name: value}, removed: [name]}`` of what was changed.

    Raises
    ------
    NodeFailed
        ``contact_change_invalid`` when a number is added to what is none, or tags to no list.
    """
    now = shown(told, changes).attributes
    values: dict[str, Any] = dict(change.get("set") or {})
    for name, amount in (change.get("increment") or {}).items():
        before = now.get(name, 0)
        if isinstance(before, bool) or not isinstance(before, (int, float)):
            message = f"The contact's {name} is {before!r:.50}, to which nothing can be added."
            raise NodeFailed("contact_change_invalid", message)
        if not math.isfinite(total := before + amount):
            message = f"The contact's {name} would be too large a number."
            raise NodeFailed("contact_change_invalid", message)
        values[name] = total
    add, remove = change.get("addTags") or [], change.get("removeTags") or []
    if add or remove:
        values["tags"] = _tagged(now.get("tags"), add, remove)
    removed = [name for name in change.get("unset") or () if name not in values]
    moment = to_ms(at)
    made: dict[str, Any] = dict(changes or {})
    made |= {name: [moment] for name in removed}
    made |= {name: [moment, value] for name, value in values.items()}
    return made, {"contact": values, "removed": removed}


def _tagged(tags: Any, add: Sequence[str], remove: Sequence[str]) -> list[str]:
    if tags is None:
        tags = []
    if not isinstance(tags, list):
        message = f"The contact's tags are {tags!r:.50}, not a list."
        raise NodeFailed("contact_change_invalid", message)
    found = [tag for tag in [*tags, *(tag for tag in add if tag not in tags)] if tag not in remove]
    if len(found) > MAX_TAGS:
        message = f"The contact would have {len(found)} tags; {MAX_TAGS} are the most."
        raise NodeFailed("contact_change_invalid", message)
    return found


def overlaid(contact: Mapping[str, Any] | None, result: Mapping[str, Any]) -> dict[str, Any]:
    """Return a contact with what `changed` said of it."""
    made: dict[str, Any] = dict(contact or {}) | result.get("contact", {})
    for name in result.get("removed", ()):
        made.pop(name, None)
    return made
