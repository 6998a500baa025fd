"""What executions in memory have in common: contacts, cells, entries, and the events that come.

Owns what the service keeps beside executions, for drivers with a virtual clock; each decision is
the code that decides it there.
May import `course`, `contacts`, `engine`, `entry`, `execution`, `flow`, `kin`, `nodetype`,
`nodes.flows`, `sharing`, `size`, `starting`, `errors`, `wire`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any

from flowkit.contacts import Contact, cell_of, contacts_of, shown
from flowkit.course import Alone, Due
from flowkit.engine import Limits, Performance, Received
from flowkit.entry import Entered, may_enter, refusal_of
from flowkit.errors import Invalid, NodeFailed, NotFound
from flowkit.execution import Execution
from flowkit.flow import Flow
from flowkit.kin import CALL, child_id, let_go, parent_of, told
from flowkit.nodes.flows import NAMED, START, STOP
from flowkit.nodetype import Outcome
from flowkit.sharing import KINDS, outcome_of, sharing
from flowkit.size import size_of
from flowkit.starting import FILTERED, Started, answer_of, started_by
from flowkit.wire import from_ms, to_ms

SWEEP_MS = 1_000
"""How long it takes a worker to find what nobody has told it; see FLOWKIT_SWEEP_SECONDS."""


class Member(Alone):
    """An execution of a world, whose end may concern others there."""

    def __init__(self, world: World, index: int, flow: Flow, execution: Execution) -> None:
        super().__init__(index, flow, execution, world.limits)
        self._world = world

    def step(
        self, branch_id: str, outcome: Outcome | None, now: int
    ) -> tuple[list[Performance], list[tuple[str, int]]]:
        """See `Course`."""
        over = self.execution.ended_at is not None
        effects, wakes = super().step(branch_id, outcome, now)
        if self.execution.owes and not over and self._concerns_others():
            # Who takes a turn tells at once, but not before the effects of that turn have begun.
            if effects:
                self._world.due.append(Due(now, partial(self._world.settle, self)))
            else:
                self._world.settle(self, now)
        return effects, wakes

    def _concerns_others(self) -> bool:
        ended = self.execution.ended_at is not None
        return ended or next(let_go(self.flow, self.execution), None) is not None

    def receive(self, event: Received, now: int) -> list[tuple[str, int]] | None:
        """Receive an event; return who goes on and when (ms), None when it is not concerned."""
        made = super().receive(event, now)
        self._found(now)
        return made

    def cancel(self, now: int) -> None:
        """Be cancelled at a moment (ms)."""
        super().cancel(now)
        self._found(now)

    def _found(self, now: int) -> None:
        """Let others hear of an end that came from outside, when the sweep would find it."""
        if self.execution.owes and self.execution.ended_at is not None:
            self._world.due.append(Due(now + SWEEP_MS, partial(self._world.settle, self)))


class World:
    """Executions, and what they share.

    Parameters
    ----------
    begin : callable
        Makes a member of a flow's execution that another has started.
    started : mapping
        The flows that can be started so; of others it is taken as given that they start.
    limits : Limits, optional
        Bounds of executions and results.

    Attributes
    ----------
    due : list of Due
        What is to happen, for whoever drives the executions to take.
    limits : Limits
        As given.
    """

    def __init__(
        self,
        begin: Callable[[Flow, Execution], Member],
        started: Started,
        limits: Limits = Limits(),  # noqa: B008 - frozen
    ) -> None:
        self.due: list[Due] = []
        self.limits = limits
        self._begin = begin
        self._started = started
        self._members: dict[str, list[Member]] = {}
        self._last: dict[tuple[str, str], Member] = {}
        self._by_id: dict[str, Member] = {}
        self._told: dict[str, Contact] = {}
        self._cells: dict[str, Any] = {}

    def may_enter(self, flow: Flow, execution: Execution) -> bool:
        """Return whether a flow's entry policy lets an execution begin."""
        last = self._last.get((execution.contact_id or "", execution.flow_id))
        if last is None:
            return True
        known = last.execution
        entered = Entered(known.id, known.created_at, live=known.ended_at is None)
        return may_enter(flow.options.entry, execution, entered)

    def add(self, member: Member, *, news: bool = True) -> None:
        """Take in an execution that has entered; its root branch goes on at once.

        Without `news` it knows nothing new of its contact, as one that another has started.
        """
        execution = member.execution
        who = execution.contact_id
        self._by_id[execution.id] = member
        if who is not None:
            self._members.setdefault(who, []).append(member)
            self._last[who, execution.flow_id] = member
            if news:
                (self._told[who],) = contacts_of([execution])
        self.due.append(Due(to_ms(execution.created_at), "root", member))

    def contact(self, contact_id: str) -> dict[str, Any]:
        """Return what a contact is known by now: as a trigger told of it, and flows changed it."""
        told = self._told.get(contact_id)
        return {} if told is None else shown(told, self._cells.get(cell_of(contact_id))).attributes

    def deliver(
        self, contact_id: str, event: Received, now: int, besides: Collection[str] = ()
    ) -> list[Member]:
        """Give an event to a contact's executions under way, but not to those `besides`.

        Returns
        -------
        list of Member
            Those that have received it.
        """
        if size_of(event.payload) > self.limits.result_bytes:
            event = replace(event, payload=None)
        heard = []
        for member in self._live(contact_id):
            if member.execution.id in besides:
                continue
            if self._give(member, event, now):
                heard.append(member)
        return heard

    def settle(self, member: Member, now: int) -> None:
        """Do what follows for others from what has become of an execution, as workers do."""
        execution = member.execution
        for _, child in let_go(member.flow, execution):
            known = self._by_id.get(child)
            if known is not None and known.execution.ended_at is None:
                known.cancel(now)
                self.settle(known, now)
        if execution.ended_at is None or not execution.owes:
            return
        member.execution = replace(execution, owes=False, updated_at=from_ms(now))
        parent = self._by_id.get(parent_of(execution) or "")
        if parent is not None and parent.execution.ended_at is None:
            self._give(parent, told(member.flow, execution, self.limits.result_bytes), now)

    def perform(self, asking: Execution, performance: Performance, now: int) -> Outcome | None:
        """Perform an internal effect; None where it is none."""
        kind, moment = performance.effect.kind, from_ms(now)
        if kind in KINDS:
            return self._change(performance, moment)
        if kind == STOP:
            flow_ids = performance.effect.request["flowIds"]
            return Outcome("completed", result=self._stop(asking, flow_ids, now))
        if kind == START:
            return self._start(asking, performance, moment)
        if kind == CALL:
            request = performance.effect.request
            flow = self._started[request["flowId"], request["version"]]
            return self._create(asking, performance, flow, moment, waits=True)
        return None

    def _give(self, member: Member, event: Received, now: int) -> bool:
        wakes = member.receive(event, now)
        self.due += [Due(at, branch_id, member) for branch_id, at in wakes or ()]
        return wakes is not None

    def _live(self, contact_id: str) -> list[Member]:
        """Return a contact's executions under way, the latest first, as a store lists them."""
        members = self._members.get(contact_id, ())
        live = [member for member in members if member.execution.ended_at is None]
        live.sort(key=lambda m: (m.execution.created_at, m.execution.id), reverse=True)
        return live

    def _change(self, performance: Performance, now: datetime) -> Outcome:
        try:
            asked = sharing(performance.effect, now, self._stored)
            state, answer = asked.change(self._cells.get(asked.cell_id))
        except NodeFailed as failure:
            return _failed(failure.code, failure.message)
        self._cells[asked.cell_id] = state
        return outcome_of(performance.effect, answer)

    def _stored(self, contact_id: str) -> Contact:
        try:
            return self._told[contact_id]
        except KeyError:
            raise NotFound(f"there is no contact {contact_id}") from None

    def _stop(self, asking: Execution, flow_ids: list[str] | None, now: int) -> dict[str, Any]:
        stopped = []
        for member in self._live(asking.contact_id or ""):
            execution = member.execution
            wanted = flow_ids is None or execution.flow_id in flow_ids
            if wanted and execution.id != asking.id:
                member.cancel(now)
                stopped.append(execution.id)
        return {"stopped": len(stopped), "executionIds": stopped[:NAMED]}

    def _start(self, asking: Execution, performance: Performance, now: datetime) -> Outcome:
        flow = self._started.get((performance.effect.request["flowId"], None))
        if flow is None:
            return answer_of(child_id(asking.id, performance.key), "", waits=False)
        return self._create(asking, performance, flow, now, waits=False)

    def _create(
        self, asking: Execution, performance: Performance, flow: Flow, now: datetime, *, waits: bool
    ) -> Outcome:
        """Create the execution that is asked for, where it may be."""
        request, key = performance.effect.request, performance.key
        try:
            execution = started_by(
                asking, key, flow, request, now=now, limits=self.limits, waits=waits
            )
        except (Invalid, NotFound) as refusal:
            return _failed(refusal.code, str(refusal))
        if execution is None:
            return answer_of(None, FILTERED, waits=waits)
        if not self.may_enter(flow, execution):
            return answer_of(None, refusal_of(flow, execution), waits=waits)
        self.add(self._begin(flow, execution), news=False)
        return answer_of(execution.id, "", waits=waits)


def _failed(code: str, message: str) -> Outcome:
    return Outcome("failed", error={"code": code, "message": message, "transient": False})
