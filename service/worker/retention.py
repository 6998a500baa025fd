"""A chore of the sweep: counts the days that are over, then removes what has been kept long enough.

Owns how much at a time, and how often. May import `flowkit`, `service.counting`,
`service.settings` and `service.store.base`.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta

from service.counting import beginning, count_day, days_due, first_open_day
from service.settings import Settings
from service.store.base import Store

BATCH = 500
"""Records removed at once: a few hundredths of a second in which others wait to write."""
PAUSE = timedelta(minutes=1)
"""How long it rests when nothing was left."""
LOOK_BACK = 366
"""Days that are looked at when executions are kept for ever."""


class Retention:
    """Counts one day, or removes one batch, each time it is called.

    Parameters
    ----------
    store : Store
        Whose records they are.
    settings : Settings
        How long executions and idempotency keys are kept. Where an archive is set, executions
        are left to it.
    """

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._days = settings.retention_days
        self._expires = settings.expires_after_days
        self._keys = timedelta(hours=settings.idempotency_hours)
        self._counted: date | None = None
        self._next: datetime | None = None

    def __call__(self, now: datetime) -> bool:
        """Do what is due; return whether a day is left to be counted.

        What is left to be removed waits for the next sweep, so that removal never takes more
        than one batch in an interval from those who work.
        """
        if self._next is not None and self._next - PAUSE <= now < self._next:
            return False
        due = days_due(now, done=self._counted, days=self._days or LOOK_BACK)
        if due:
            count_day(self._store, due[0])
            self._counted = due[0]
            if due[1:]:
                return True
        removed = self._store.expire(
            executions=self._until(now), keys=now - self._keys, limit=BATCH
        )
        self._next = None if removed >= BATCH else now + PAUSE
        return False

    def _until(self, now: datetime) -> datetime | None:
        """Return before when an execution must have ended to be removed now."""
        if self._expires is None:
            return None
        return min(now - timedelta(days=self._expires), beginning(first_open_day(now)))
