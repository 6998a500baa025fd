"""Nodes that change contacts. Imports `nodetype`, `fields`, `contacts`, `sharing`, `retry`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from flowkit.contacts import IDENTITY, MAX_TAGS
from flowkit.errors import NodeFailed
from flowkit.fields import field
from flowkit.nodetype import Context, Effect, NodeType
from flowkit.problems import Problem, pointer
from flowkit.retry import PATIENT
from flowkit.sharing import CONTACT_UPDATE
from flowkit.wire import canonical

MAX_NAMES = 50
MAX_BYTES = 8_192
"""Of the values that a node sets, so that they fit into a result."""
MAX_TAG = 64


class UpdateContact(NodeType, type="UPDATE_CONTACT", category="ACTION", verb="update_contact"):
    """Change what is known of the contact: attributes and tags, kept beyond this execution.

    The nodes behind it see the contact as it then is, and the node's result holds what was
    changed. It is done once, however often the node is tried.

    Examples
    --------
    >>> flow = (
    ...     fk.Flow("Customer", trigger="order_paid")
    ...     .update_contact(
    ...         set={"last_total": fk.trigger.total}, increment={"orders": 1}, add_tags=["customer"]
    ...     )
    ...     .end()
    ... )
    """

    set: Mapping[str, Any] | None = field(
        None,
        help="Attributes by name, and their new values as JSONLogic.",
        kind="expression",
        max_length=MAX_NAMES,
    )
    unset: Sequence[str] = field(
        (), help="Names of attributes that are removed.", max_length=MAX_NAMES
    )
    increment: Mapping[str, Any] | None = field(
        None,
        help="Attributes by name, and the number that is added to each, as JSONLogic.",
        kind="expression",
        max_length=MAX_NAMES,
    )
    add_tags: Sequence[str] = field(
        (), help="Tags that the contact gets, as Liquid.", kind="template", max_length=MAX_TAGS
    )
    remove_tags: Sequence[str] = field(
        (), help="Tags that the contact loses, as Liquid.", kind="template", max_length=MAX_TAGS
    )

    needs_contact = True
    changes_contact = True
    internal = CONTACT_UPDATE

    def check(self) -> Iterable[Problem]:
        """Refuse a change of nothing, of who the contact is, and two of one attribute."""
        named: dict[str, str] = dict.fromkeys(["tags"], "tags") if self._tags else {}
        for part, names in (
            ("set", self.set or ()),
            ("unset", self.unset),
            ("increment", self.increment or ()),
        ):
            for number, name in enumerate(names):
                path = pointer(part, number if part == "unset" else name)
                if name in IDENTITY:
                    message = f"{name} says who the contact is and cannot be changed."
                    yield Problem("contact.identity", path, message)
                elif name in named:
                    message = f"{name} is changed twice here, also by {named[name]}."
                    yield Problem("contact.conflict", path, message)
                named[name] = part
        if not named:
            message = "Say what changes, with set, unset, increment, addTags or removeTags."
            yield Problem("contact.nothing", "", message)

    @property
    def _tags(self) -> bool:
        return bool(self.add_tags or self.remove_tags)

    def takes(self, handle: str | None) -> tuple[float, float]:
        """Return what all attempts can take."""
        return 0.0, PATIENT.longest(10)

    def run(self, ctx: Context) -> Effect:
        """Work out the change; whoever drives the engine makes it."""
        if ctx.contact_id is None:
            raise NodeFailed("contact_missing", "There is no contact to change.")
        change = {
            "set": {name: ctx.evaluate(value) for name, value in (self.set or {}).items()},
            "unset": list(self.unset),
            "increment": {
                name: _number(name, ctx.evaluate(value))
                for name, value in (self.increment or {}).items()
            },
            "addTags": [_tag(ctx.render(tag)) for tag in self.add_tags],
            "removeTags": [_tag(ctx.render(tag)) for tag in self.remove_tags],
        }
        size = len(canonical(change).encode(errors="replace"))
        if size > MAX_BYTES:
            message = f"The change has {size} bytes; {MAX_BYTES} are the most."
            raise NodeFailed("contact_change_too_large", message)
        return Effect(
            kind=CONTACT_UPDATE,
            request=change | {"contactId": ctx.contact_id, "known": dict(ctx.contact or {})},
            timeout=10,
            on_unknown="resend",
            retry=PATIENT,
        )


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        message = f"What is to be added to {name} is {value!r:.50}, not a number."
        raise NodeFailed("contact_change_invalid", message)
    return value


def _tag(text: str) -> str:
    tag = text.strip()
    if not tag or len(tag) > MAX_TAG:
        message = f"A tag has 1 to {MAX_TAG} characters; one came out with {len(tag)}."
        raise NodeFailed("contact_change_invalid", message)
    return tag
