"""Nodes that wait for a moment of the calendar, in the contact's time zone.

Which zone that is, and what becomes of local times that clocks skip or repeat, says `zones`; each
run records the zone and who named it. Imports `nodetype`, `fields`, `zones`, `errors`, `problems`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from datetime import date as Day
from typing import Any, Literal

from flowkit.duration import MAX_SECONDS
from flowkit.errors import NodeFailed
from flowkit.fields import field
from flowkit.nodetype import Context, Handle, Next, NodeType, Wait
from flowkit.problems import Problem
from flowkit.zones import DAY, SHIFT, WEEKDAYS, Weekday, Zone, at, hours, read_time, zone_for

MAX_DAYS = MAX_SECONDS // 86_400
PAST = "past"
"""The way out of contacts that came too late."""


@dataclass(frozen=True, kw_only=True)
class InZone:
    """What every node that reads a calendar has."""

    time_zone: str | None = field(
        None,
        help="The time zone; without one the contact's, else the flow's, else UTC.",
        kind="zone",
    )

    def zone(self, ctx: Context) -> Zone:
        """Return the zone that counts for the contact."""
        return zone_for(self.time_zone, ctx.contact, ctx.time_zone)


@dataclass(frozen=True, kw_only=True)
class Passing(InZone):
    """What a node has that waits for a moment which may be past."""

    past: Literal["continue", "exit"] = field(
        "continue",
        help="When the moment is past already: go on at once, or leave by the way out `past`.",
    )

    def outputs(self) -> tuple[Handle, ...]:
        """Return the way on, and `past` where it is wanted."""
        return _ways(self.past)


def _ways(past: str) -> tuple[Handle, ...]:
    return (Handle(), Handle(PAST, "Too late")) if past == "exit" else (Handle(),)


def _wait(ctx: Context, zone: Zone, moment: datetime, past: str = "continue") -> Next | Wait:
    """Wait for a moment, or do what is said for one that is past."""
    facts = zone.facts()
    if moment <= ctx.now:
        return Next(handle=PAST if past == "exit" else None, result=facts | {"past": True})
    if (moment - ctx.now).total_seconds() > MAX_SECONDS:
        raise NodeFailed("delay_too_long", f"{moment.isoformat()} is more than 5 years ahead.")
    return Wait(until=moment, result=facts)


class DelayDays(InZone, NodeType, type="DELAY_DAYS", category="TIME", verb="delay_days"):
    """Wait for calendar days, not for 24 hours each: until a time of day, some days later.

    Examples
    --------
    >>> flow = (
    ...     fk.Flow("Tips", trigger="signed_up")
    ...     .delay_days(2, at="09:30")
    ...     .send(template="tips", language="en_US")
    ...     .end()
    ... )
    """

    days: int = field(
        help="How many days later; 0 is today, or tomorrow once the time is past.",
        ge=0,
        le=MAX_DAYS,
    )
    at: str | None = field(
        None, help="Time of day, such as 09:30; without one that of the arrival.", kind="time"
    )

    @classmethod
    def from_call(cls, days: int, **config: Any) -> DelayDays:
        """Return the delay of so many days."""
        return cls(days=days, **config)

    def check(self) -> Iterable[Problem]:
        """Require something to wait for."""
        if not self.days and self.at is None:
            message = "0 days at the time of the arrival is no delay; say at which time of day."
            yield Problem("config.delay", "/days", message)

    def takes(self, handle: str | None) -> tuple[float, float]:
        """Return the days that are full for certain, and those that can be begun."""
        days = max(self.days, 1)
        least = self.days - (self.at is not None)
        return max(least * DAY - SHIFT, 0.0), (days + (self.at is not None)) * DAY + SHIFT

    def run(self, ctx: Context) -> Next | Wait:
        """Wait, counted from the local day of the arrival."""
        zone = self.zone(ctx)
        local = ctx.now.astimezone(zone.info)
        clock = local.time() if self.at is None else read_time(self.at)
        moment = at(local.date() + timedelta(days=self.days), clock, zone.info)
        if moment <= ctx.now:
            moment = at(local.date() + timedelta(days=self.days + 1), clock, zone.info)
        return _wait(ctx, zone, moment)


class DelayUntil(Passing, NodeType, type="DELAY_UNTIL", category="TIME", verb="delay_until"):
    """Wait until a date and time, the same for all or taken from the data.

    Examples
    --------
    >>> flow = (
    ...     fk.Flow("Event", trigger="ticket_sold")
    ...     .delay_until("{{ trigger.starts_at }}", offset_minutes=-120)
    ...     .send(template="event_soon", language="en_US")
    ...     .end()
    ... )
    """

    at: str = field(
        help="ISO 8601 date, or date and time, as Liquid; without an offset it is local time.",
        kind="template",
        min_length=1,
        max_length=1_000,
    )
    offset_minutes: int = field(
        0,
        help="Minutes after that moment; before it when negative.",
        ge=-MAX_DAYS * 1_440,
        le=MAX_DAYS * 1_440,
    )

    @classmethod
    def from_call(cls, at: str, **config: Any) -> DelayUntil:
        """Return the delay until a moment."""
        return cls(at=at, **config)

    def takes(self, handle: str | None) -> tuple[float, float]:
        """Return no more than the longest delay, for the moment is known only then."""
        return _till_moment(handle)

    def run(self, ctx: Context) -> Next | Wait:
        """Wait until the moment."""
        zone = self.zone(ctx)
        moment = _moment(ctx.render(self.at), zone)
        return _wait(ctx, zone, moment + timedelta(minutes=self.offset_minutes), self.past)


class DelayWeekday(InZone, NodeType, type="DELAY_WEEKDAY", category="TIME", verb="delay_weekday"):
    """Wait until the next of some weekdays at a time of day.

    Examples
    --------
    >>> flow = (
    ...     fk.Flow("Weekly news", trigger="signed_up")
    ...     .delay_weekday("tuesday", at="10:00")
    ...     .send(template="news", language="en_US")
    ...     .end()
    ... )
    """

    days: Sequence[Weekday] = field(help="The weekdays.", min_length=1, max_length=7)
    at: str = field(help="Time of day, such as 09:30.", kind="time")

    @classmethod
    def from_call(cls, days: Weekday | Sequence[Weekday], **config: Any) -> DelayWeekday:
        """Return the delay until one of the days: ``delay_weekday("monday", at="09:00")``."""
        return cls(days=[days] if isinstance(days, str) else days, **config)

    def takes(self, handle: str | None) -> tuple[float, float]:
        """Return the longest way from one of the days to the next."""
        return 0.0, _longest(self.days)

    def run(self, ctx: Context) -> Next | Wait:
        """Wait; where the time is past today, today's weekday is next week's."""
        zone = self.zone(ctx)
        today = ctx.now.astimezone(zone.info).date()
        days = (today + timedelta(days=n) for n in range(8))
        moments = (
            at(day, read_time(self.at), zone.info)
            for day in days
            if WEEKDAYS[day.weekday()] in self.days
        )
        return _wait(ctx, zone, next(moment for moment in moments if moment > ctx.now))


class DelayDate(InZone, NodeType, type="DELAY_DATE", category="TIME", verb="delay_date"):
    """Wait until a date of the contact or the payload, some days before or after it.

    Examples
    --------
    >>> flow = (
    ...     fk.Flow("Birthday", trigger="birthday_soon")
    ...     .delay_date("{{ contact.birthday }}", at="09:00", yearly=True, past="next")
    ...     .send(template="birthday", language="en_US")
    ...     .end()
    ... )
    """

    date: str = field(
        help="ISO 8601 date as Liquid, such as {{ contact.birthday }}.",
        kind="template",
        min_length=1,
        max_length=1_000,
    )
    offset_days: int = field(
        0, help="Days after the date; before it when negative.", ge=-3_650, le=3_650
    )
    at: str = field("09:00", help="Time of day.", kind="time")
    yearly: bool = field(
        False, help="Whether it comes again each year, 29 February on 28 in common years."
    )
    past: Literal["continue", "exit", "next"] = field(
        "exit",
        help="When the moment is past already: go on at once, leave by the way out `past`, or "
        "wait for next year's, which only a yearly date has.",
    )

    @classmethod
    def from_call(cls, date: str, **config: Any) -> DelayDate:
        """Return the delay until a date."""
        return cls(date=date, **config)

    def outputs(self) -> tuple[Handle, ...]:
        """Return the way on, and `past` where it is wanted."""
        return _ways(self.past)

    def check(self) -> Iterable[Problem]:
        """Allow next year's only where there is one."""
        if self.past == "next" and not self.yearly:
            message = "Only a yearly date comes again; choose continue or exit."
            yield Problem("config.past", "/past", message)

    def takes(self, handle: str | None) -> tuple[float, float]:
        """Return no more than the longest delay, for the date is known only then."""
        return _till_moment(handle)

    def run(self, ctx: Context) -> Next | Wait:
        """Wait until the day; of a yearly date until this year's."""
        zone = self.zone(ctx)
        # The day as it is written: a birthday is the same day in every zone.
        named = _read(ctx.render(self.date)).date()
        if not self.yearly:
            return _wait(ctx, zone, self._on(named, zone), self.past)
        year = ctx.now.astimezone(zone.info).year
        # The offset may carry a date of one year into another.
        moments = [self._on(_in_year(named, year + n), zone) for n in range(-11, 13)]
        this = next(m for m in moments if m.astimezone(zone.info).year >= year)
        if self.past == "next":
            this = next(m for m in moments if m > ctx.now)
        return _wait(ctx, zone, this, self.past)

    def _on(self, day: Day, zone: Zone) -> datetime:
        try:
            return at(day + timedelta(days=self.offset_days), read_time(self.at), zone.info)
        except OverflowError as error:
            raise NodeFailed("date_invalid", f"{day} and the offset are no date.") from error


