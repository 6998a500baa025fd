"""Which days are counted, and when: so that counts outlive the executions that they are of.

Owns the rule. May import `flowkit` and `service.store.base`.

A day (UTC) is counted once, when it is over and before anything that ended on it is removed. An
execution that is retried later ends again on another day, and counts there too.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta

from service.store.base import Store

DAY = timedelta(days=1)
GRACE = timedelta(minutes=10)
"""How long after midnight a commit of the day before may still come in."""


def first_open_day(now: datetime) -> date:
    """Return the first day that is not over: all before it can be counted."""
    return (now.astimezone(UTC) - GRACE).date()


def beginning(day: date) -> datetime:
    """Return the moment at which a day begins."""
    return datetime.combine(day, time(), UTC)


def days_due(now: datetime, *, done: date | None, days: int) -> list[date]:
    """Return the days to look at, oldest first.

    Parameters
    ----------
    now : datetime
        The present moment.
    done : date, optional
        The last day that was looked at; None looks back `days` days.
    days : int
        The most days to look back.
    """
    end = first_open_day(now)
    first = end - days * DAY
    if done is not None:
        first = max(first, done + DAY)
    return [first + i * DAY for i in range((end - first).days)]


def count_day(store: Store, day: date) -> bool:
    """Count a day that is over, unless it has been; return whether it was counted now.

    What was counted once stays: some of it may have been removed since.
    """
    if store.list_counts(since=day, until=day + DAY):
        return False
    store.roll_up(day)
    return True
