"""What a WhatsApp number lets through and when: throughput, pair rate, daily limit, quiet hours.

Owns the limits, as published in 2026. A message that has to wait goes out at the first moment at
which every limit allows it, first come first served; in production it is refused and tried again,
which takes longer. May import `problems`, `wire`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from flowkit.problems import Problem
from flowkit.wire import from_ms, to_ms

DAY_MS = 86_400_000


class Passage(NamedTuple):
    """When (ms) a message goes out, or is to come again."""

    at: int
    goes: bool


@dataclass(frozen=True, kw_only=True)
class Channel:
    """The limits of one business number.

    Parameters
    ----------
    per_second : float, optional
        Messages a second.
    pair_seconds : float, optional
        Seconds between two messages to the same contact, in the long run.
    pair_burst : int, optional
        How many may go to a contact at once, borrowed from the future.
    per_day : int, optional
        Contacts that may be written to in any 24 hours, as if none had written first; None is
        without limit. Levels are 250, 2,000, 10,000 and 100,000.
    quiet : (time, time), optional
        From when until when nothing goes out, by the contact's clock; may cross midnight.
    zone : str, optional
        The zone of contacts without ``timezone``.
    """

    per_second: float = 80
    pair_seconds: float = 6
    pair_burst: int = 45
    per_day: int | None = None
    quiet: tuple[time, time] | None = None
    zone: str = "UTC"

    def check(self) -> list[Problem]:
        """Return what is wrong with it."""
        found = []
        for name, least in (("per_second", 0.001), ("pair_seconds", 0), ("pair_burst", 1)):
            if not getattr(self, name) >= least:
                message = f"{name} is at least {least}."
                found.append(Problem("channel.limit", f"/channel/{name}", message))
        if self.per_day is not None and self.per_day < 1:
            message = "per_day is at least 1, or None for no limit."
            found.append(Problem("channel.limit", "/channel/per_day", message))
        try:
            ZoneInfo(self.zone)
        except (ValueError, OSError, LookupError):
            message = f"There is no time zone {self.zone!r}."
            found.append(Problem("channel.zone", "/channel/zone", message))
        if self.quiet is not None and self.quiet[0] == self.quiet[1]:
            message = "Quiet hours begin and end at different times."
            found.append(Problem("channel.quiet", "/channel/quiet", message))
        return found

    def gate(self) -> Gate:
        """Return a gate through which nothing has gone yet."""
        return Gate(self)


class Gate:
    """Lets messages through; asked in the order of time, and again when it said when."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._gap = 1000 / channel.per_second
        self._free = 0.0
        self._pairs: dict[str, float] = {}
        self._reached: list[int] = []
        self._reached_at: dict[str, int] = {}
        self._admitted: set[str] = set()

    def passes(self, key: str, contact_id: str, contact: Mapping[str, Any], now: int) -> Passage:
        """Return when the message of that key goes out, or when to ask again.

        Messages wait for the number's throughput in one queue, in which their places are kept;
        what waits for its contact's sake, or for the next day, comes to that queue later.
        """
        channel = self._channel
        for at in (self._awake(contact, now), self._paired(contact_id, now)):
            if at > now:
                return Passage(at, goes=False)
        at = self._within_day(key, contact_id, now)
        if at > now:
            return Passage(at, goes=False)
        slot = max(float(now), self._free)
        at = math.ceil(slot)
        awake = self._awake(contact, at)
        if awake > at:
            return Passage(awake, goes=False)
        self._free = slot + self._gap
        pair = channel.pair_seconds * 1000
        self._pairs[contact_id] = max(self._pairs.get(contact_id, 0.0), at) + pair
        self._reached_at[contact_id] = at
        return Passage(at, goes=True)

    def _paired(self, contact_id: str, now: int) -> int:
        """Return when the pair rate allows another message: its bucket leaks one by one."""
        channel = self._channel
        borrowed = channel.pair_seconds * 1000 * (channel.pair_burst - 1)
        return max(now, math.ceil(self._pairs.get(contact_id, 0.0) - borrowed))

    def _within_day(self, key: str, contact_id: str, now: int) -> int:
        """Return when the contact may be reached; its place among those of a day is kept."""
        limit = self._channel.per_day
        reached = self._reached_at.get(contact_id)
        if limit is None or (reached is not None and reached > now - DAY_MS):
            return now
        if key in self._admitted:
            return now
        at = now
        if len(self._reached) >= limit:
            at = max(now, self._reached[-limit] + DAY_MS)
        self._reached.append(at)
        self._admitted.add(key)
        return at

    def _awake(self, contact: Mapping[str, Any], at: int) -> int:
        """Return the first moment from `at` on that is not in the contact's quiet hours."""
        if self._channel.quiet is None:
            return at
        begins, ends = self._channel.quiet
        zone = ZoneInfo(contact.get("timezone") or self._channel.zone)
        here = from_ms(at).astimezone(zone)
        clock = here.time()
        if begins < ends:
            quiet, day = begins <= clock < ends, here.date()
        else:
            quiet = clock >= begins or clock < ends
            day = here.date() + timedelta(days=clock >= begins)
        if not quiet:
            return at
        return max(at, to_ms(datetime.combine(day, ends, zone)))
