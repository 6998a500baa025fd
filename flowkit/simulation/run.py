"""`simulate`: a flow, a population and a behaviour become the history that they would have made.

Owns the set-up of a simulation and its division among processes; the loop is `course`'s, the
decisions are the engine's. May import everything of `flowkit.simulation`.
"""

from __future__ import annotations

import gc
import hashlib
import multiprocessing
import re
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from flowkit import engine
from flowkit.course import Alone, Course, run
from flowkit.engine import Limits, Performance
from flowkit.errors import Invalid
from flowkit.execution import Execution
from flowkit.flow import Flow
from flowkit.nodetype import Outcome
from flowkit.problems import Problem, errors
from flowkit.simulation.behaviour import MESSAGE, Behaviour, Reaction, first_draws, outcome
from flowkit.simulation.channel import Channel, Gate
from flowkit.simulation.population import contacts_of
from flowkit.simulation.prices import Prices
from flowkit.simulation.result import Simulation
from flowkit.simulation.rows import Group, Heads
from flowkit.simulation.shared import Follower, Shared, State
from flowkit.wire import cut, from_ms, to_ms

Progress = Callable[[int, int], None]
"""Told how many executions have ended, and of how many."""
_VISIT = re.compile(r"_v[0-9]+$")
STEP = 1_000
"""Executions between two reports of progress."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A simulation, or the part of it that one process does.

    `contacts` are those numbered from `first` on, of `total`.
    """

    flow: Flow
    contacts: Sequence[dict[str, Any]]
    behaviour: Behaviour
    at: int
    over: int
    until: int | None
    seed: int
    channel: Channel | None
    share: bool
    payload: Callable[[dict[str, Any]], Any] | None
    first: int
    total: int


@dataclass(slots=True)
class Part:
    """What came of a plan: courses, what tells its executions apart, and who did not start.

    `rows` are the numbers of the contacts whose executions are in `heads`, among all.
    """

    groups: list[Group] = field(default_factory=list)
    heads: Heads = field(default_factory=Heads)
    rows: list[int] = field(default_factory=list)
    turned_away: int = 0


def simulate(
    flow: Flow,
    contacts: Any,
    behaviour: Behaviour = Behaviour(),  # noqa: B008 - frozen
    *,
    at: datetime,
    over: timedelta = timedelta(0),
    until: datetime | None = None,
    seed: int = 0,
    channel: Channel | None = None,
    prices: Prices | None = None,
    columns: Mapping[str, type] | None = None,
    payload: Callable[[dict[str, Any]], Any] | None = None,
    processes: int = 1,
    progress: Progress | None = None,
    share: bool = True,
) -> Simulation:
    """Return what would happen if these contacts went through a flow.

    The engine decides, as it does in production, under a clock that jumps from one moment at
    which something is due to the next. The same arguments give the same result to the byte,
    however many processes take part.

    Parameters
    ----------
    flow : Flow
        Without errors; stored or not.
    contacts : pandas.DataFrame, path, Population or iterable of mapping
        One execution is started for each; see `flowkit.simulation.population`.
    behaviour : Behaviour, optional
        How channel and contacts behave; without, everything is taken and nobody answers.
    at : datetime
        When the first execution is started; aware.
    over : timedelta, optional
        The time over which starts are spread evenly.
    until : datetime, optional
        When to look: what is not due by then has not happened. To the end of all without.
    seed : int, optional
        Another seed, other chances.
    channel : Channel, optional
        Limits that hold messages back. They tie all contacts together, so that the simulation
        takes one process.
    prices : Prices, optional
        What messages cost, for the summary.
    columns : mapping, optional
        The type of each field that every contact must have.
    payload : callable, optional
        Makes the trigger's payload of a contact; ``{"contact": contact}`` without.
    processes : int, optional
        Among how many processes the population is divided.
    progress : callable, optional
        Called with the number of executions simulated so far, and of all.
    share : bool, optional
        Whether executions whose nodes decide alike share the engine's turns; it changes how long
        it takes, and nothing else.

    Raises
    ------
    Invalid
        When flow, contacts, behaviour or limits have errors; nothing has run then.
    """
    found = errors(flow.validate())
    if found:
        raise Invalid(found)
    found = behaviour.check(flow)
    if channel is not None:
        found += channel.check()
        if processes > 1:
            message = (
                "The limits of a channel tie all contacts together: give either a channel or "
                "processes."
            )
            found.append(Problem("simulate.processes", "/processes", message))
    if processes < 1:
        message = f"A simulation takes 1 process or more, not {processes}."
        found.append(Problem("simulate.processes", "/processes", message))
    if at.tzinfo is None or (until is not None and until.tzinfo is None):
        message = "A moment needs a time zone: pass an aware datetime."
        found.append(Problem("simulate.time", "/at", message))
    if found:
        raise Invalid(found)
    people = contacts_of(contacts, columns)
    flow = flow.replace(id=flow.id or "simulated", version=flow.version or 1)
    plan = Plan(
        flow=flow,
        contacts=people,
        behaviour=behaviour,
        at=to_ms(cut(at)),
        over=over // timedelta(milliseconds=1),
        until=to_ms(cut(until)) if until is not None else None,
        seed=seed,
        channel=channel,
        # Who shares a turn looks at the contact as it was at the start, and not at quiet hours.
        share=share
        and flow.options.quiet_hours is None
        and not any(flow.behaviour(n.id).changes_contact for n in flow.nodes),
        payload=payload,
        first=0,
        total=len(people),
    )
    parts = [done(plan, progress)] if processes == 1 else _divided(plan, processes, progress)
    return Simulation(flow, people, parts, behaviour, seed, prices)


