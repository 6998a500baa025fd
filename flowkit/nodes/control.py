"""Nodes that bring branches together, and go round in loops.

Imports `nodetype`, `duration`, `fields`, `expression`, `shape`, `problems`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from flowkit.duration import Duration
from flowkit.expression import truthy
from flowkit.fields import field
from flowkit.nodetype import Context, Gather, Handle, Next, NodeType
from flowkit.problems import Problem
from flowkit.shape import AGAIN, DONE, LATE


class Join(NodeType, type="JOIN", category="LOGIC", verb="join"):
    """Wait for the parallel branches of a fork, and go on as one.

    It waits for the branches that can still come: one that ends elsewhere is not waited for. The
    time-out counts from the first arrival.

    Examples
    --------
    >>> flow = (
    ...     fk.Flow("After both", trigger="signed_up")
    ...     .parallel(lambda b: b.delay(hours=1), lambda b: b.update_contact(add_tags=["new"]))
    ...     .join()
    ...     .send(template="tips", language="en_US")
    ...     .end()
    ... )
    """

    mode: Literal["all", "any", "atLeast"] = field(
        "all", help="How many branches it waits for; of those that still can come."
    )
    number: int | None = field(
        help="How many branches must come.", ge=1, show_when={"mode": "atLeast"}
    )
    timeout: Duration | None = field(
        None, help="How long it waits from the first arrival; without, as long as it takes."
    )

    handles = (
        Handle(),
        Handle(LATE, "Time is up", required=False, keyword="on_timeout"),
    )

    def outputs(self) -> tuple[Handle, ...]:
        """One way on, and one for when the time is up, if it can be."""
        on, late = self.handles
        return (on,) if self.timeout is None else (on, Handle(late.id, late.label))

    @property
    def needed(self) -> int | None:
        """How many branches must come; None means all that can."""
        return 1 if self.mode == "any" else self.number

    @property
    def seconds(self) -> float | None:
        """How long it waits."""
        return self.timeout.delta.total_seconds() if self.timeout else None

    def takes(self, handle: str | None) -> tuple[float, float]:
        """Return the time-out, where it is what ends the wait; else the branches decide."""
        seconds = self.seconds or 0.0
        return (seconds, seconds) if handle == LATE else (0.0, 0.0)

    def run(self, ctx: Context) -> Gather:
        """Arrive; the engine knows who else is to come."""
        return Gather()


class Repeat(NodeType, type="REPEAT", category="LOGIC", verb="repeat"):
    """Go round in a part of the flow, a number of times or until something holds.

    What follows ``again`` leads back here. ``while`` is looked at before each round, ``until``
    after each.

    Examples
    --------
    >>> flow = (
    ...     fk.Flow("Up to three reminders", trigger="invoice_due")
    ...     .repeat(
    ...         maximum=3,
    ...         body=lambda b: b.send(template="invoice_due", language="en_US").delay(days=3),
    ...     )
    ...     .end()
    ... )
    """

    maximum: int = field(help="Rounds at most.", ge=1, le=100)
    while_: Any = field(
        None, help="Condition for each round, as JSONLogic; looked at before.", kind="expression"
    )
    until: Any = field(
        None, help="Condition to stop, as JSONLogic; looked at after a round.", kind="expression"
    )

    handles = (
        Handle(AGAIN, "Again", keyword="body", back=True),
        Handle(DONE, "Done", keyword="after"),
    )

    def check(self) -> Iterable[Problem]:
        """Take one of the two conditions."""
        if self.while_ is not None and self.until is not None:
            message = "A loop has a condition to go on (while) or one to stop (until), not both."
            yield Problem("config.repeat", "/until", message)

    def run(self, ctx: Context) -> Next:
        """Go on by ``again`` or ``done``."""
        again = ctx.round <= self.maximum
        if again and self.while_ is not None:
            again = truthy(ctx.evaluate(self.while_))
        if again and self.until is not None and ctx.round > 1:
            again = not truthy(ctx.evaluate(self.until))
        return Next(handle=AGAIN if again else DONE)
