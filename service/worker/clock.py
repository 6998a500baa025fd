"""The store's clock, by which all workers of all machines judge due times and leases.

Owns how it is measured. May import `flowkit.clock` and `service.store.base`.
"""

from __future__ import annotations

import logging
import time
from datetime import datetime, timedelta

from flowkit.clock import Clock, SystemClock
from flowkit.wire import cut
from service.store.base import Store

log = logging.getLogger(__name__)

MEASURE_SECONDS = 60.0
"""How often the store is asked for its time; between two, this machine's oscillator counts."""


class StoreClock:
    """The clock of a store on another machine: measured, then carried on monotonically.

    So a jump of this machine's wall clock changes nothing that is recorded or judged.

    Parameters
    ----------
    store : Store
        One that has a clock of its own.
    wall : Clock, optional
        This machine's.
    """

    def __init__(self, store: Store, wall: Clock | None = None) -> None:
        self._store = store
        self._wall = wall or SystemClock()
        self._measured = self._measure()

    def now(self) -> datetime:
        """Return the present moment by the store's clock, cut to milliseconds."""
        moment, at = self._measured
        passed = time.monotonic() - at
        if passed > MEASURE_SECONDS:
            try:
                moment, at = self._measured = self._measure()
                passed = time.monotonic() - at
            except Exception as error:
                log.warning("the store's clock cannot be read (%s); going on by ours", error)
                self._measured = (moment + timedelta(seconds=passed), at + passed)
        return cut(moment + timedelta(seconds=passed))

    def off(self) -> float:
        """Return by how many seconds this machine's wall clock is ahead of the store's."""
        return (self._wall.now() - self.now()).total_seconds()

    def _measure(self) -> tuple[datetime, float]:
        offset = self._store.clock_offset() or timedelta(0)
        return self._wall.now() + offset, time.monotonic()


def clock_of(store: Store) -> SystemClock | StoreClock:
    """Return the clock by which a store's records are judged."""
    return SystemClock() if store.clock_offset() is None else StoreClock(store)
