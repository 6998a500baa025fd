"""Lets the parked executions of flows that are no longer paused go on.

Owns the way out of a pause; the way in is the runner's. May import `service.store.base`.

A pause is lazy: pausing a flow writes one field of it, so that it costs nothing however many
executions wait in delays. A worker reads at each sweep interval which flows are paused. What it
claims of them it gives back parked, and what its effects come to it records without going on.
Parked branches cost nothing while the pause lasts, since nobody claims them.

Nothing can stay parked. A worker may act on an old idea of which flows are paused and park a
branch when its flow has long been resumed, or deleted. But parking and the mark by which
`held_flows` finds the execution are one atomic step, and this chore never ends: at every
interval it frees what is held and not paused *now*. What a late worker parks is freed by the
next sweep, and a worker is late by one interval at most, so a resumed flow goes on within two.
The other way round, freeing a flow that has just been paused again costs one claim and one
parking. Whichever worker has the sweep, two of them do no harm: both free the same.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from service.store.base import Store

EXECUTIONS_AT_ONCE = 500


class Holding:
    """The chore of the sweep that frees what is parked without reason.

    Parameters
    ----------
    store : Store
        Where the executions are.
    ring : callable
        Wakes a worker.
    """

    def __init__(self, store: Store, *, ring: Callable[[], None]) -> None:
        self._store = store
        self._ring = ring

    def __call__(self, now: datetime) -> bool:
        """Free a batch of each flow that is not paused; return whether there may be more."""
        held = self._store.held_flows()
        if not held:
            return False
        freed = [
            self._store.unhold(flow_id, now=now, limit=EXECUTIONS_AT_ONCE)
            for flow_id in sorted(held - self._store.paused_flows())
        ]
        if any(freed):
            self._ring()
        return EXECUTIONS_AT_ONCE in freed
