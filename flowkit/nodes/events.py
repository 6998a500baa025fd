"""Nodes about what happens to the contact. Imports `nodetype`, `duration`, `fields`, `problems`."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from flowkit.duration import SECONDS, Duration
from flowkit.errors import Invalid
from flowkit.fields import field
from flowkit.nodetype import Await, Context, Handle, Next, NodeType
from flowkit.problems import Problem
from flowkit.whatsapp import is_inbound

_RECEIVED = Handle("received", "Received")


class WaitForEvent(NodeType, type="WAIT_FOR_EVENT", category="TIME", verb="wait_for"):
    """Wait until an event comes for the contact, also one that has come since the start.

    Examples
    --------
    >>> flow = (
    ...     fk.Flow("If they write", trigger="order_delivered")
    ...     .wait_for(
    ...         "whatsapp.message",
    ...         hours=12,
    ...         received=lambda b: b.send(text="Thank you!"),
    ...     )
    ...     .end()
    ... )
    """

    handles = (_RECEIVED, Handle("timeout", "Timed out"))
    needs_contact = True

    event: str = field(
        help="Type of the event: the one under which it is sent to the service.",
        min_length=1,
        max_length=128,
    )
    match: Any = field(
        None,
        help="Condition on the event's payload (event) and the rest, as JSONLogic; others are "
        "let pass.",
        kind="expression",
    )
    timeout: Duration | None = field(None, help="How long to wait at most, from the arrival.")
    never: bool = field(
        False, help="Whether to wait for ever; to be said aloud in place of a timeout."
    )

    @classmethod
    def from_call(
        cls,
        event: str,
        *,
        match: Any = None,
        seconds: float | None = None,
        minutes: float | None = None,
        hours: float | None = None,
        days: float | None = None,
        weeks: float | None = None,
        never: bool = False,
    ) -> WaitForEvent:
        """Return the wait, with a time-out of exactly one unit: ``wait_for("paid", days=2)``."""
        given = dict(zip(SECONDS, (seconds, minutes, hours, days, weeks), strict=True))
        chosen = [(unit, amount) for unit, amount in given.items() if amount is not None]
        if len(chosen) > 1:
            message = f"A wait takes one of {', '.join(given)}, such as wait_for('paid', days=2)."
            raise Invalid([Problem("config.wait", "", message)])
        timeout = [Duration(amount=amount, unit=unit) for unit, amount in chosen]  # type: ignore[arg-type]
        return cls(event=event, match=match, timeout=timeout[0] if timeout else None, never=never)

    def check(self) -> Iterable[Problem]:
        """Require a time-out, or that there is none in so many words."""
        if (self.timeout is None) != self.never:
            message = (
                "A wait has a timeout, such as 2 days, or says never: true."
                if self.timeout is None
                else "A wait that never ends has no timeout; remove one of the two."
            )
            yield Problem("config.wait", "/timeout", message)

    def outputs(self) -> tuple[Handle, ...]:
        """Return the ways out: without a time-out only one."""
        return (_RECEIVED,) if self.never else self.handles

    def takes(self, handle: str | None) -> tuple[float, float]:
        """Return the time-out, and up to it for an event."""
        most = math.inf if self.timeout is None else self.timeout.delta.total_seconds()
        return (most if handle == "timeout" else 0.0), most

    def hears(self, handle: str | None) -> bool:
        """Return whether the event is a message of the contact."""
        return handle == "received" and is_inbound(self.event)

    def listens(self) -> tuple[str, ...]:
        """Return the event."""
        return (self.event,)

    def run(self, ctx: Context) -> Await:
        """Wait, counted from the arrival."""
        if self.timeout is None:
            return Await(self.event, None, self.match, handle="received")
        return Await(self.event, ctx.now + self.timeout.delta, self.match)


class Goal(NodeType, type="GOAL", category="LOGIC", verb="goal"):
    """Record a conversion, which may end the execution.

    Examples
    --------
    >>> flow = (
    ...     fk.Flow("Purchases", trigger="order_paid")
    ...     .goal("purchase", value=fk.trigger.total)
    ...     .end()
    ... )
    """

    name: str = field(help="What was reached, such as purchase.", min_length=1, max_length=128)
    value: Any = field(
        None, help="What it is worth, as JSONLogic, such as the order's total.", kind="expression"
    )
    end_execution: bool = field(
        False,
        help="Whether all other branches of the execution end here; this one goes on to its END.",
    )

    @classmethod
    def from_call(cls, name: str, *, value: Any = None, end_execution: bool = False) -> Goal:
        """Return the goal: ``goal("purchase", value=fk.trigger.total)``."""
        return cls(name=name, value=value, end_execution=end_execution)

    def run(self, ctx: Context) -> Next:
        """Record it."""
        result = {"goal": self.name, "value": ctx.evaluate(self.value)}
        return Next(result=result, ends=self.end_execution)
