"""Recipients of a broadcast as they are handed in: kept batch by batch, never all at once.

Owns what is kept and counted until all are there. May import `flowkit`, `service.store.base` and
`lines`.
"""

from __future__ import annotations

import logging
from typing import Any

from flowkit.broadcast import BATCH, PROBLEMS_KEPT, Broadcast, Tally, begin, cancel, received
from flowkit.clock import Clock
from flowkit.engine import contact_identity
from flowkit.errors import Invalid
from flowkit.problems import Problem, pointer
from service.api.lines import Line
from service.store.base import Store

log = logging.getLogger(__name__)

RENEWED_SECONDS = 30.0
"""How often the store is told that recipients still come in."""


class Intake:
    """Takes the recipients of a new broadcast.

    Parameters
    ----------
    store, clock : Store, Clock
        Where they are kept; what time it is.
    broadcast : Broadcast
        New, and ``accepting``; stored with the first recipients.
    limit : int
        Most recipients that there may be.
    """

    def __init__(self, store: Store, clock: Clock, broadcast: Broadcast, limit: int) -> None:
        self._store = store
        self._clock = clock
        self._broadcast = broadcast
        self._limit = limit
        self._stored = False
        self._batch: list[Any] = []
        self._batches = 0
        self._kept = 0
        self._refused = 0
        self._problems: list[Problem] = []

    def take(self, line: Line) -> None:
        """Take one recipient, or the reason why it is none.

        Raises
        ------
        Invalid
            When there are more than the limit.
        """
        if self._kept + self._refused == self._limit:
            message = f"There are more recipients than FLOWKIT_BROADCAST_LIMIT ({self._limit})."
            raise Invalid([Problem("broadcast.too_many", pointer(line.number), message)])
        problem = line.problem
        if problem is None and contact_identity(line.value) is None:
            message = "A line is one contact: an object with an `id`, a `user_id` or a `phone`."
            problem = Problem("broadcast.no_contact", pointer(line.number), message)
        if problem is not None:
            self._refused += 1
            if len(self._problems) < PROBLEMS_KEPT:
                self._problems.append(problem)
            return
        self._kept += 1
        self._batch.append(line.value)
        if len(self._batch) == BATCH:
            self._keep()

    def end(self, *, paused: bool) -> Broadcast:
        """Return the broadcast with all that was taken, running or paused.

        Raises
        ------
        Invalid
            When there is no recipient; nothing is stored.
        Conflict
            When it was cancelled meanwhile.
        """
        if not self._kept:
            message = "There is no recipient: send one contact a line."
            raise Invalid(self._problems or [Problem("broadcast.empty", "", message)])
        if self._batch:
            self._keep()
        self._replace(self._received())
        self._replace(begin(self._broadcast, now=self._clock.now(), paused=paused))
        return self._broadcast

    def abandon(self) -> None:
        """Cancel what has come in so far. Should that fail, the sweep does it after a time."""
        if not self._stored:
            return
        try:
            self._replace(cancel(self._broadcast, now=self._clock.now()))
        except Exception as error:
            log.warning("broadcast %s broke off (%s)", self._broadcast.id, error)

    def _keep(self) -> None:
        if not self._stored:
            self._broadcast = self._received()
            self._store.insert_broadcast(self._broadcast)
            self._stored = True
        self._store.put_recipients(self._broadcast.id, self._batches, self._batch)
        self._batches += 1
        self._batch = []
        silent = self._clock.now() - self._broadcast.updated_at
        if silent.total_seconds() >= RENEWED_SECONDS:
            self._replace(self._received())

    def _received(self) -> Broadcast:
        tally = Tally(created=self._kept, refused=self._refused, problems=self._problems)
        return received(self._broadcast, self._batches, tally, now=self._clock.now())

    def _replace(self, broadcast: Broadcast) -> None:
        self._store.replace_broadcast(broadcast)
        self._broadcast = broadcast
