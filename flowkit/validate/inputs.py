"""What comes into a flow: the person it is about, and the events that it counts on (W18, W21).

Imports `subject`, `nodes`, `finding`, `problems`, and JMESPath to read mappings.
"""

from __future__ import annotations

from collections.abc import Iterator

import jmespath  # type: ignore[import-untyped]
from jmespath.exceptions import JMESPathError  # type: ignore[import-untyped]

from flowkit.contacts import IDENTITY
from flowkit.nodes.events import WaitForEvent
from flowkit.nodes.system import Trigger
from flowkit.problems import Problem, pointer
from flowkit.validate.finding import Finding
from flowkit.validate.subject import Subject

RECEIPT = Finding(
    "event.may_never_come",
    "What follows waits for a receipt (delivered, read, played) that may never come.",
    rules=("W18",),
)
PHONE_ONLY = Finding(
    "contact.phone_only",
    "The contact is known by a phone number alone, which changes and can be hidden.",
    rules=("W21",),
)

RECEIPTS = ("delivered", "read", "played")
"""Last parts of types of events that WhatsApp does not promise."""


def receipts(subject: Subject) -> Iterator[Problem]:
    """Warn where a receipt is the only thing that lets a contact go on."""
    if _is_receipt(subject.flow.trigger_type):
        yield RECEIPT.at(
            "/triggerType",
            f"The flow starts only when {subject.flow.trigger_type!r} comes, and WhatsApp skips "
            "receipts (who has switched them off is never 'read'). Start it by another event.",
        )
    for index, made in enumerate(subject.made):
        if isinstance(made, WaitForEvent) and made.never and _is_receipt(made.event):
            yield RECEIPT.at(
                pointer("nodes", index, "config", "never"),
                f"{subject.show(index)} waits for ever for {made.event!r}, which WhatsApp may "
                "skip. Give it a timeout, and say what follows then.",
            )


def _is_receipt(event: str) -> bool:
    parts = event.lower().split(".")
    return len(parts) > 1 and parts[-1] in RECEIPTS


def identity(subject: Subject) -> Iterator[Problem]:
    """Warn of a contact that is made of a phone number and nothing else that says who it is."""
    for index, made in enumerate(subject.made):
        keys = _keys(made.contact) if isinstance(made, Trigger) else frozenset()
        if "phone" in keys and not keys & IDENTITY:
            yield PHONE_ONLY.at(
                pointer("nodes", index, "config", "contact"),
                "The contact is known by its phone number alone: a new number is a new person, "
                "and WhatsApp lets people hide theirs. Map an id as well, such as "
                "id: to_string(customer.id).",
            )


def _keys(mapping: str) -> frozenset[str]:
    """Return the keys of the object that a mapping makes; none of one that takes an object."""
    try:
        parsed = jmespath.compile(mapping).parsed
    except JMESPathError:
        return frozenset()
    if parsed.get("type") != "multi_select_dict":
        return frozenset()
    return frozenset(child["value"] for child in parsed["children"])
