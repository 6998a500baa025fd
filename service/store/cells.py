"""The contract of shared state: cells, each changed by one caller at a time and once per key.

What a cell holds and how it changes is its caller's; a store only keeps it. May import what
`base` may.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, NamedTuple, Protocol

Change = Callable[[Any], tuple[Any, Any]]
"""Takes a cell's state, None at first; returns its next state and an answer, both JSON data."""


class Cell(NamedTuple):
    """A cell, where the store cannot change it and remember the answer in one step.

    `recent` holds the latest answers by key; those before are kept as `CellAnswer`.
    """

    id: str
    state: Any = None
    recent: Any = None
    revision: int = 0
    expires_at: datetime | None = None


class CellAnswer(NamedTuple):
    """What was answered under a key."""

    key: str
    created_at: datetime
    answer: Any = None


class Cells(Protocol):
    """Small pieces of state that executions share; called by the worker."""

    def change_cell(
        self,
        cell_id: str,
        key: str,
        change: Change,
        *,
        now: datetime,
        expires_at: datetime | None = None,
    ) -> Any:
        """Put the state that `change` makes of a cell in its place; return the answer.

        Atomic: of callers at once each sees the state that the one before left. Whoever comes
        again under a key gets the answer of the first time, and nothing changes, for at least as
        long as trigger keys are kept; a key is always of the same cell. `change` is pure and may
        be called more than once; what it raises is raised here, and nothing has changed then.

        The change survives a power loss once anything that was written durably after it does.
        `expires_at` is when the state need no longer be kept; None keeps it for ever.
        """
        ...
