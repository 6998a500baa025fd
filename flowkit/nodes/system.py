"""Where a flow begins and ends, and what is only read. Imports `nodetype` and `fields`."""

from __future__ import annotations

from typing import Any

from flowkit.fields import field
from flowkit.nodetype import Arrive, Context, Next, NodeType


class Trigger(NodeType, type="TRIGGER", category="SYSTEM"):
    """Start the flow when a webhook of its trigger type arrives.

    Examples
    --------
    >>> flow = fk.Flow("Orders", trigger="order_paid", filter=fk.trigger.total > 50).end()
    """

    contact: str = field(
        "contact",
        help="Where the contact is in the payload, as JMESPath.",
        kind="jmespath",
    )
    filter: Any = field(
        None,
        help="Condition on the payload, as JSONLogic; the flow starts only when it holds.",
        kind="expression",
    )
    idempotency_key: str | None = field(
        None,
        help="Where the event's own id is in the payload, as JMESPath; an event that is "
        "delivered again starts the flow once.",
        kind="jmespath",
    )

    def run(self, ctx: Context) -> Next:
        """Go on; the contact and the filter were the engine's matter at the start."""
        return Next()


class End(NodeType, type="END", category="SYSTEM"):
    """End the branches that arrive.

    Examples
    --------
    >>> flow = (
    ...     fk.Flow("Two at once", trigger="signed_up")
    ...     .parallel(
    ...         lambda b: b.delay(hours=1),
    ...         lambda b: b.send(template="welcome", language="en_US"),
    ...     )
    ...     .end()
    ... )
    """

    handles = ()

    def run(self, ctx: Context) -> Arrive:
        """Arrive."""
        return Arrive()


class Note(NodeType, type="NOTE", category="SYSTEM", verb="note"):
    """Say something to whoever reads the flow; nothing leads to it and it does nothing.

    Examples
    --------
    >>> flow = fk.Flow("Draft", trigger="signed_up").note("Ask legal about the text.").end()
    """

    text: str = field(help="What to say.", max_length=10_000, widget="textarea")

    handles = ()
    executed = False

    @classmethod
    def from_call(cls, text: str) -> Note:
        """Return the note of a text."""
        return cls(text=text)
