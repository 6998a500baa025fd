"""What a worker with a SQLite store makes of a population that behaves as a model says.

Everything that decides is the service's own: the runner, the store, its entries, events, internal
effects and flows. Only the surroundings are modelled, with the model's own draws.

An event can let several executions of its contact go on in the same millisecond. Workers promise
no order then (the store gives them by their ids, which are hashes), though who is first at a
bucket, or stops the others, makes a difference. So things are done here one by one, what came up
first first, which is one of the orders that workers may take and the one that the simulator takes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from heapq import heappop, heappush
from pathlib import Path
from typing import Any

from flowkit import engine
from flowkit.clock import ManualClock
from flowkit.engine import Ended, Limits, Performance, Received
from flowkit.errors import Invalid
from flowkit.execution import Answer, BranchRef, Execution, Patch, derived_id
from flowkit.flow import Flow
from flowkit.nodetype import Outcome
from flowkit.sharing import KINDS
from flowkit.simulation.behaviour import VISIT, Behaviour, draws, outcome
from flowkit.simulation.eventful import AGAIN_MOST, CLOSED, WINDOW_MS
from flowkit.simulation.plan import execution_id
from flowkit.simulation.replies import consequences
from flowkit.testing import EPOCH
from flowkit.whatsapp import is_inbound
from flowkit.wire import from_ms, to_ms, to_wire
from flowkit.world import SWEEP_MS
from service.contacts import remember
from service.entries import create
from service.events import deliver
from service.store.sqlite import SqliteStore
from service.worker.flows import KINDS as FLOWS
from service.worker.flows import Flows
from service.worker.internal import Internal
from service.worker.runner import Held, Runner

SEED = 7
SWEEP = timedelta(milliseconds=SWEEP_MS)
LIMITS = Limits()


def id_of(number: int) -> str:
    """Return the id of the execution that the simulation starts for the contact of a number."""
    return execution_id(f"{to_ms(EPOCH):012x}", SEED, number)


class Recording(SqliteStore):
    """A store that knows in which order contacts entered, and branches came to where they are."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.entered: dict[tuple[str | None, str], list[str]] = {}
        self.moved: dict[tuple[str, str], int] = {}
        self._moves = 0

    def commit(self, patches: Sequence[Patch], **options: Any) -> list[Answer]:
        for patch in patches:
            branches = [move.branch for move in patch.move] + patch.spawn
            self._note(patch.execution_id, [branch.branch_id for branch in branches])
        return super().commit(patches, **options)

    def _note(self, execution_id: str, branch_ids: Sequence[str]) -> None:
        self._moves += 1
        self.moved |= {(execution_id, branch_id): self._moves for branch_id in branch_ids}

    def create(self, executions: Sequence[Execution], **options: Any) -> list[str]:
        refused = super().create(executions, **options)
        for execution in executions:
            if execution.id not in refused:
                whose = execution.contact_id, execution.flow_id
                self.entered.setdefault(whose, []).append(execution.id)
                self._note(execution.id, ["root"])
        return refused


class Orderly(Runner):
    """A worker that takes one turn after the other, in the order in which they came up."""

    _store: Recording

    def _news(self) -> list[Held]:
        return sorted(super()._news(), key=self._came_up)[:1]

    def _came_up(self, held: Held) -> int:
        moved, id = self._store.moved, held.claim.head.id
        return min(moved[id, event.branch_id] for event in held.events)


