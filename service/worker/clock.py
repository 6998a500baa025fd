"""The store's clock, by which all workers of all machines judge due times and leases.

Owns how it is measured, and what a worker notices of clocks that are wrong. May import
`flowkit.clock`, `flowkit.wire` and `service.store.base`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import datetime, timedelta

from flowkit.clock import Clock, SystemClock
from flowkit.wire import cut
from service.store.base import Store

log = logging.getLogger(__name__)

MEASURE_SECONDS = 60.0
"""How often the store is asked for its time; between two, this machine's oscillator counts."""
STEP_SECONDS = 5.0
"""From here on a change of wall clock against monotonic clock counts as a jump, and a machine
whose clock differs by as much from the store's as off."""


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


class ClockWatch:
    """Looks whether a clock jumps, and whether this machine's agrees with it.

    Parameters
    ----------
    clock : Clock
        The one that is watched, against the monotonic clock.
    off : callable, optional
        Returns by how many seconds this machine's wall clock differs from `clock`, where that is
        another machine's.
    """

    def __init__(self, clock: Clock, off: Callable[[], float] | None) -> None:
        self._clock = clock
        self._seconds_off = off
        self._offset = self._wall_offset()
        self.off = False
        """Whether this machine's clock was off when it was last looked at."""

    def _wall_offset(self) -> float:
        return self._clock.now().timestamp() - time.monotonic()

    def jumped(self) -> bool:
        """Look at the clocks; return whether the one that is watched has jumped since."""
        before, self._offset = self._offset, self._wall_offset()
        step = self._offset - before
        seconds = self._seconds_off() if self._seconds_off else 0.0
        off = abs(seconds) > STEP_SECONDS
        if off and not self.off:
            log.error(
                "this machine's clock is %+.1f s off the store's: nothing is claimed until it is "
                "set right",
                seconds,
            )
        elif self.off and not off:
            log.warning("this machine's clock agrees with the store's again")
        self.off = off
        if abs(step) <= STEP_SECONDS:
            return False
        log.warning("the clock jumped by %.1f s; renewing leases", step)
        return True
