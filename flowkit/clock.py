"""Clocks for the drivers; everything below them is told the time.

Imports the standard library only.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Protocol

from flowkit.wire import cut


class Clock(Protocol):
    """Tells the time, cut to milliseconds, in UTC."""

    def now(self) -> datetime:
        """Return the present moment."""
        ...


class SystemClock:
    """The machine's wall clock."""

    def now(self) -> datetime:
        """Return the present moment."""
        return cut(datetime.now(UTC))


class ManualClock:
    """A clock that moves only when told to, also backwards.

    Parameters
    ----------
    start : datetime
        Aware moment at which it stands.
    """

    def __init__(self, start: datetime) -> None:
        self._now = cut(start)

    def now(self) -> datetime:
        """Return the moment at which the clock stands."""
        return self._now

    def advance(self, by: timedelta) -> datetime:
        """Move by `by` (negative: back) and return the new moment."""
        self._now = cut(self._now + by)
        return self._now
