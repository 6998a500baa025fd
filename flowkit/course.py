"""The course of executions through a flow, under a virtual clock.

Owns the loop of the simulator: what is due next happens next, the engine decides what comes of
it, and the surroundings answer its effects. May import `engine`, `execution`, `ledger`, `wire`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from typing import Any, NamedTuple, Protocol

from flowkit.engine import Limits, Performance, Received
from flowkit.execution import Execution
from flowkit.flow import Flow
from flowkit.ledger import advanced, cancelled, received
from flowkit.nodetype import Outcome
from flowkit.wire import from_ms, to_ms

What = str | Performance | Callable[[int], None]
"""What is due: a branch goes on, an effect is asked for again, or something else is done then."""
Answers = Callable[[Any, Performance, int], "tuple[Outcome | None, int]"]
"""How an effect that a course asks for at a moment (ms) ends, and when; None: to ask again then."""

Queued = tuple[int, int, Any, What, Outcome | None]
"""What happens next: when (ms), in which order of that due at once, for whom, what, and how the
effect ended that the branch was in."""


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


class Due(NamedTuple):
    """Something that is due: when (ms), what, and for whom; of a branch how its effect ended."""

    at: int
    what: What
    course: Any = None
    ended: Outcome | None = None


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

    def receive(self, event: Received, now: int) -> list[tuple[str, int]] | None:
        """Receive an event; return the branches that it wakes, None when it is not concerned."""
        made = received(self.flow, self.execution, event, now=from_ms(now), limits=self.limits)
        if made is None:
            return None
        self.execution = made.execution
        return [(going, to_ms(at)) for going, at in made.going]

    def cancel(self, now: int) -> None:
        """Be cancelled."""
        self.execution = cancelled(self.execution, now=from_ms(now))


def run(
    courses: Iterable[tuple[Course, int]],
    answers: Answers,
    until: int | None = None,
    besides: list[Due] | None = None,
) -> None:
    """Let executions go their course, each from its moment of start on.

    Parameters
    ----------
    courses : iterable of (Course, int)
        With the moments at which they start, in ms.
    answers : callable
        Asked in the order of time.
    until : int, optional
        The moment after which nothing happens any more; everything comes to its end without.
    besides : list of Due, optional
        What else is due. It is emptied; whoever is called may put more into it.
    """
    go_on([(at, order, course, "root", None) for order, (course, at) in enumerate(courses)],
          answers, until, besides)  # fmt: skip


def go_on(
    due: list[Queued],
    answers: Answers,
    until: int | None = None,
    besides: list[Due] | None = None,
) -> None:
    """Let executions go on from what is due of them; see `run`."""
    heapify(due)
    order = len(due)

    def take() -> None:
        """Take in what else is due, behind all that came up before."""
        nonlocal order
        assert besides is not None
        for at, what, course, ended in besides:
            heappush(due, (at, order, course, what, ended))
            order += 1
        besides.clear()

    while due or besides:
        if besides:
            take()
        if until is not None and due[0][0] > until:
            return
        now, _, course, what, ended = heappop(due)
        if isinstance(what, str):
            effects, wakes = course.step(what, ended, now)
            for branch_id, at in wakes:
                heappush(due, (at, order, course, branch_id, None))
                order += 1
        elif isinstance(what, Performance):
            effects = [what]
        else:
            what(now)
            continue
        for performance in effects:
            outcome, at = answers(course, performance, now)
            again = performance if outcome is None else performance.branch_id
            heappush(due, (at, order, course, again, outcome))
            order += 1
            if besides:
                take()
