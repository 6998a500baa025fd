"""Broadcasting: the chore that creates executions for recipients, batch by batch.

Owns which recipients come next and what is made of them; the pace and the statuses are rules of
`flowkit.broadcast`. May import `flowkit`, `service.store.base`, `service.broadcasts`,
`service.contacts`, `service.entries` and `service.faults`.

A batch is created before the broadcast says so. Whoever repeats it, after a crash or beside
another sweep, arrives at the same ids and makes nothing twice.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

from flowkit import broadcast as rules
from flowkit import engine
from flowkit.broadcast import BATCH, Broadcast, Tally
from flowkit.engine import Limits
from flowkit.errors import Invalid, NodeFailed, NotFound
from flowkit.execution import Execution, derived_id
from flowkit.flow import Flow
from flowkit.jsonlogic import evaluate, truthy
from flowkit.problems import Problem
from flowkit.scope import flow_facts
from flowkit.wire import iso
from service import faults
from service.broadcasts import change
from service.contacts import remember
from service.entries import create
from service.store.base import Store

log = logging.getLogger(__name__)

AT_ONCE = 10
"""Broadcasts that are served in one turn."""


class Recipient(NamedTuple):
    """A contact, and what tells it from the broadcast's others."""

    key: str
    contact: dict[str, Any]


class Broadcasting:
    """Serves each broadcast that is due with one batch; a chore of the sweep.

    Parameters
    ----------
    store : Store
        Holds broadcasts, recipients and executions.
    ring : callable
        Wakes a worker.
    limits : Limits, optional
        Bounds of executions, for the engine.
    """

    def __init__(
        self,
        store: Store,
        ring: Callable[[], None],
        limits: Limits = Limits(),  # noqa: B008 - frozen
    ) -> None:
        self._store = store
        self._ring = ring
        self._limits = limits
        self._version = lru_cache(maxsize=64)(store.get_version)

    def __call__(self, now: datetime) -> bool:
        """Do what is due at `now`; return whether more is due already."""
        more = False
        for broadcast in self._store.due_broadcasts(now=now, limit=AT_ONCE):
            try:
                after = self._serve(broadcast, now)
            except Exception:
                # One that fails must not keep the others waiting.
                log.exception("broadcast %s could not go on; it is tried again", broadcast.id)
            else:
                more = more or (after.next_at is not None and after.next_at <= now)
        return more

    def _serve(self, found: Broadcast, now: datetime) -> Broadcast:
        if found.status == "accepting":
            return self._settle(found, rules.cancel(found, now=now))
        if found.status != "running":
            self._store.delete_recipients(found.id)
            return self._settle(found, rules.cleared(found, now=now))
        problem = self._obstacle(found)
        if problem is not None:
            return self._settle(found, rules.stopped(found, problem, now=now))
        recipients, cursor = self._next(found)
        if not recipients:
            self._store.delete_recipients(found.id)
            return self._settle(found, rules.complete(found, now=now))
        flow = self._version(found.flow_id, found.flow_version)
        executions, tally = start_each(flow, found, recipients, now=now, limits=self._limits)
        if executions:
            refused = create(self._store, self._version, executions)
            faults.hit("after_batch")
            executions = [execution for execution in executions if execution.id not in refused]
            skipped = tally.skipped + len(refused)
            tally = tally._replace(created=len(executions), skipped=skipped)
            self._ring()
            if found.total is not None:
                remember(self._store, executions)
        # Paused or cancelled meanwhile, it has still created these.
        return change(
            self._store,
            found.id,
            lambda present: (
                rules.advanced(present, cursor, tally, now=now)
                if present.cursor == found.cursor
                else None
            ),
        )

    def _settle(self, found: Broadcast, changed: Broadcast) -> Broadcast:
        return change(
            self._store,
            found.id,
            lambda present: changed if present.revision == found.revision else None,
        )

    def _obstacle(self, broadcast: Broadcast) -> Problem | None:
        """Return why the flow must not be started now, if it must not."""
        try:
            active = self._store.get_flow(broadcast.flow_id).flow.is_active
        except NotFound:
            active = False
        if active:
            return None
        message = "The flow is no longer active; activate it, then resume the broadcast."
        return Problem("broadcast.flow_inactive", "", message)

    def _next(self, broadcast: Broadcast) -> tuple[list[Recipient], str]:
        """Return the recipients that are next, and the cursor behind them."""
        size = rules.batch_size(broadcast)
        if broadcast.total is None:
            contacts = self._store.list_contacts(after=broadcast.cursor, limit=size)
            return [Recipient(c.id, c.attributes) for c in contacts], (
                contacts[-1].id if contacts else ""
            )
        position = int(broadcast.cursor or 0)
        number, offset = divmod(position, BATCH)
        if number >= broadcast.batches:
            return [], ""
        batch: list[Any] = self._store.get_recipients(broadcast.id, number)
        lines = batch[offset : offset + size]
        if not lines and number + 1 < broadcast.batches:
            raise RuntimeError(f"batch {number} of broadcast {broadcast.id} is too short")
        recipients = [Recipient(str(i), line) for i, line in enumerate(lines, start=position)]
        return recipients, str(position + len(lines))


def start_each(
    flow: Flow,
    broadcast: Broadcast,
    recipients: Sequence[Recipient],
    *,
    now: datetime,
    limits: Limits,
) -> tuple[list[Execution], Tally]:
    """Return the executions of some recipients, and what became of each; pure."""
    executions: list[Execution] = []
    refused = skipped = 0
    problems: list[Problem] = []
    for key, contact in recipients:
        try:
            execution = None
            if broadcast.total is not None or _wanted(flow, broadcast, contact, now):
                execution = engine.start(
                    flow,
                    {"contact": contact, "broadcastId": broadcast.id},
                    execution_id=derived_id(broadcast.id, key),
                    now=now,
                    contact=contact,
                    limits=limits,
                )
        except Invalid as refusal:
            refused += 1
            problems += refusal.problems
        except NodeFailed as failure:
            refused += 1
            problems.append(Problem(failure.code, "/filter", failure.message))
        else:
            if execution is None:
                skipped += 1
            else:
                executions.append(execution)
    return executions, Tally(len(executions), refused, skipped, problems)


def _wanted(flow: Flow, broadcast: Broadcast, contact: dict[str, Any], now: datetime) -> bool:
    facts = {"contact": contact, "flow": flow_facts(flow), "now": iso(now)}
    return truthy(evaluate(broadcast.filter, facts))