def _divided(plan: Plan, processes: int, progress: Progress | None) -> list[Part]:
    """Let processes do parts of a plan; the order of the parts is that of the contacts."""
    size = -(-max(plan.total, 1) // processes)
    plans = []
    for first in range(0, plan.total, size):
        values = {name: getattr(plan, name) for name in Plan.__slots__}
        plans.append(Plan(**values | {"contacts": plan.contacts[first : first + size],
                                      "first": first}))  # fmt: skip
    parts = []
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context) as pool:
        for part in pool.map(done, plans):
            parts.append(part)
            if progress is not None:
                progress(min(len(parts) * size, plan.total), plan.total)
    return parts


def done(plan: Plan, progress: Progress | None = None) -> Part:
    """Simulate a plan in this process."""
    # Nothing that a simulation keeps is a cycle: to look for some, again and again among all
    # that it keeps, would take a third of the time.
    collected = gc.isenabled()
    gc.disable()
    try:
        return _done(plan, progress)
    finally:
        if collected:
            gc.enable()


def _done(plan: Plan, progress: Progress | None) -> Part:
    part = Part()
    shared = Shared(plan.flow, Limits()) if plan.share else None
    answers = Surroundings(plan, part)
    courses = _started(plan, part, shared)
    taken = Taken()
    if plan.channel is None:
        # Nobody waits for anybody else: one after the other takes the least room.
        for number, (course, at) in enumerate(courses, start=1):
            run([(course, at)], answers, plan.until)
            taken.add(course)
            if progress is not None and number % STEP == 0:
                progress(number, plan.total)
    else:
        all_ = list(courses)
        run(all_, answers, plan.until)
        for course, _ in all_:
            taken.add(course)
    if progress is not None:
        progress(plan.total, plan.total)
    part.groups = taken.groups()
    return part


