"""What executions in memory have in common: contacts, cells, entries, and the events that come.

Owns what the service keeps beside executions, for drivers with a virtual clock; each decision is
the code that decides it there. There is one flow: what another would do is not known here.
May import `course`, `contacts`, `engine`, `entry`, `execution`, `flow`, `nodetype`, `nodes.flows`,
`sharing`, `size`, `starting`, `errors`, `wire`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import datetime
from typing import Any, Protocol

from flowkit.contacts import Contact, cell_of, contacts_of, shown
from flowkit.course import Due
from flowkit.engine import Limits, Performance, Received
from flowkit.entry import Entered, may_enter, refusal_of
from flowkit.errors import Invalid, NodeFailed, NotFound
from flowkit.execution import Execution, derived_id
from flowkit.flow import Flow
from flowkit.nodes.flows import NAMED, START, STOP
from flowkit.nodetype import Outcome
from flowkit.sharing import KINDS, outcome_of, sharing
from flowkit.size import size_of
from flowkit.starting import FILTERED, started_by
from flowkit.wire import from_ms, to_ms


class Member(Protocol):
    """An execution in memory, under way or over."""

    @property
    def execution(self) -> Execution:
        """Its record."""
        ...

    def receive(self, event: Received, now: int) -> list[tuple[str, int]] | None:
        """Receive an event; return who goes on and when (ms), None when it is not concerned."""
        ...

    def cancel(self, now: int) -> None:
        """Be cancelled at a moment (ms)."""
        ...


class World:
    """Executions of a flow, and what they share.

    Parameters
    ----------
    flow : Flow
        With an id and a version.
    begin : callable, optional
        Makes a member of an execution that another has started; without it they are not followed.
    limits : Limits, optional
        Bounds of executions and results.

    Attributes
    ----------
    due : list of Due
        What is to happen, for whoever drives the executions to take.
    """

    def __init__(
        self,
        flow: Flow,
        begin: Callable[[Execution], Member] | None = None,
        limits: Limits = Limits(),  # noqa: B008 - frozen
    ) -> None:
        self.due: list[Due] = []
        self._flow = flow
        self._begin = begin
        self._limits = limits
        self._members: dict[str, list[Member]] = {}
        self._last: dict[str, Member] = {}
        self._told: dict[str, Contact] = {}
        self._cells: dict[str, Any] = {}

    def may_enter(self, execution: Execution) -> bool:
        """Return whether the flow's entry policy lets an execution begin."""
        last = self._last.get(execution.contact_id or "")
        if last is None:
            return True
        known = last.execution
        entered = Entered(known.id, known.created_at, live=known.ended_at is None)
        return may_enter(self._flow.options.entry, execution, entered)

    def add(self, member: Member, *, told: bool = True) -> None:
        """Take in an execution that has entered; its root branch goes on at once.

        With `told` what it knows of the contact is news, as that of a trigger is.
        """
        execution = member.execution
        who = execution.contact_id
        if who is not None:
            self._members.setdefault(who, []).append(member)
            self._last[who] = member
            if told:
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
        if size_of(event.payload) > self._limits.result_bytes:
            event = replace(event, payload=None)
        heard = []
        for member in self._live(contact_id):
            if member.execution.id in besides:
                continue
            wakes = member.receive(event, now)
            if wakes is not None:
                heard.append(member)
                self.due += [Due(at, branch_id, member) for branch_id, at in wakes]
        return heard

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
        return None

    def _live(self, contact_id: str) -> list[Member]:
        """Return a contact's executions under way, the latest first, as a store lists them."""
        members = self._members.get(contact_id, ())
        return [member for member in reversed(members) if member.execution.ended_at is None]

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
        if flow_ids is None or self._flow.id in flow_ids:
            for member in self._live(asking.contact_id or ""):
                if member.execution.id != asking.id:
                    member.cancel(now)
                    stopped.append(member.execution.id)
        return {"stopped": len(stopped), "executionIds": stopped[:NAMED]}

    def _start(self, asking: Execution, performance: Performance, now: datetime) -> Outcome:
        """Start this flow once more; of another it is taken as given that it starts."""
        request, started = performance.effect.request, derived_id(asking.id, performance.key)
        if self._begin is None or request["flowId"] != self._flow.id:
            return Outcome("completed", result={"executionId": started})
        try:
            execution = started_by(
                asking, performance.key, self._flow, request, now=now, limits=self._limits
            )
        except (Invalid, NotFound) as refusal:
            return _failed(refusal.code, str(refusal))
        if execution is None:
            return Outcome("completed", result={"executionId": None, "reason": FILTERED})
        if not self.may_enter(execution):
            result = {"executionId": None, "reason": refusal_of(self._flow, execution)}
            return Outcome("completed", result=result)
        self.add(self._begin(execution), told=False)
        return Outcome("completed", result={"executionId": started})


def _failed(code: str, message: str) -> Outcome:
    return Outcome("failed", error={"code": code, "message": message, "transient": False})
