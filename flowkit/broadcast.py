"""`Broadcast`: one flow started for many contacts, at a pace.

Owns the record and its statuses. May import `wire`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from flowkit.wire import INTERNAL

BroadcastStatus = Literal["accepting", "running", "paused", "completed", "cancelled"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Broadcast:
    """One flow started for a list of contacts, or for all stored ones that a filter lets through.

    ``total`` counts the recipients handed in (None with a filter: nobody has counted them),
    ``created`` the executions, ``refused`` recipients for whom none could be started and
    ``skipped`` those that the filter or the flow's own filter left out. ``per_second`` is the
    pace in executions, None for no limit. ``cursor`` says where creation goes on: the number of
    the next batch, or the id of the last contact looked at. ``next_at`` is when.
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
    problems: list[dict[str, Any]] = field(default_factory=list)
    created_at: datetime
    updated_at: datetime
    ended_at: datetime | None = None
    next_at: datetime | None = field(default=None, metadata=INTERNAL)
    cursor: str | None = field(default=None, metadata=INTERNAL)
    batches: int = field(default=0, metadata=INTERNAL)
    revision: int = field(default=0, metadata=INTERNAL)
