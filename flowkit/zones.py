"""Time zones and local times: which zone counts, and which moment a local time is.

A local time that a change of clocks leaves out is taken as much later as the clocks go forward; of
one that comes twice, the first is meant. Owns the chain by which a contact's zone is found. May
import `problems`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Any, Literal, NamedTuple
from zoneinfo import ZoneInfo

from flowkit.problems import Problem

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
DAY = 86_400.0
SHIFT = 7_200.0
"""Seconds by which a local day can be longer or shorter; clocks are put on or back by an hour."""

CONTACT_FIELDS = ("timeZone", "timezone", "time_zone")
"""Where a contact's zone is looked for."""
NAME_KEPT = 64
"""Characters that are kept of a zone's name that no zone has."""
_TIME = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]")


class Zone(NamedTuple):
    """A zone, and who named it: ``node``, ``contact``, ``flow`` or ``default``.

    `unknown` is a name that was passed over on the way, since no zone has it.
    """

    info: ZoneInfo
    source: str
    unknown: str | None = None

    def facts(self) -> dict[str, Any]:
        """Return what a run records of it, so that fall-backs can be counted."""
        facts = {"timeZone": self.info.key, "timeZoneFrom": self.source}
        return facts if self.unknown is None else facts | {"timeZoneUnknown": self.unknown}


@lru_cache(maxsize=1024)
def zone(name: str) -> ZoneInfo | None:
    """Return the zone of that name in the IANA database, or None."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return None


def zone_for(named: str | None, contact: Mapping[str, Any] | None, flow: str | None) -> Zone:
    """Return the zone that counts: the node's, else the contact's, else the flow's, else UTC.

    A name that no zone has is passed over, and the first such is told.
    """
    contact = contact or {}
    theirs = next((contact[name] for name in CONTACT_FIELDS if contact.get(name)), None)
    unknown = None
    for source, name in (("node", named), ("contact", theirs), ("flow", flow)):
        found = zone(name) if isinstance(name, str) else None
        if found is not None:
            return Zone(found, source, unknown)
        if name is not None and unknown is None:
            unknown = str(name)[:NAME_KEPT].encode(errors="replace").decode()
    return Zone(ZoneInfo("UTC"), "default", unknown)


def at(day: date, clock: time, within: ZoneInfo) -> datetime:
    """Return the moment of a local time, in UTC."""
    return datetime.combine(day, clock.replace(fold=0), within).astimezone(UTC)


def hours(
    now: datetime, starts: str, ends: str, days: Collection[str], within: ZoneInfo
) -> Iterator[tuple[datetime, datetime]]:
    """Yield when hours of the day begin and end: from the day before `now` on, for ten days.

    Those that end before they begin last past midnight; those that end when they begin, all day.
    `days` are the weekdays on which they begin.
    """
    first, last = read_time(starts), read_time(ends)
    today = now.astimezone(within).date()
    for number in range(-1, 9):
        day = today + timedelta(days=number)
        if WEEKDAYS[day.weekday()] in days:
            yield at(day, first, within), at(day + timedelta(days=last <= first), last, within)


def read_time(text: str) -> time:
    """Return the time of day of a text such as ``09:30``."""
    return time.fromisoformat(text)


def check_time(text: str, path: str) -> list[Problem]:
    """Return what is wrong with a time of day."""
    if _TIME.fullmatch(text):
        return []
    message = f"{text!r} is no time of day; write it as 09:30, from 00:00 to 23:59."
    return [Problem("config.time", path, message)]


def check_zone(text: str, path: str) -> list[Problem]:
    """Return what is wrong with the name of a time zone."""
    if zone(text) is not None:
        return []
    message = f"There is no time zone {text!r}; use a name such as America/Sao_Paulo."
    return [Problem("config.time_zone", path, message)]