@dataclass
class Production:
    """A store, a worker, and contacts."""

    store: Recording
    flow: Flow
    people: list[dict[str, Any]]
    behaviour: Behaviour
    payload: Callable[[dict[str, Any]], Any]
    clock: ManualClock = field(default_factory=lambda: ManualClock(EPOCH))
    due: list[tuple[datetime, int, Callable[[], None]]] = field(default_factory=list)
    again: Counter[str] = field(default_factory=Counter)
    wrote: dict[str, int] = field(default_factory=dict)
    optouts: dict[str, int] = field(default_factory=dict)
    begun: int = 0
    swept: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.internal = Internal(self.store, self.clock)
        self.flows = Flows(self.store, self.clock, LIMITS, lambda: None)
        self.judges = self.behaviour.judges_window(self.flow)

    def then(self, at: datetime, what: Callable[[], None]) -> None:
        """Let something happen at a moment."""
        self.begun += 1
        heappush(self.due, (at, self.begun, what))

    # -- triggers, as the API handles them

    def trigger(self, number: int) -> None:
        person = self.people[number]
        who = person["id"]
        if who not in self.again:
            self.again[who] = 0
            for place, occurrence in enumerate(self.behaviour.events):
                chance, spread = draws(SEED, who, f"|event{place}", 0)[:2]
                if occurrence.fits(person) and chance < occurrence.probability:
                    at = self.clock.now() + timedelta(milliseconds=occurrence.after.ms(spread))
                    name = f"sim.{who}.event{place}"
                    self.comes(number, name, occurrence.event, occurrence.payload, at)
        event = self.received(f"sim.{id_of(number)}", self.flow.trigger_type, self.payload(person))
        self.start(id_of(number), event, person)
        self.deliver(who, event, id_of(number))

    def comes(self, number: int, name: str, type_: str, payload: Any, at: datetime) -> None:
        self.then(at, partial(self.happens, number, name, type_, payload))

    def happens(self, number: int, name: str, type_: str, payload: Any) -> None:
        person = self.people[number]
        event = self.received(name, type_, {"contact": person, **payload})
        id = derived_id(id_of(number), name)
        if type_ == self.flow.trigger_type and self.again[person["id"]] < AGAIN_MOST:
            self.again[person["id"]] += 1
            self.start(id, event, None)
        self.deliver(person["id"], event, id)

    def received(self, name: str, type_: str, payload: Any) -> Received:
        return Received(id=name, type=type_, payload=payload, at=self.clock.now())

    def start(self, id: str, event: Received, contact: dict[str, Any] | None) -> None:
        try:
            execution = engine.start(
                self.flow, event.payload, execution_id=id, now=event.at, contact=contact
            )
        except Invalid:
            return
        if execution is not None and not create(self.store, self.version, [execution]):
            remember(self.store, [execution])

    def deliver(self, who: str, event: Received, started: str) -> None:
        if is_inbound(event.type):
            self.wrote[who] = to_ms(event.at)
        deliver(
            self.store, self.version, [who], event, now=event.at, limits=LIMITS, besides={started}
        )

    def version(self, flow_id: str, version: int) -> Flow:
        return self.store.get_version(flow_id, version)

    # -- effects

    def submit(self, work: Any, ref: BranchRef, performance: Performance) -> None:
        """In place of a thread pool: an effect has ended when its modelled latency has passed."""
        ended, at = self.outcome(performance)
        self.then(at, partial(self.report, ref, ended))

    def report(self, ref: BranchRef, ended: Outcome) -> None:
        event = Ended(ref.branch_id, ended, self.clock.now())
        self.runner._inbox.put((ref, event))

    def outcome(self, performance: Performance) -> tuple[Outcome, datetime]:
        kind, now = performance.effect.kind, self.clock.now()
        if kind in KINDS:
            return self.internal.perform(performance), now
        if kind in FLOWS:
            return self.flows.perform(performance), now
        execution = self.store.get_execution(performance.key.partition("_")[0])
        who = execution.contact_id or ""
        number = [person["id"] for person in self.people].index(who)
        contact = self.store.get_contact(who).attributes
        visit = performance.key.partition("_")[2]
        drawn = visit + self.entry(execution)
        names = "" if execution.flow_id == self.flow.id else f"{execution.flow_id}/"
        reaction = self.behaviour.reaction(names + VISIT.sub("", visit), contact)
        chance, spread = draws(SEED, who, drawn, performance.attempt)[:2]
        at = now + timedelta(milliseconds=reaction.latency.ms(spread))
        wrote = self.wrote.get(who)
        if self.judges and (wrote is None or to_ms(now) - wrote >= WINDOW_MS):
            return CLOSED, at
        ended = outcome(reaction, chance, performance.key, performance.attempt)
        if ended.status == "completed":
            _, follows = consequences(
                *(self.behaviour, reaction, SEED, who, drawn, performance, to_ms(at)), self.optouts
            )
            for event in follows:
                moment = from_ms(event.at)
                self.comes(number, event.name, event.type, event.payload, moment)
        return ended, at

    def entry(self, execution: Execution) -> str:
        """Return what tells the draws of a contact's later entries from those of the first."""
        whose = execution.contact_id, execution.flow_id
        place = self.store.entered[whose].index(execution.id) + 1
        other = "" if execution.flow_id == self.flow.id else f"@{execution.flow_id}"
        return other + (f"#{place}" if place > 1 else "")

    # -- the worker

    def settle(self, id: str) -> None:
        """In place of the sweep."""
        self.runner._kin.settle(id, self.clock.now())

    def never(self, performance: Performance) -> Outcome:
        raise AssertionError("the pool of this worker performs nothing itself")

    def run(self) -> None:
        """Let everything happen."""
        runner = self.runner = Orderly(
            self.store, self.never, clock=self.clock, owner="a", lease_seconds=1e7,
            sweep_seconds=0.0, concurrency=1_000,
        )  # fmt: skip
        while True:
            runner.wake()
            runner._collect(0.0)
            runner.step(self)  # type: ignore[arg-type]
            now = self.clock.now()
            for head in self.store.list_owing(after=None, limit=100):
                if head.id not in self.swept:
                    self.swept.add(head.id)
                    self.then(now + SWEEP, partial(self.settle, head.id))
            moments = [self.due[0][0]] if self.due else []
            sleeping = self.store.next_due(now=now)
            if sleeping is not None and sleeping < now + timedelta(days=100):  # no lease
                moments.append(sleeping)
            if not moments:
                break
            self.clock.advance(max(min(moments) - now, timedelta(0)))
            if self.due and self.due[0][0] <= self.clock.now():
                heappop(self.due)[2]()


def production(
    directory: Path,
    flow: Flow,
    people: list[dict[str, Any]],
    behaviour: Behaviour,
    payload: Callable[[dict[str, Any]], Any],
    over: timedelta = timedelta(0),
    flows: Sequence[Flow] = (),
) -> list[Any]:
    """Return the documents of the executions after everything has happened."""
    with closing(Recording(directory / "flowkit.db")) as store:
        for known in (flow, *flows):
            store.insert_flow(known.replace(created_at=EPOCH, updated_at=EPOCH), publish=True)
        made = Production(store, flow, people, behaviour, payload)
        for number in range(len(people)):
            at = EPOCH + timedelta(
                milliseconds=over // timedelta(milliseconds=1) * number // len(people)
            )
            made.then(at, partial(made.trigger, number))
        made.run()
        return [to_wire(store.get_execution(id)) for ids in store.entered.values() for id in ids]