class SendingWindow(
    InZone, NodeType, type="SENDING_WINDOW", category="TIME", verb="sending_window"
):
    """Let contacts pass only in a window of the day: hold the others until it opens, or sort them.

    Quiet hours are what is left of the day: quiet from 21:00 to 09:00 is a window from 09:00 to
    21:00. A window that closes before it opens lasts past midnight, into the day after.

    Examples
    --------
    >>> flow = (
    ...     fk.Flow("By day", trigger="parcel_arrived")
    ...     .sending_window("09:00", "20:00")
    ...     .send(template="parcel_arrived", language="en_US")
    ...     .end()
    ... )
    """

    opens: str = field(help="Time of day from which contacts pass, such as 09:00.", kind="time")
    closes: str = field(
        help="Time of day from which they do not; the same as `opens` is all day.", kind="time"
    )
    days: Sequence[Weekday] = field(
        WEEKDAYS, help="Weekdays on which the window opens.", min_length=1, max_length=7
    )
    mode: Literal["defer", "skip"] = field(
        "defer",
        help="Outside the window: wait until it opens, or leave by the way out `closed`.",
    )

    @classmethod
    def from_call(cls, opens: str, closes: str, **config: Any) -> SendingWindow:
        """Return the window between two times of day."""
        return cls(opens=opens, closes=closes, **config)

    def outputs(self) -> tuple[Handle, ...]:
        """Return the way on, or one for each case."""
        if self.mode == "defer":
            return (Handle(),)
        return (Handle("open", "In the window"), Handle("closed", "Outside"))

    def takes(self, handle: str | None) -> tuple[float, float]:
        """Return how long the window can be closed."""
        if self.mode == "skip":
            return 0.0, 0.0
        return 0.0, _longest(self.days)

    def run(self, ctx: Context) -> Next | Wait:
        """Pass, wait or leave; who wakes when it has closed again waits for the next."""
        zone = self.zone(ctx)
        for start, end in hours(ctx.now, self.opens, self.closes, self.days, zone.info):
            if start <= ctx.now < end:
                way = "open" if self.mode == "skip" else None
                return Next(handle=way, result=zone.facts() | {"open": True})
            if start > ctx.now:
                break
        if self.mode == "skip":
            return Next(handle="closed", result=zone.facts() | {"open": False})
        return Wait(until=start, result=zone.facts() | {"open": False}, again=True)


