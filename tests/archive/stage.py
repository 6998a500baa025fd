"""A store that holds ended executions and nothing else, and ways to have them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from typing import Any

from flowkit.execution import Execution, PageKey
from flowkit.history.layout import Place
from service.archive import Summary, archive

LATE = datetime.fromisoformat("9000-01-01T00:00:00+00:00")
_places = itertools.count()


class Ended:
    """The verbs of a store that an archive needs, over a list in memory."""

    def __init__(self, executions: Iterable[Execution] = ()) -> None:
        self.executions = {e.id: e for e in executions}
        self.counted: list[date] = []

    def list_ended(
        self, *, before: datetime, after: PageKey | None = None, limit: int
    ) -> list[Execution]:
        ended = [e for e in self.executions.values() if e.ended_at and e.ended_at < before]
        ended.sort(key=lambda e: (e.ended_at, e.id))
        return [e for e in ended if after is None or (e.ended_at, e.id) > after][:limit]

    def delete_ended(self, refs: Sequence[tuple[str, int]]) -> int:
        gone = [id for id, r in refs if id in self.executions and self.executions[id].revision == r]
        for id in gone:
            del self.executions[id]
        return len(gone)

    def list_counts(self, *, since: date, until: date) -> list[Any]:
        assert until - since == timedelta(days=1)
        return [day for day in self.counted if day == since]

    def roll_up(self, day: date) -> None:
        self.counted.append(day)


def anywhere() -> str:
    """Return the URL of an archive that is empty, in the memory of this process."""
    return f"memory://archive-{next(_places)}"


def moved(url: str, executions: Iterable[Execution]) -> Summary:
    """Archive executions."""
    return archive(Ended(executions), Place(url), before=LATE)
