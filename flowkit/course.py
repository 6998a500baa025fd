"""The course of executions through a flow, under a virtual clock.

Owns the loop of the simulator: what is due next happens next, the engine decides what comes of
it, and the surroundings answer its effects. May import `engine`, `execution`, `ledger`, `wire`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from typing import Protocol

from flowkit.engine import Limits, Performance
from flowkit.execution import Execution
from flowkit.flow import Flow
from flowkit.ledger import advanced
from flowkit.nodetype import Outcome
from flowkit.wire import from_ms, to_ms

Answers = Callable[["Course", Performance, int], "tuple[Outcome | None, int]"]
"""How an effect that is asked for at a moment (ms) ends, and when; None where to ask again then."""

Due = tuple[int, int, "Course", str | Performance, Outcome | None]
"""What happens next: when (ms), in which order of that due at once, for whom, for which branch, and
how its effect ended; or, in place of the branch, the effect that is to be asked for again."""


class Course(Protocol):
    """An execution under way."""

    index: int

    def step(
        self, branch_id: str, outcome: Outcome | None, now: int
    ) -> tuple[list[Performance], list[tuple[str, int]]]:
        """Let a branch go on at `now` (ms since 1970): its effect has ended so, or its time is up.

        Returns
        -------
        list of Performance
            The effects that begin.
        list of (str, int)
            The branches that go on by themselves, and when.
        """
        ...


@dataclass(slots=True)
class Alone:
    """An execution that takes every turn of the engine itself."""

    index: int
    flow: Flow
    execution: Execution
    limits: Limits = field(default_factory=Limits)

    def step(
        self, branch_id: str, outcome: Outcome | None, now: int
    ) -> tuple[list[Performance], list[tuple[str, int]]]:
        """See `Course`."""
        made = advanced(
            self.flow, self.execution, branch_id, outcome, now=from_ms(now), limits=self.limits
        )
        if made is None:
            return [], []
        self.execution = made.execution
        return made.effects, [(going, to_ms(at)) for going, at in made.going]


def run(courses: Iterable[tuple[Course, int]], answers: Answers, until: int | None = None) -> None:
    """Let executions go their course, each from its moment of start on.

    Parameters
    ----------
    courses : iterable of (Course, int)
        With the moments at which they start, in ms.
    answers : callable
        Asked in the order of time.
    until : int, optional
        The moment after which nothing happens any more; everything comes to its end without.
    """
    go_on([(at, order, course, "root", None) for order, (course, at) in enumerate(courses)],
          answers, until)  # fmt: skip


def go_on(due: list[Due], answers: Answers, until: int | None = None) -> None:
    """Let executions go on from what is due of them; see `run`."""
    heapify(due)
    order = len(due)
    while due:
        if until is not None and due[0][0] > until:
            return
        now, _, course, what, ended = heappop(due)
        if isinstance(what, Performance):
            effects: list[Performance] = [what]
        else:
            effects, wakes = course.step(what, ended, now)
            for branch_id, at in wakes:
                heappush(due, (at, order, course, branch_id, None))
                order += 1
        for performance in effects:
            outcome, at = answers(course, performance, now)
            again = performance if outcome is None else performance.branch_id
            heappush(due, (at, order, course, again, outcome))
            order += 1
