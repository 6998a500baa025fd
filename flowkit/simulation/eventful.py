"""Executions to whose contacts something happens, or that share more than their turns.

Owns the simulation of flows that listen for events, ask for internal effects or look at the
service window: every execution takes its turns alone, and what the service keeps beside it is a
`World`. May import `course`, `world`, `engine`, `execution`, `flow`, `starting`, `whatsapp`,
`nodetype`, `errors`, `wire`, and `behaviour`, `channel`, `plan`, `population`, `replies` beside it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from math import inf
from typing import Any

from flowkit import engine
from flowkit.course import Due, run
from flowkit.engine import Performance, Received
from flowkit.errors import Invalid
from flowkit.execution import Execution, derived_id
from flowkit.flow import Flow
from flowkit.nodetype import Outcome
from flowkit.sharing import LIMIT_TAKE
from flowkit.simulation.behaviour import (
    CLOSED_CODE,
    MESSAGE,
    VISIT,
    Behaviour,
    Reaction,
    draws,
    first_draws,
    outcome,
)
from flowkit.simulation.plan import Part, Plan, Start
from flowkit.simulation.population import INBOUND_AT
from flowkit.simulation.replies import consequences
from flowkit.starting import names_before
from flowkit.whatsapp import is_inbound
from flowkit.wire import from_ms, parse_iso, to_ms
from flowkit.world import Member, World

GONE = Outcome("unknown")
"""How an effect ends that did not begin, for its branch was let go while it waited."""
WINDOW_MS = 86_400_000
"""For how long after a contact's message it may be sent free-form messages."""
CLOSED = Outcome(
    "failed",
    error={
        "code": CLOSED_CODE,
        "message": "(#131047) 24 hours since the last reply",
        "class": "permanent",
        "advice": "Send a template instead.",
        "transient": False,
    },
)
AGAIN_MOST = 10
"""How often a contact's events start the flow again; who answers everything would never end."""


class Resident(Member):
    """An execution of a simulation.

    `part` is where its rows are. `drawn` tells its draws from those of the contact's other
    executions, `names` its nodes from those of the flow that is simulated.
    """

    def __init__(
        self, world: World, flow: Flow, execution: Execution, part: Part, drawn: str, names: str
    ) -> None:
        super().__init__(world, len(part.rows), flow, execution)
        self.part, self.drawn, self.names = part, drawn, names


def eventful(flow: Flow, behaviour: Behaviour, *, repeats: bool) -> bool:
    """Return whether anything can happen that executions which share turns know nothing of."""
    return (
        repeats
        or bool(_internal(flow, behaviour))
        or bool(behaviour.tells() & {*flow.listens, flow.trigger_type})
        or behaviour.judges_window(flow)
    )


def ties(flows: Iterable[Flow], behaviour: Behaviour) -> bool:
    """Return whether contacts can hold each other up: buckets of tokens may be of several."""
    return any(LIMIT_TAKE in _internal(flow, behaviour) for flow in flows)


def _internal(flow: Flow, behaviour: Behaviour) -> set[str | None]:
    kinds = {flow.behaviour(node.id).internal for node in flow.nodes}
    return kinds - {None} - behaviour.answers.keys()


def simulated(plan: Plan, part: Part, progress: Callable[[int], None]) -> list[Resident]:
    """Return what becomes of the executions of a plan, in the order in which they began.

    Parameters
    ----------
    plan, part : Plan, Part
        What is simulated; where it is kept who started, and what became of messages.
    progress : callable
        Told how many contacts are through.
    """
    numbers = range(plan.first, plan.first + len(plan.contacts))
    # Where nobody waits for anybody else, one after the other takes the least room.
    towns = [numbers] if plan.tied else [range(number, number + 1) for number in numbers]
    done: list[Resident] = []
    for contacts in towns:
        town = _Town(plan, part)
        town.run(contacts)
        done += town.courses
        progress(contacts.stop - plan.first)
    return done