def _started(plan: Plan, part: Part, shared: Shared | None) -> Iterator[tuple[Course, int]]:
    """Start the executions of a plan, one after the other."""
    moment = f"{plan.at:012x}"
    limits = Limits()
    for number, contact in enumerate(plan.contacts, start=plan.first):
        at = plan.at + (plan.over * number // plan.total if plan.over else 0)
        if plan.until is not None and at > plan.until:
            return
        payload = {"contact": contact} if plan.payload is None else plan.payload(contact)
        execution = engine.start(
            plan.flow,
            payload,
            execution_id=_id(moment, plan.seed, number),
            now=from_ms(at),
            contact=contact,
        )
        if execution is None:
            part.turned_away += 1
            continue
        index = len(part.rows)
        part.rows.append(number)
        part.heads.ids.append(execution.id)
        part.heads.contact_ids.append(execution.contact_id)
        yield _course(index, execution, at, plan, shared, limits), at


def _id(moment: str, seed: int, number: int) -> str:
    """Return an id such as `flowkit.execution.new_id` makes, but always the same one."""
    return moment + hashlib.blake2b(f"{seed}|{number}".encode(), digest_size=10).hexdigest()


def _course(
    index: int, execution: Execution, at: int, plan: Plan, shared: Shared | None, limits: Limits
) -> Course:
    if shared is not None:
        follower = shared.follower(index, execution, at)
        if follower is not None:
            return follower
    return Alone(index, plan.flow, execution, limits)


class Taken:
    """The courses that have been taken, each with those who took it."""

    def __init__(self) -> None:
        self._shared: dict[int, tuple[State, array[int], array[int]]] = {}
        self._alone: list[Group] = []

    def add(self, course: Course) -> None:
        """Keep what is needed of an execution that has gone its course."""
        if isinstance(course, Follower):
            if course.alone is None:
                entry = self._shared.get(id(course.state))
                if entry is None:
                    entry = course.state, array("q"), array("q")
                    self._shared[id(course.state)] = entry
                entry[1].append(course.index)
                entry[2].extend(course.times)
                return
            course = course.alone
        assert isinstance(course, Alone)
        none = np.empty((1, 0), dtype=np.int64)
        members = np.array([course.index], dtype=np.int64)
        self._alone.append(Group(course.execution, course.execution.id, members, none))

    def groups(self) -> list[Group]:
        """Return them."""
        made = []
        for state, members, times in self._shared.values():
            numbers = np.frombuffer(members, dtype=np.int64)
            table = np.frombuffer(times, dtype=np.int64).reshape(len(numbers), -1)
            made.append(Group(state.execution, state.origin, numbers, table))
        return made + self._alone


class Surroundings:
    """Answers effects: messages through channel and behaviour, others as the behaviour says."""

    def __init__(self, plan: Plan, part: Part) -> None:
        self._plan = plan
        self._behaviour = plan.behaviour
        self._seed = plan.seed
        self._part = part
        self._gate: Gate | None = plan.channel.gate() if plan.channel is not None else None
        self._reactions: dict[str, Reaction] = {}
        self._by_contact = any(r.when is not None for r in plan.behaviour.reactions)

    def __call__(
        self, course: Course, performance: Performance, now: int
    ) -> tuple[Outcome | None, int]:
        """Return how an effect that begins now ends, and when."""
        contact = self._plan.contacts[self._part.rows[course.index] - self._plan.first]
        kind = performance.effect.kind
        answer = self._behaviour.answers.get(kind)
        if answer is not None:
            return answer(performance, contact), now
        if kind != MESSAGE:
            return Outcome("completed"), now
        contact_id = self._part.heads.contact_ids[course.index] or ""
        visit = performance.key[33:]
        reaction = self._reaction(visit, contact)
        chance, spread = first_draws(self._seed, contact_id, visit, performance.attempt)
        begins = now
        if self._gate is not None:
            begins, goes = self._gate.passes(performance.key, contact_id, contact, now)
            if not goes:
                return None, begins
        ended = outcome(reaction, chance, performance.key, performance.attempt)
        return ended, begins + reaction.latency.ms(spread)

    def _reaction(self, visit: str, contact: Mapping[str, Any]) -> Reaction:
        known = self._reactions.get(visit)
        if known is None:
            known = self._behaviour.reaction(_VISIT.sub("", visit), contact)
            if not self._by_contact:
                self._reactions[visit] = known
        return known
