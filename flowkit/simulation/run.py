"""`simulate`: a flow, a population and a behaviour become the history that they would have made.

Owns the set-up of a simulation and its division among processes; the loop is `course`'s, the
decisions are the engine's. May import everything of `flowkit.simulation`.
"""

from __future__ import annotations

import gc
import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import chain, islice
from typing import Any

import numpy as np

from flowkit import engine
from flowkit.course import Alone, Course, Queued, go_on, run
from flowkit.engine import Limits, Performance
from flowkit.errors import Invalid
from flowkit.execution import Execution
from flowkit.flow import Flow
from flowkit.nodetype import Outcome
from flowkit.problems import Problem, errors
from flowkit.simulation.behaviour import (
    ANSWERED,
    MESSAGE,
    VISIT,
    Behaviour,
    Reaction,
    first_draws,
    outcome,
)
from flowkit.simulation.channel import Channel, Gate
from flowkit.simulation.crowd import Block, Walk
from flowkit.simulation.eventful import eventful, simulated, ties
from flowkit.simulation.plan import Part, Plan, Start
from flowkit.simulation.population import contacts_of
from flowkit.simulation.prices import Prices
from flowkit.simulation.result import Simulation
from flowkit.simulation.rows import Group, Integers
from flowkit.simulation.shared import Follower, Head, Shared, State, is_small
from flowkit.starting import Started, started_flows
from flowkit.wire import cut, from_ms, to_ms

