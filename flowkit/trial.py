"""One contact's way through a flow, tried out: which messages go out when, and why.

Owns `test` for tests of flows, and what `Flow.explain` gives: the engine itself under a virtual
clock, with each node's decision written down, the rule and the values that led to it. How it is
told stands in `telling`.
May import `telling`, `course`, `engine`, `execution`, `flow`, `nodetype`, `errors`, `problems`,
`starting`, `watching`, `whatsapp`, `wire`, `world`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, NamedTuple

from flowkit import engine
from flowkit.course import Due, run
from flowkit.engine import Performance, Received
from flowkit.errors import Invalid, NotFound
from flowkit.execution import Execution, NodeRun, run_order
from flowkit.flow import Flow
from flowkit.nodetype import Outcome
from flowkit.problems import Problem, errors
from flowkit.starting import names_before, nodes_of, started_flows
from flowkit.telling import Decision, Heard, Looking, ended_of, heard_of, told_of, why
from flowkit.watching import watched
from flowkit.whatsapp import MESSAGE
from flowkit.wire import cut, from_ms, iso, parse_iso, to_ms
from flowkit.world import Member, World

NAME = "trial"
"""Id of the execution that is tried."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A message that went to the channel: from which node, when, and what it asked for.

    A node of another flow that was started is named ``"id/node"``, here and everywhere in a trial.
    """

    node_id: str
    at: datetime
    request: dict[str, Any]
    attempt: int = 0

    @property
    def text(self) -> str | None:
        """The text, of a text message."""
        body: str | None = self.request.get("text", {}).get("body")
        return body


@dataclass(frozen=True, slots=True)
class Journey:
    """What happened to a contact.

    Attributes
    ----------
    started : bool
        False when the flow's filter said no; nothing happened then.
    execution : Execution or None
        Its record.
    messages : list of Sent
        What went to the channel, in the order of time; each attempt is one.
    decisions : list of Decision
        What each node decided, in the order of time; of a wait for an event also how it ended,
        and of an effect on shared state what was decided there.
    events : list of Heard
        The events that came, and what each did.
    """

    execution: Execution | None
    messages: list[Sent]
    decisions: list[Decision]
    events: list[Heard]

    @property
    def started(self) -> bool:
        """Whether the flow was started at all."""
        return self.execution is not None

    @property
    def status(self) -> str | None:
        """Status of the execution at the end."""
        return None if self.execution is None else self.execution.status

    @property
    def sent(self) -> list[tuple[str, str]]:
        """Node and moment of each message: ``[("hello", "2026-12-01T09:00:00.000Z"), ...]``."""
        return [(message.node_id, iso(message.at)) for message in self.messages]

    @property
    def path(self) -> list[str]:
        """The nodes that ran, in order."""
        return [run.node_id for run in self._runs()]

    def run_of(self, node_id: str) -> NodeRun:
        """Return the run of a node.

        Raises
        ------
        NotFound
            When the contact did not come to it; the message says where it went.
        """
        for node_run in self._runs():
            if node_run.node_id == node_id:
                return node_run
        raise NotFound(f"the contact did not come to {node_id!r}, but to {', '.join(self.path)}")

    def _runs(self) -> list[NodeRun]:
        return (
            [] if self.execution is None else sorted(self.execution.executed_nodes, key=run_order)
        )

    def to_records(self) -> list[dict[str, Any]]:
        """Return events and decisions as JSON data, in the order of time."""
        return [told.to_dict() for told in self._told()]

    def _told(self) -> list[Heard | Decision]:
        return sorted([*self.events, *self.decisions], key=lambda told: told.at)

    def __str__(self) -> str:
        if self.execution is None:
            return "The flow was not started: its filter does not hold for this contact."
        failures = [
            f"{r.node_id} failed: {(r.error or {}).get('message')}"
            for r in self._runs()
            if r.status == "failed"
        ]
        ended_by = self.execution.ended_by
        early = "" if ended_by is None else f", ended by {why(ended_by)}"
        ending = f"The execution is {self.execution.status}{early}."
        return "\n".join([*map(str, self._told()), *failures, ending])


class Coming(NamedTuple):
    """An event that is to come: at a moment, or so long after the start."""

    type: str
    payload: Any
    at: datetime | None
    after: timedelta

    def moment(self, start: datetime) -> datetime:
        """Return when it comes, where the flow starts so."""
        return start + self.after if self.at is None else self.at


@dataclass(frozen=True)
class Trial:
    """A flow that is to be tried with a contact; each method returns another trial.

    Examples
    --------
    >>> from flowkit import Flow
    >>> from flowkit.trial import test
    >>> flow = Flow("Hi", trigger="signed_up").delay(hours=1).send(text="Hi!", id="hi").end()
    >>> contact = {"id": "c1", "phone": "+5511999990000"}
    >>> test(flow).with_contact(contact).at("2026-12-01T09:00Z").run().sent
    [('hi', '2026-12-01T10:00:00.000Z')]
    >>> flow = Flow("Pay", trigger="x").wait_for("paid", days=1).send(text="Thanks", id="ok").end()
    >>> trial = test(flow).with_contact(contact).at("2026-12-01T09:00Z")
    >>> trial.event("paid", after=timedelta(hours=2)).run().sent
    [('ok', '2026-12-01T11:00:00.000Z')]
    >>> part = Flow("Part", trigger="called", id="part").send(text="Hello", id="hello").end()
    >>> flow = Flow("Whole", trigger="x").subflow("part", 1).send(text="Bye", id="bye").end()
    >>> [node for node, _ in test(flow).with_flows(part).with_contact(contact).run().sent]
    ['part/hello', 'bye']
    """

    flow: Flow
    contact: Mapping[str, Any] | None = None
    payload: Any = None
    start: datetime = datetime(2026, 1, 5, 9, tzinfo=UTC)
    end: datetime | None = None
    outcomes: Mapping[str, tuple[Outcome, ...]] = field(default_factory=dict)
    seconds: float = 0.0
    events: tuple[Coming, ...] = ()
    flows: tuple[Flow, ...] = ()

    def with_contact(self, contact: Mapping[str, Any]) -> Trial:
        """Try it with this contact; the payload holds it unless another is given."""
        return replace(self, contact=dict(contact))

    def with_payload(self, payload: Any) -> Trial:
        """Start it with this payload; without a contact of its own the flow finds it there."""
        return replace(self, payload=payload)

    def with_flows(self, *flows: Flow) -> Trial:
        """Let nodes run (SUBFLOW) or start (START_FLOW) these, by their ids.

        One without a version is whichever is asked for. What START_FLOW starts that is not among
        them is taken as given.
        """
        return replace(self, flows=flows)

    def at(self, moment: datetime | str) -> Trial:
        """Start it at a moment: aware, or ISO 8601 with its zone."""
        return replace(self, start=_moment(moment))

    def until(self, moment: datetime | str) -> Trial:
        """Look at a moment; to the end without."""
        return replace(self, end=_moment(moment))

    def event(
        self,
        type: str,
        payload: Any = None,
        *,
        at: datetime | str | None = None,
        after: timedelta | None = None,
    ) -> Trial:
        """Let an event come for the contact, at a moment or so long after the start.

        It does what the service does with it: it wakes who waits for it, also later, meets goals
        and exit conditions. Without a moment it comes right after the start.

        Parameters
        ----------
        type : str
            Such as purchase, or whatsapp.message for what the contact writes.
        payload : JSON value, optional
            What conditions see as ``event``.
        at, after : datetime or str, timedelta, optional
            One of them; not before the start.

        Raises
        ------
        Invalid
            When both are given, or the moment has no zone.
        """
        if at is not None and after is not None:
            message = "An event comes at a moment or after some time: give one of the two."
            raise Invalid([Problem("trial.event", "/at", message)])
        coming = Coming(type, payload, None if at is None else _moment(at), after or timedelta(0))
        return replace(self, events=(*self.events, coming))

    def taking(self, seconds: float) -> Trial:
        """Let every effect take so long; none takes any time without."""
        return replace(self, seconds=seconds)

    def failing(
        self,
        node_id: str,
        code: str = "refused",
        *,
        transient: bool = False,
        times: int | None = None,
    ) -> Trial:
        """Let the effect of a node fail, each time or so many times.

        Raises
        ------
        Invalid
            When the flow has no such node.
        """
        error = {"code": code, "message": f"the trial lets {node_id} fail", "transient": transient}
        failed = Outcome("failed", error=error)
        return self.ending(node_id, *([failed] if times is None else [failed] * times + [DONE]))

    def ending(self, node_id: str, *outcomes: Outcome) -> Trial:
        """Let the attempts of a node's effect end so, the last of them for all that follow.

        Raises
        ------
        Invalid
            When the flow has no such node.
        """
        if node_id not in nodes_of(self.flow, self.flows):
            message = f"The flow has no node {node_id!r}."
            raise Invalid([Problem("trial.node", "/node", message)])
        return replace(self, outcomes={**self.outcomes, node_id: outcomes})

    def run(self) -> Journey:
        """Let it happen.

        Raises
        ------
        Invalid
            When the flow has errors or cannot be started so, or an event comes before the start.
        """
        found = errors(self.flow.validate())
        moments = [coming.moment(self.start) for coming in self.events]
        for number, moment in enumerate(moments):
            if moment < self.start:
                message = "An event that comes before the start is not received."
                found.append(Problem("trial.event", f"/events/{number}", message))
        flow = self.flow.replace(id=self.flow.id or NAME, version=self.flow.version or 1)

        def settled(asking: Flow, node_id: str) -> bool:
            return names_before(flow, asking.id) + node_id in self.outcomes

        started, wrong = started_flows(flow, self.flows, settled, "by ending(node, ...)")
        if found := found + wrong:
            raise Invalid(found)
        payload = {"contact": self.contact} if self.payload is None else self.payload
        contact = None if self.contact is None else dict(self.contact)
        execution = engine.start(flow, payload, execution_id=NAME, now=self.start, contact=contact)
        journey = Journey(execution, [], [], [])
        if execution is None:
            return journey
        end = None if self.end is None else to_ms(self.end)

        def begin(of: Flow, execution: Execution) -> _Watched:
            return _Watched(world, of, execution, journey, names_before(flow, of.id))

        world = World(begin, started)
        course = begin(flow, execution)
        world.add(course)

        def answers(course: _Watched, performance: Performance, now: int) -> tuple[Outcome, int]:
            node_id = course.names + course.node_of(performance.branch_id)
            effect, at = performance.effect, self.start + timedelta(milliseconds=now - begun)
            if effect.kind == MESSAGE:
                sent = Sent(node_id, at, effect.request, performance.attempt)
                journey.messages.append(sent)
            known = self.outcomes.get(node_id, (DONE,))
            outcome = known[min(performance.attempt, len(known) - 1)]
            if outcome is DONE and effect.kind == MESSAGE:
                outcome = Outcome("completed", result={"messageId": f"trial.{performance.key}"})
            elif outcome is DONE:
                decided = world.perform(course.execution, performance, now)
                if decided is not None:
                    own = course.node_of(performance.branch_id)
                    course.tell(at, performance.branch_id, own, ended_of(decided))
                    outcome = decided
            return outcome, now + round(self.seconds * 1000)

        def comes(event: Received, now: int) -> None:
            heard = world.deliver(execution.contact_id or "", event, now)
            if all(member is not course for member in heard):
                journey.events.append(heard_of(flow, course.execution, event, None, from_ms(now)))

        begun = to_ms(cut(self.start))
        for number, (coming, moment) in enumerate(zip(self.events, moments, strict=True)):
            event = Received(
                id=f"event{number}", type=coming.type, payload=coming.payload, at=cut(moment)
            )
            world.due.append(Due(to_ms(event.at), partial(comes, event)))
        run([], answers, end, world.due)
        return replace(journey, execution=course.execution)


DONE = Outcome("completed")


def test(flow: Flow) -> Trial:
    """Return a trial of a flow, for tests: ``test(flow).with_contact({...}).run().sent``."""
    return Trial(flow)


test.__test__ = False  # type: ignore[attr-defined]  # pytest is not to take it for a test


def explain(
    flow: Flow,
    contact: Mapping[str, Any],
    *,
    at: datetime | str | None = None,
    payload: Any = None,
    events: Iterable[tuple[Any, ...]] = (),
    flows: Iterable[Flow] = (),
) -> Journey:
    """Return what happens to a contact and why; see `Flow.explain`."""
    trial = test(flow).with_flows(*flows).with_contact(contact).with_payload(payload)
    for type_, moment, *said in events:
        when = {"after" if isinstance(moment, timedelta) else "at": moment}
        trial = trial.event(type_, *said, **when)
    return (trial if at is None else trial.at(at)).run()


def _moment(moment: datetime | str) -> datetime:
    try:
        return parse_iso(moment) if isinstance(moment, str) else cut(moment)
    except ValueError as error:
        message = f"{moment!r} is no moment: give an aware datetime or ISO 8601 with its zone."
        raise Invalid([Problem("trial.time", "/at", message)]) from error


class _Watched(Member):
    """A course on which each decision is written down; its nodes are told behind `names`."""

    def __init__(
        self, world: World, flow: Flow, execution: Execution, journey: Journey, names: str
    ) -> None:
        super().__init__(world, 0, watched(flow, self.asked), execution)
        self._flow, self.names = flow, names
        self._decisions, self._events = journey.decisions, journey.events
        self._silent: str | None = None

    def node_of(self, branch_id: str) -> str:
        """Return where a branch is."""
        branches = self.execution.branches
        return next(b.current_node_id for b in branches if b.branch_id == branch_id)

    def step(
        self, branch_id: str, outcome: Outcome | None, now: int
    ) -> tuple[list[Performance], list[tuple[str, int]]]:
        """See `Course`."""
        node_id = self.node_of(branch_id)
        over = {wait.idempotency_key for wait in self._waits() if wait.status != "waiting"}
        waiting = any((w.node_id, w.status) == (node_id, "waiting") for w in self._waits())
        # Of a failed effect the engine asks its policies, of a wait what it is for: that is no
        # decision.
        self._silent = node_id if outcome is not None or waiting else None
        first = len(self._decisions)
        made = super().step(branch_id, outcome, now)
        for wait in self._waits():
            if wait.idempotency_key not in over and wait.status == "completed":
                self._tell_of(wait, from_ms(now), first)
        return made

    def receive(self, event: Received, now: int) -> list[tuple[str, int]] | None:
        """See `flowkit.world.Member`."""
        before = self.execution
        made = super().receive(event, now)
        if made is not None:
            heard = heard_of(self._flow, before, event, self.execution, from_ms(now), self.names)
            self._events.append(heard)
        return made

    def tell(
        self, at: datetime, branch_id: str, node_id: str, decided: str, place: int | None = None
    ) -> None:
        """Write down what was decided of a node; before the decision at `place`, if not last."""
        type_ = self._flow.behaviour(node_id).type
        told = Decision(at, branch_id, self.names + node_id, type_, (), decided)
        self._decisions.insert(len(self._decisions) if place is None else place, told)

    def _waits(self) -> list[NodeRun]:
        """Return the runs of nodes that wait for events."""
        runs = self.execution.executed_nodes
        return [run for run in runs if self._flow.behaviour(run.node_id).listens()]

    def _tell_of(self, wait: NodeRun, at: datetime, first: int) -> None:
        """Write down how a wait has ended, right behind what it decided in this step."""
        said = (wait.result or {}).get("receivedAt")
        how = "no event has come in time" if said is None else f"an event has come at {said}"
        place = first
        for number, decision in enumerate(self._decisions[first:], start=first + 1):
            place = number if decision.node_id == self.names + wait.node_id else place
        decided = f"{how}: goes on by {wait.source_handle!r}"
        self.tell(at, wait.branch_id, wait.node_id, decided, place)

    def asked(self, node_id: str, scope: Any) -> Any:
        """Let a node decide, and write it down."""
        node = self._flow.behaviour(node_id)
        look = Looking(scope)
        said: Any = None
        try:
            said = node.run(look)
            return said
        except Exception as failure:
            said = failure
            raise
        finally:
            if node_id != self._silent:
                branch_id = scope._branch.branch_id
                saw = tuple(look.saw)
                name = self.names + node_id
                told = Decision(scope.now, branch_id, name, node.type, saw, told_of(said))
                self._decisions.append(told)