class _Town:
    """Contacts, and the executions about them."""

    def __init__(self, plan: Plan, part: Part) -> None:
        self.courses: list[Resident] = []
        self._plan, self._part = plan, part
        self._behaviour, self._seed = plan.behaviour, plan.seed
        self._world = World(self._begin, plan.started)
        self._gate = plan.channel.gate() if plan.channel is not None else None
        self._judges = plan.behaviour.judges_window(plan.flow)
        # Events of other types would do nothing.
        self._listened = plan.flow.listens.union(*(f.listens for f in plan.started.values()))
        self._matters = self._listened | {plan.flow.trigger_type}
        self._rows: dict[str, int] = {}
        self._ids: dict[str, str] = {}
        self._entries: Counter[tuple[str, str]] = Counter()
        self._again: Counter[str] = Counter()
        self._wrote: dict[str, float] = {}
        self._optouts: dict[str, int] = {}

    def run(self, contacts: Iterable[int]) -> None:
        """Let these start, and everything happen."""
        for number in contacts:
            start = self._plan.start(number)
            self._world.due.append(Due(start.at, partial(self._trigger, number, start)))
        run([], self, self._plan.until, self._world.due)

    # -- what starts

    def _trigger(self, number: int, start: Start, now: int) -> None:
        """Start the flow for a contact of the population."""
        plan = self._plan
        id, _, payload, contact = start
        who = engine.contact_identity(contact) or ""
        if who not in self._rows:
            self._rows[who], self._ids[who] = number, id
            self._wrote[who] = _last_inbound(contact or {})
            self._will_happen(who, contact or {}, now)
        event = Received(
            id=f"sim.{id}", type=plan.flow.trigger_type, payload=payload, at=from_ms(now)
        )
        execution = engine.start(plan.flow, payload, execution_id=id, now=event.at, contact=contact)
        if execution is None:
            self._part.turned_away += 1
        elif not self._enters(execution):
            self._part.refused += 1
        self._heard(who, event, now, id)

    def _enters(self, execution: Execution) -> bool:
        """Let an execution begin if the entry policy does; return whether."""
        if not self._world.may_enter(self._plan.flow, execution):
            return False
        self._world.add(self._begin(self._plan.flow, execution))
        return True

    def _begin(self, flow: Flow, execution: Execution) -> Resident:
        """Take in an execution that begins."""
        who, part, names = execution.contact_id or "", self._part, ""
        if flow.id != self._plan.flow.id:
            part = part.others.setdefault(execution.flow_id, Part())
            names = names_before(self._plan.flow, flow.id)
        self._entries[who, execution.flow_id] += 1
        entry = self._entries[who, execution.flow_id]
        # Each entry of a contact has chances of its own.
        drawn = (f"@{flow.id}" if names else "") + (f"#{entry}" if entry > 1 else "")
        course = Resident(self._world, flow, execution, part, drawn, names)
        part.rows.append(self._rows.get(who, self._plan.first))
        if execution.id != self._ids.get(who):
            part.contexts[execution.id] = execution.context
        part.heads.ids.append(execution.id)
        part.heads.contact_ids.append(execution.contact_id)
        self.courses.append(course)
        return course

    # -- what happens to contacts

    def _will_happen(self, who: str, contact: dict[str, Any], now: int) -> None:
        for number, occurrence in enumerate(self._behaviour.events):
            if occurrence.event in self._matters and occurrence.fits(contact):
                chance, spread = draws(self._seed, who, f"|event{number}", 0)[:2]
                if chance < occurrence.probability:
                    at = now + occurrence.after.ms(spread)
                    name = f"sim.{who}.event{number}"
                    self._comes(who, name, occurrence.event, occurrence.payload, at)

    def _comes(self, who: str, name: str, type_: str, payload: Mapping[str, Any], at: int) -> None:
        event = Received(id=name, type=type_, payload=payload, at=from_ms(at))
        self._world.due.append(Due(at, partial(self._happens, who, event)))

    def _happens(self, who: str, event: Received, now: int) -> None:
        """An event comes, as triggers do: it may start the flow again, and wakes who waits."""
        plan = self._plan
        contact = plan.contacts[self._rows[who] - plan.first]
        event = replace(event, payload={"contact": contact, **event.payload})
        id = derived_id(self._ids[who], event.id)
        # What events have started is among what was recorded.
        starts = event.type == plan.flow.trigger_type and plan.recorded is None
        if starts and self._again[who] < AGAIN_MOST:
            self._again[who] += 1
            try:
                execution = engine.start(plan.flow, event.payload, execution_id=id, now=event.at)
            except Invalid:  # its mapping does not find the contact in this payload
                execution = None
            if execution is not None:
                self._enters(execution)
        self._heard(who, event, now, id)

    def _heard(self, who: str, event: Received, now: int, started: str) -> None:
        """Give an event to executions under way, but not to the one that it has started."""
        if is_inbound(event.type):
            self._wrote[who] = now
        if event.type in self._listened:
            self._world.deliver(who, event, now, besides=(started,))

    # -- effects

    def __call__(
        self, course: Resident, performance: Performance, now: int
    ) -> tuple[Outcome | None, int]:
        """Return how an effect that begins now ends, and when."""
        execution = course.execution
        who = execution.contact_id or ""
        contact = self._world.contact(who)
        kind = performance.effect.kind
        answer = self._behaviour.answers.get(kind)
        if answer is not None:
            return answer(performance, contact), now
        if kind != MESSAGE:
            return self._world.perform(execution, performance, now) or Outcome("completed"), now
        visit = performance.key[len(execution.id) + 1 :]
        reaction = self._behaviour.reaction(course.names + VISIT.sub("", visit), contact)
        drawn = visit + course.drawn
        chance, spread = first_draws(self._seed, who, drawn, performance.attempt)
        begins = now
        if self._gate is not None:
            if not _holds(execution, performance.branch_id):
                return GONE, now
            begins, goes = self._gate.passes(performance.key, who, contact, now)
            if not goes:
                return None, begins
        ended = outcome(reaction, chance, performance.key, performance.attempt)
        if self._judges and self._is_closed(performance, who, begins):
            ended = CLOSED
        at = begins + reaction.latency.ms(spread)
        if ended.status == "completed":
            fate = self._sent(who, reaction, drawn, performance, at)
            course.part.fates[performance.key, performance.attempt] = fate
        return ended, at

    def _is_closed(self, performance: Performance, who: str, at: int) -> bool:
        free = performance.effect.request.get("type") != "template"
        return free and at - self._wrote[who] >= WINDOW_MS

    def _sent(
        self, who: str, reaction: Reaction, drawn: str, performance: Performance, at: int
    ) -> tuple[int | None, ...]:
        """Return what becomes of a message, and let come what its reader does."""
        fate, follows = consequences(
            *(self._behaviour, reaction, self._seed, who, drawn, performance, at, self._optouts)
        )
        for event in follows:
            if event.type in self._matters or is_inbound(event.type):
                self._comes(who, *event)
        return fate


def _holds(execution: Execution, branch_id: str) -> bool:
    """Return whether a branch is still inside its effect."""
    return any(b.branch_id == branch_id and b.status == "running" for b in execution.branches)


def _last_inbound(contact: Mapping[str, Any]) -> float:
    """Return when (ms) a contact wrote last, as its field says; never without."""
    told = contact.get(INBOUND_AT)
    return -inf if told is None else to_ms(parse_iso(told))