Progress = Callable[[int, int], None]
"""Told how many executions have ended, and of how many."""
STEP = 1_000
"""Executions between two reports of progress, where each goes alone."""
BLOCK = 10_000
"""Executions that walk together: between two reports of progress, and at once in memory."""


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
    repeats: bool = False,
    flows: Iterable[Flow] = (),
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
        Among how many processes, this one among them, the population is divided.
    progress : callable, optional
        Called with the number of executions simulated so far, and of all.
    share : bool, optional
        Whether executions whose nodes decide alike share the engine's turns; it changes how long
        it takes, and nothing else.
    repeats : bool, optional
        Whether a contact may stand several times among the contacts: each time is a trigger of
        its own, and the flow's entry policy says who may enter again.
    flows : iterable of Flow, optional
        The other flows that nodes run (SUBFLOW) or start (START_FLOW), under the ids by which
        these know them, without errors; one without a version is whichever is asked for. What
        happened there is in ``others``. A reaction is for one of their nodes as ``"id/node"``.
        What START_FLOW starts that is not among them is taken as given.

    Raises
    ------
    Invalid
        When flow, contacts, behaviour or limits have errors; nothing has run then.
    """
    found = errors(flow.validate())
    if found:
        raise Invalid(found)
    flow = flow.replace(id=flow.id or "simulated", version=flow.version or 1)
    started, found = started_flows(flow, [*flows, flow], behaviour.answers_for, ANSWERED)
    found += behaviour.check(flow, started.values())
    if channel is not None:
        found += channel.check()
    tie = _tie(flow, started, behaviour, channel, repeats=repeats)
    if tie is not None and processes > 1:
        message = f"{tie}: take one process."
        found.append(Problem("simulate.processes", "/processes", message))
    if processes < 1:
        message = f"A simulation takes 1 process or more, not {processes}."
        found.append(Problem("simulate.processes", "/processes", message))
    if at.tzinfo is None or (until is not None and until.tzinfo is None):
        message = "A moment needs a time zone: pass an aware datetime."
        found.append(Problem("simulate.time", "/at", message))
    if found:
        raise Invalid(found)
    people = contacts_of(contacts, columns, repeats=repeats)
    plan = Plan(
        flow=flow,
        started=started,
        contacts=people,
        behaviour=behaviour,
        at=to_ms(cut(at)),
        over=over // timedelta(milliseconds=1),
        until=to_ms(cut(until)) if until is not None else None,
        seed=seed,
        channel=channel,
        share=share and _may_share(flow),
        payload=payload,
        eventful=eventful(flow, behaviour, repeats=repeats),
        tied=tie is not None,
        first=0,
        total=len(people),
    )
    return _carried_out(plan, prices, processes, progress)


def rerun(
    flow: Flow,
    recorded: Sequence[Start],
    behaviour: Behaviour,
    *,
    started: Started,
    seed: int,
    prices: Prices | None,
    processes: int = 1,
) -> Simulation:
    """Return what would have happened if a flow had been started so; see `simulate`.

    Parameters
    ----------
    flow : Flow
        Without errors, with an id and a version.
    started : mapping
        The flows that it starts.
    recorded : sequence of Start
        Starts that the flow's filter and mapping take, in the order of their moments; the entry
        policy decides here.
    behaviour, seed, prices
        As in `simulate`.
    processes : int, optional
        As in `simulate`, at most: what ties contacts together takes one.
    """
    people = [start.contact or {} for start in recorded]
    names = [name for name in map(engine.contact_identity, people) if name is not None]
    repeats = len(set(names)) < len(names)
    tied = repeats or ties([flow, *started.values()], behaviour)
    happens = eventful(flow, behaviour, repeats=repeats and flow.options.entry.policy != "always")
    plan = Plan(
        flow=flow,
        started=started,
        contacts=people,
        behaviour=behaviour,
        at=0,
        over=0,
        until=None,
        seed=seed,
        channel=None,
        share=_may_share(flow),
        payload=None,
        eventful=happens,
        tied=tied,
        first=0,
        total=len(recorded),
        recorded=recorded,
    )
    return _carried_out(plan, prices, 1 if happens and tied else processes)


def _may_share(flow: Flow) -> bool:
    """Return whether executions may share turns.

    Who shares a turn looks at the contact as it was at the start, and not at quiet hours.
    """
    if flow.options.quiet_hours is not None:
        return False
    return not any(flow.behaviour(node.id).changes_contact for node in flow.nodes)


def _carried_out(
    plan: Plan, prices: Prices | None, processes: int, progress: Progress | None = None
) -> Simulation:
    parts = [done(plan, progress)] if processes == 1 else _divided(plan, processes, progress)
    return Simulation(
        plan.flow, plan.contacts, parts, plan.behaviour, plan.seed, prices, plan.start,
        plan.started.values(),
    )  # fmt: skip


def _tie(
    flow: Flow, started: Started, behaviour: Behaviour, channel: Channel | None, *, repeats: bool
) -> str | None:
    """Return what ties contacts together, so that they are simulated at once; None if nothing."""
    if channel is not None:
        return "The limits of a channel tie all contacts together"
    if ties([flow, *started.values()], behaviour):
        return "RATE_LIMIT ties all contacts together"
    return "A contact that stands several times is of one process" if repeats else None


def _divided(plan: Plan, processes: int, progress: Progress | None) -> list[Part]:
    """Let processes, this one among them, do parts of a plan, in the order of the contacts."""
    size = -(-max(plan.total, 1) // processes)
    plans = []
    for first in range(0, plan.total, size):
        own = slice(first, first + size)
        recorded = plan.recorded and plan.recorded[own]
        plans.append(replace(plan, contacts=plan.contacts[own], first=first, recorded=recorded))
    parts: list[Part] = []
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes - 1, mp_context=context) as pool:
        others = pool.map(done, plans[1:])
        for part in chain(map(done, plans[:1]), others):
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
    if plan.eventful:
        return _eventful(plan, part, progress)
    shared = Shared(plan.flow, Limits()) if plan.share else None
    answers = Surroundings(plan, part)
    taken = Taken()
    started = _started(plan, part)

    def alone(due: list[Queued]) -> None:
        course = due[0][2]
        go_on(due, answers, plan.until)
        taken.add(course)

    if plan.channel is not None:
        together = [(_course(plan, shared, *one), one[2]) for one in started]
        run(together, answers, plan.until)
        for course, _ in together:
            taken.add(course)
    else:
        # Nobody waits for anybody else.
        walk = None
        if shared is not None:
            walk = Walk(shared, plan.behaviour, plan.seed, plan.until, alone, taken.add_all)
        number = 0
        while block := list(islice(started, BLOCK)):
            if walk is not None:
                walk.through(Block(block))
            else:
                for one in block:
                    alone([(one[2], 0, _course(plan, None, *one), "root", None)])
            number += len(block)
            if progress is not None and number < plan.total:
                progress(number, plan.total)
    if progress is not None:
        progress(plan.total, plan.total)
    part.groups = taken.groups()
    return part


def _eventful(plan: Plan, part: Part, progress: Progress | None) -> Part:
    """Simulate a plan in which contacts do things; see `flowkit.simulation.eventful`."""

    def told(number: int) -> None:
        if progress is not None and (number % STEP == 0 or number == plan.total):
            progress(number, plan.total)

    for course in simulated(plan, part, told):
        course.part.groups.append(group_of(course))
    return part


def _started(plan: Plan, part: Part) -> Iterator[tuple[int, Execution, int]]:
    """Start the executions of a plan, one after the other: number, record, and moment (ms)."""
    trigger: Any = plan.flow.behaviour(plan.flow.start)
    # Where nothing is asked about a contact, who shares turns begins as the first one does.
    alike = plan.share and plan.payload is None and plan.recorded is None and trigger.filter is None
    first: Execution | None = None
    at, now = -1, from_ms(0)
    for number in range(plan.first, plan.first + len(plan.contacts)):
        start = plan.start(number)
        if start.at != at:
            at, now = start.at, from_ms(start.at)
        if plan.until is not None and at > plan.until:
            return
        own, _, payload, contact = start
        identity = engine.contact_identity(contact) if alike and is_small(contact) else None
        execution: Any
        if first is not None and identity is not None:
            execution = Head(first, own, identity, {"trigger": payload, "contact": contact}, now)
        else:
            execution = engine.start(
                plan.flow, payload, execution_id=own, now=now, contact=contact
            )  # fmt: skip
            first = execution if identity is not None else None
        if execution is None:
            part.turned_away += 1
            continue
        index = len(part.rows)
        part.rows.append(number)
        part.heads.ids.append(execution.id)
        part.heads.contact_ids.append(execution.contact_id)
        yield index, execution, at


def _course(plan: Plan, shared: Shared | None, index: int, execution: Execution, at: int) -> Course:
    root = shared.root(execution) if shared is not None else None
    if shared is None or root is None:
        return Alone(index, plan.flow, execution, Limits())
    return Follower(shared, index, execution, root, [at])


def group_of(course: Alone) -> Group:
    """Return an execution that took all turns itself."""
    none = np.empty((1, 0), dtype=np.int64)
    members = np.array([course.index], dtype=np.int64)
    return Group(course.execution, course.execution.id, members, none)


class Taken:
    """The courses that have been taken, each with those who took it."""

    def __init__(self) -> None:
        self._shared: dict[int, tuple[State, list[Integers], list[Integers]]] = {}
        self._alone: list[Group] = []

    def add(self, course: Course) -> None:
        """Keep what is needed of an execution that has gone its course."""
        if isinstance(course, Follower):
            if course.alone is None:
                times = [np.array([at], dtype=np.int64) for at in course.times]
                self.add_all(course.state, np.array([course.index], dtype=np.int64), times)
                return
            course = course.alone
        assert isinstance(course, Alone)
        self._alone.append(group_of(course))

    def add_all(self, state: State, members: Integers, times: Sequence[Integers]) -> None:
        """Keep what is needed of executions that went the same course to that state."""
        entry = self._shared.setdefault(id(state), (state, [], []))
        entry[1].append(members)
        entry[2].append(np.stack(times, axis=1))

    def groups(self) -> list[Group]:
        """Return them."""
        made = [
            Group(state.execution, state.origin, np.concatenate(members), np.concatenate(times))
            for state, members, times in self._shared.values()
        ]
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
        visit = performance.key[len(self._part.heads.ids[course.index]) + 1 :]
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
            known = self._behaviour.reaction(VISIT.sub("", visit), contact)
            if not self._by_contact:
                self._reactions[visit] = known
        return known
