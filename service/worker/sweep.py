"""The sweep: the chores that one process does for all.

Owns who does them (elected by a lease in the store) and when; a chore owns what is done. May
import `flowkit` and `service.store.base`; never a concrete store, never Flask.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from datetime import datetime

from flowkit.clock import Clock
from service.store.base import Store

log = logging.getLogger(__name__)

Chore = Callable[[datetime], bool]
"""Does a bounded piece of work that is due at a moment; returns whether more is left.

It may run in two processes at once for a moment, when one overslept its lease: the store's
guards have to be enough.
"""

DUTY = "sweep"


class Sweep:
    """Does chores at every interval, while this process is the one elected.

    Parameters
    ----------
    store : Store
        Holds the lease.
    chores : sequence of Chore
        In the order in which they are done.
    clock : Clock
        The time that is passed to them.
    owner : str
        Unique name of this process.
    lease_seconds, interval_seconds : float
        For how long it is elected; how often it looks.
    """

    def __init__(
        self,
        store: Store,
        chores: Sequence[Chore],
        *,
        clock: Clock,
        owner: str,
        lease_seconds: float,
        interval_seconds: float,
    ) -> None:
        self._store = store
        self._chores = chores
        self._clock = clock
        self._owner = owner
        self._lease_ms = int(lease_seconds * 1000)
        self._interval = interval_seconds

    def run(self, stop: threading.Event) -> None:
        """Sweep until `stop` is set. Errors are logged and outlived."""
        more = False
        while not stop.wait(0 if more else self._interval):
            try:
                more = self.once()
            except Exception:
                log.exception("the sweep could not go on; trying again")
                more = False
        try:
            self._store.resign(DUTY, self._owner)
        except Exception as error:
            log.warning("the sweep's lease was not given up (%s); it runs out", error)

    def once(self) -> bool:
        """Do each chore once, if elected; return whether one of them has more to do."""
        now = self._clock.now()
        if not self._store.elect(DUTY, self._owner, now=now, lease_ms=self._lease_ms):
            return False
        more = False
        for chore in self._chores:
            try:
                more = chore(self._clock.now()) or more
            except Exception:
                # One that fails must not keep the others from being done.
                log.exception("a chore of the sweep failed; it is tried again")
        return more
