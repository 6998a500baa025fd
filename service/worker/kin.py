"""Executions that wait for others: the end of one is told to the other.

An execution that has ended and is marked as owing tells the one that waits for it, and cancels
those that it had started to wait for; then the mark is taken away. The runner does so at once; the
sweep finds by the mark what it leaves undone, because it died in between or the end was someone
else's doing. Doing it twice changes nothing. May import `flowkit`, `service.store.base`,
`service.faults` and `service.events`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import lru_cache

from flowkit.engine import Limits, Turn
from flowkit.errors import NotFound
from flowkit.execution import UNRESOLVED, Answer, Execution, PageKey, Patch
from flowkit.flow import Flow
from flowkit.kin import let_go, parent_of, told
from service import faults
from service.events import cancel, give
from service.store.base import Store

log = logging.getLogger(__name__)

PAGE = 100
BEGINNING = timedelta(seconds=60)
"""After this, nobody can still be starting what a worker that died was about to start."""


def concerns_others(turn: Turn, answer: Answer) -> bool:
    """Return whether executions that wait for one another may have to hear of a turn."""
    patch = turn.patch
    if not (patch.owes or turn.claim.head.owes):
        return False
    waited = any(settle.was == "waiting" for settle in patch.settle)
    return not answer.open or patch.ended_by is not None or waited


class Kin:
    """Settles what executions owe each other.

    Parameters
    ----------
    store : Store
        Where they are.
    ring : callable
        Wakes a worker.
    limits : Limits
        Of executions and results.
    """

    def __init__(self, store: Store, ring: Callable[[], None], limits: Limits) -> None:
        self._store = store
        self._ring = ring
        self._limits = limits
        self._version = lru_cache(maxsize=64)(store.get_version)
        self._after: PageKey | None = None

    def __call__(self, now: datetime) -> bool:
        """Settle a batch of those that have ended; return whether there may be more."""
        page = self._store.list_owing(after=self._after, limit=PAGE)
        for head in page:
            self.settle(head.id, now)
        if page:
            self._ring()
        more = len(page) == PAGE
        # One that cannot be settled now must not keep those behind it from being settled.
        self._after = PageKey(page[-1].ended_at or now, page[-1].id) if more else None
        return more

    def settle(self, execution_id: str, now: datetime) -> None:
        """Do what follows for others from what has become of an execution; never raises."""
        faults.hit("before_settle")
        try:
            self._settle(execution_id, now)
        except Exception as error:
            log.warning("others do not hear of execution %s yet: %s", execution_id, error)

    def _settle(self, execution_id: str, now: datetime) -> None:
        try:
            execution = self._store.get_execution(execution_id)
        except NotFound:
            return
        flow = self._version(execution.flow_id, execution.flow_version)
        done = self._let_go(flow, execution, now)
        if execution.ended_at is None or not execution.owes:
            return
        parent = parent_of(execution)
        if parent is not None:
            event = told(flow, execution, self._limits.result_bytes)
            give(self._store, self._version, parent, event, now=now, limits=self._limits)
        if done:
            # Changed meanwhile, it keeps the mark, and is looked at again.
            paid = Patch(execution_id, owes=False, revision=execution.revision, durable=True)
            self._store.commit([paid], now=now)

    def _let_go(self, flow: Flow, execution: Execution, now: datetime) -> bool:
        """Cancel what an execution no longer waits for; return whether there can be no more."""
        done = True
        for run, child in let_go(flow, execution):
            if cancel(self._store, child, now=now):
                self.settle(child, now)
            elif run.status in UNRESOLVED and now - run.start_time < BEGINNING:
                done = False
        return done
