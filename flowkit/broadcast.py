"""`Broadcast`: one flow started for many contacts, at a pace.

Owns the record, its statuses and the rules by which it changes; knows no store and no clock.
May import `wire`, `errors`, `problems`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple

from flowkit.errors import Conflict
from flowkit.problems import Problem
from flowkit.wire import INTERNAL, cut

BroadcastStatus = Literal["accepting", "running", "paused", "completed", "cancelled"]

BATCH = 500
"""Recipients that are kept, and executions that are created, at once."""
PROBLEMS_KEPT = 20
ACCEPTING_SECONDS = 600
"""After so long without a recipient, one that is still being handed in has broken off."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Broadcast:
    """One flow started for a list of contacts, or for all stored ones that a filter lets through.

    ``total`` counts the recipients handed in (null with a filter: nobody has counted them),
    ``created`` the executions, ``refused`` recipients for whom none could be started and
    ``skipped`` those that the filter or the flow's own filter left out. ``problems`` says why,
    for the first 20. ``perSecond`` is the pace in executions, null for no limit; ``rate`` what
    was reached since ``startedAt``, pauses included.
    """

    id: str
    flow_id: str
    flow_version: int
    status: BroadcastStatus
    filter: Any = None
    per_second: float | None = None
    total: int | None = None
    created: int = 0
    refused: int = 0
    skipped: int = 0
    rate: float | None = None
    problems: list[Problem] = field(default_factory=list)
    created_at: datetime
    updated_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    next_at: datetime | None = field(default=None, metadata=INTERNAL)
    """When there is something to do for it: to create, or to clear away. None if never."""
    cursor: str | None = field(default=None, metadata=INTERNAL)
    """Where creation goes on: the position in the list, or the last contact looked at."""
    batches: int = field(default=0, metadata=INTERNAL)
    revision: int = field(default=0, metadata=INTERNAL)


class Tally(NamedTuple):
    """What became of some recipients."""

    created: int = 0
    refused: int = 0
    skipped: int = 0
    problems: Sequence[Problem] = ()


def received(broadcast: Broadcast, batches: int, tally: Tally, *, now: datetime) -> Broadcast:
    """Return the broadcast while recipients come in: so many batches are kept, so many refused.

    `tally` counts from the first recipient on, as ``created`` those that are kept.
    """
    return _changed(
        broadcast,
        now,
        batches=batches,
        total=tally.created + tally.refused,
        refused=tally.refused,
        problems=list(tally.problems),
        next_at=now + timedelta(seconds=ACCEPTING_SECONDS),
    )


def begin(broadcast: Broadcast, *, now: datetime, paused: bool = False) -> Broadcast:
    """Return the broadcast with all recipients handed in. Raises `Conflict`."""
    _require(broadcast, "accepting")
    if paused:
        return _changed(broadcast, now, status="paused", next_at=None)
    return _changed(broadcast, now, status="running", started_at=now, next_at=now)


def pause(broadcast: Broadcast, *, now: datetime) -> Broadcast:
    """Return the broadcast creating no further executions. Raises `Conflict`."""
    _require(broadcast, "running")
    return _changed(broadcast, now, status="paused", next_at=None)


def resume(broadcast: Broadcast, *, now: datetime) -> Broadcast:
    """Return the broadcast going on. Raises `Conflict`."""
    _require(broadcast, "paused")
    started = broadcast.started_at or now
    return _changed(broadcast, now, status="running", started_at=started, next_at=now)


def cancel(broadcast: Broadcast, *, now: datetime) -> Broadcast:
    """Return the broadcast ended, with its recipients to be cleared away. Raises `Conflict`."""
    _require(broadcast, "accepting", "running", "paused")
    return _changed(broadcast, now, status="cancelled", ended_at=now, next_at=now)


def repace(broadcast: Broadcast, per_second: float | None, *, now: datetime) -> Broadcast:
    """Return the broadcast at another pace. Raises `Conflict`.

    Not while recipients come in: whoever counts them is the only one to change it until then.
    """
    _require(broadcast, "running", "paused")
    due = now if broadcast.status == "running" else broadcast.next_at
    return _changed(broadcast, now, per_second=per_second, next_at=due)


def complete(broadcast: Broadcast, *, now: datetime) -> Broadcast:
    """Return the broadcast ended because no recipient is left."""
    return _changed(broadcast, now, status="completed", ended_at=now, next_at=None)


def cleared(broadcast: Broadcast, *, now: datetime) -> Broadcast:
    """Return the cancelled broadcast with nothing left to do for it."""
    return _changed(broadcast, now, next_at=None)


def stopped(broadcast: Broadcast, problem: Problem, *, now: datetime) -> Broadcast:
    """Return the broadcast paused because its flow cannot be started now, saying why."""
    told = [*(p for p in broadcast.problems if p.code != problem.code), problem]
    return replace(pause(broadcast, now=now), problems=told[-PROBLEMS_KEPT:])


def batch_size(broadcast: Broadcast) -> int:
    """Return how many recipients are taken at once: no more than the pace allows a second."""
    if broadcast.per_second is None:
        return BATCH
    return max(1, min(BATCH, int(broadcast.per_second)))


def advanced(broadcast: Broadcast, cursor: str, tally: Tally, *, now: datetime) -> Broadcast:
    """Return the broadcast after a batch was created.

    Executions are due one after the other at the pace. One that is late catches up, by no more
    than a batch: a pause of the workers must not end in a burst.
    """
    per_second, due = broadcast.per_second, now
    if per_second is not None:
        behind = timedelta(seconds=batch_size(broadcast) / per_second)
        due = max(broadcast.next_at or now, now - behind)
        due += timedelta(seconds=tally.created / per_second)
    number = broadcast.created + tally.created
    seconds = (now - (broadcast.started_at or now)).total_seconds()
    return _changed(
        broadcast,
        now,
        cursor=cursor,
        created=number,
        refused=broadcast.refused + tally.refused,
        skipped=broadcast.skipped + tally.skipped,
        rate=round(number / seconds, 3) if seconds > 0 else None,
        problems=[*broadcast.problems, *tally.problems][:PROBLEMS_KEPT],
        next_at=cut(due) if broadcast.status == "running" else broadcast.next_at,
    )


def _require(broadcast: Broadcast, *statuses: BroadcastStatus) -> None:
    if broadcast.status not in statuses:
        raise Conflict(f"broadcast {broadcast.id} is {broadcast.status}")


def _changed(broadcast: Broadcast, now: datetime, **changes: Any) -> Broadcast:
    return replace(broadcast, updated_at=now, revision=broadcast.revision + 1, **changes)
