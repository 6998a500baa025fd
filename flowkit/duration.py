"""`Duration`: a length of time as configs write it. Imports `fields` and `problems`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from flowkit.fields import field
from flowkit.problems import Problem

SECONDS = {"seconds": 1, "minutes": 60, "hours": 3_600, "days": 86_400, "weeks": 604_800}
MAX_SECONDS = 5 * 366 * 86_400
"""Five years, leap days allowed for: the longest time that a flow waits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Duration:
    """A length of time; a day is 24 hours."""

    amount: float = field(help="How many units.", gt=0)
    unit: Literal["seconds", "minutes", "hours", "days", "weeks"] = field(
        help="What the amount counts."
    )

    def check(self) -> Iterable[Problem]:
        """Hold the whole to five years."""
        if self.amount * SECONDS[self.unit] > MAX_SECONDS:
            yield Problem("config.out_of_range", "/amount", "This is at most 5 years.")

    @property
    def delta(self) -> timedelta:
        """The length."""
        return timedelta(seconds=self.amount * SECONDS[self.unit])
