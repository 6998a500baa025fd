"""Outcomes without an answer, and those that came too late to lead on.

The latter are offered to the store as evidence of what happened.

May import `flowkit` and `service.store.base`.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

from flowkit import engine
from flowkit.clock import Clock
from flowkit.engine import Ended, Limits
from flowkit.execution import OUTCOME_UNKNOWN
from flowkit.nodetype import Outcome
from service.store.base import Store

log = logging.getLogger(__name__)

REST_SECONDS = 1.0
"""For how long a store that does not take one is left alone."""
TRIES = 5

NOT_PERFORMED = Outcome(
    "failed",
    error={
        "code": "lease_lost",
        "message": "the worker slept past its lease and did not perform the effect; retry it",
        "transient": True,
    },
)
PERFORMANCE_BROKE = Outcome(
    "unknown",
    error={
        "code": OUTCOME_UNKNOWN,
        "message": "the channel broke off; the worker's log says why",
        "transient": False,
    },
)


@dataclass(frozen=True, slots=True)
class Late:
    """An outcome that came when its branch was no longer the runner's."""

    execution_id: str
    key: str
    attempt: int
    event: Ended


class Evidence:
    """Keeps late outcomes until the store has taken them, or knows better."""

    def __init__(self, store: Store, clock: Clock, limits: Limits) -> None:
        self._store = store
        self._clock = clock
        self._limits = limits
        self._late: list[Late] = []
        self._rests_until = 0.0

    def __bool__(self) -> bool:
        return bool(self._late)

    def add(self, late: Late) -> None:
        """Keep one."""
        self._late.append(late)

    def executions(self) -> set[str]:
        """Return the executions of which something is not recorded yet."""
        return {late.execution_id for late in self._late}

    def offer(self) -> None:
        """Offer all; those that the store does not take now are kept for the next time."""
        if not self._late or time.monotonic() < self._rests_until:
            return
        late, self._late = self._late, []
        for outcome in late:
            try:
                self._offer(outcome)
            except Exception:
                log.exception("the outcome under %s is not recorded; trying again", outcome.key)
                self._late.append(outcome)
                self._rests_until = time.monotonic() + REST_SECONDS

    def _offer(self, late: Late) -> None:
        for _ in range(TRIES):
            execution = self._store.get_execution(late.execution_id)
            run = next(r for r in execution.executed_nodes if r.idempotency_key == late.key)
            patch = engine.evidence(
                *(late.execution_id, run, late.attempt, late.event.outcome, late.event.at),
                self._limits,
            )
            if patch is None:
                return
            (answer,) = self._store.commit([patch], now=self._clock.now())
            if answer.outcome == "ok":
                return