def _longest(days: Sequence[str]) -> float:
    """Return the seconds that can pass from a moment to the next of some weekdays, and its end."""
    places = sorted({WEEKDAYS.index(day) for day in days})
    gaps = [(b - a) % 7 or 7 for a, b in zip(places, [*places[1:], places[0]], strict=True)]
    return max(gaps) * DAY + SHIFT


def _till_moment(handle: str | None) -> tuple[float, float]:
    """Return the bounds of a wait for a moment out of the data."""
    return 0.0, 0.0 if handle == PAST else float(MAX_SECONDS)


def _moment(text: str, zone: Zone) -> datetime:
    """Return the moment of an ISO 8601 text; without an offset it is local time."""
    moment = _read(text)
    if moment.tzinfo is None:
        return at(moment.date(), moment.time(), zone.info)
    return moment.astimezone(UTC)


def _read(text: str) -> datetime:
    text = text.strip()
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        message = f"{text[:100]!r} is no date; write it as 2026-11-25 or 2026-11-25T09:30."
        raise NodeFailed("date_invalid", message) from error
    if not 10 < moment.year < 9_990:  # what another zone makes of it would be no date
        raise NodeFailed("date_invalid", f"{text[:100]!r} is out of reach.")
    return moment


def _in_year(day: Day, year: int) -> Day:
    try:
        return day.replace(year=year)
    except ValueError:
        return Day(year, 2, 28)
