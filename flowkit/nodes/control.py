"""Nodes that bring branches together, and go round in loops. Imports `nodetype` and `fields`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from flowkit.expression import truthy
from flowkit.fields import field
from flowkit.nodetype import Context, Gather, Handle, Next, NodeType
from flowkit.problems import Problem
from flowkit.shape import AGAIN, DONE, LATE

_SECONDS = {"seconds": 1, "minutes": 60, "hours": 3_600, "days": 86_400, "weeks": 604_800}
MAX_TIMEOUT_SECONDS = 5 * 366 * 86_400
"""Five years: the longest that a JOIN waits."""


@dataclass(frozen=True, kw_only=True)
class Timeout:
    """For how long to wait; a day is 24 hours."""

    amount: float = field(help="How many units to wait.", gt=0)
    unit: Literal["seconds", "minutes", "hours", "days", "weeks"] = field(
        help="What the amount counts."
    )

    @property
    def seconds(self) -> float:
        """The time in seconds."""
        return self.amount * _SECONDS[self.unit]

    def check(self) -> Iterable[Problem]:
        """Hold the whole to five years."""
        if self.seconds > MAX_TIMEOUT_SECONDS:
            yield Problem("config.out_of_range", "/amount", "A time-out is at most 5 years.")


class Join(NodeType, type="JOIN", category="LOGIC", verb="join"):
    """Wait for the parallel branches of a fork, and go on as one.

    It waits for the branches that can still come: one that ends elsewhere is not waited for. The
    time-out counts from the first arrival.
    """

    mode: Literal["all", "any", "atLeast"] = field(
        "all", help="How many branches it waits for; of those that still can come."
    )
    number: int | None = field(
        help="How many branches must come.", ge=1, show_when={"mode": "atLeast"}
    )
    timeout: Timeout | None = field(
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
        return self.timeout.seconds if self.timeout else None

    def run(self, ctx: Context) -> Gather:
        """Arrive; the engine knows who else is to come."""
        return Gather()


class Repeat(NodeType, type="REPEAT", category="LOGIC", verb="repeat"):
    """Go round in a part of the flow, a number of times or until something holds.

    What follows ``again`` leads back here. ``while`` is looked at before each round, ``until``
    after each.
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
