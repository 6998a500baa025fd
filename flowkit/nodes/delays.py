"""Nodes that wait for time to pass. Imports `nodetype`, `duration`, `fields`, `problems`."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any, Literal

from flowkit.duration import MAX_SECONDS, SECONDS
from flowkit.errors import Invalid
from flowkit.fields import field
from flowkit.nodetype import Context, NodeType, Wait
from flowkit.problems import Problem


class Delay(NodeType, type="DELAY", category="TIME", verb="delay"):
    """Wait for a fixed time; a day is 24 hours.

    Examples
    --------
    >>> flow = (
    ...     fk.Flow("Tips", trigger="signed_up")
    ...     .delay(hours=36)
    ...     .send(template="tips", language="en_US")
    ...     .end()
    ... )
    """

    amount: float = field(help="How many units to wait.", gt=0)
    unit: Literal["seconds", "minutes", "hours", "days", "weeks"] = field(
        help="What the amount counts."
    )

    @classmethod
    def from_call(
        cls,
        *,
        seconds: float | None = None,
        minutes: float | None = None,
        hours: float | None = None,
        days: float | None = None,
        weeks: float | None = None,
    ) -> Delay:
        """Return the delay of exactly one unit: ``delay(days=2)``."""
        given = {
            "seconds": seconds,
            "minutes": minutes,
            "hours": hours,
            "days": days,
            "weeks": weeks,
        }
        chosen = [(unit, amount) for unit, amount in given.items() if amount is not None]
        if len(chosen) != 1:
            message = f"A delay takes exactly one of {', '.join(given)}, such as delay(hours=36)."
            raise Invalid([Problem("config.delay", "", message)])
        unit, amount = chosen[0]
        return cls(amount=amount, unit=unit)  # type: ignore[arg-type]

    def to_call(self) -> dict[str, Any]:
        """Return the amount under the name of its unit."""
        return {self.unit: self.amount}

    def check(self) -> Iterable[Problem]:
        """Hold the whole to five years."""
        if self.amount * SECONDS[self.unit] > MAX_SECONDS:
            yield Problem("config.out_of_range", "/amount", "A delay is at most 5 years.")

    def takes(self, handle: str | None) -> tuple[float, float]:
        """Return the delay."""
        seconds = self.amount * SECONDS[self.unit]
        return seconds, seconds

    def run(self, ctx: Context) -> Wait:
        """Wait, counted from the arrival."""
        return Wait(until=ctx.now + timedelta(seconds=self.amount * SECONDS[self.unit]))
