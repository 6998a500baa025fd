"""Drives the engine over `MemoryStore` by hand: one execution, workers that do as they are told."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from flowkit import engine
from flowkit.engine import Ended, Event, Limits, Performance, Resume, Turn
from flowkit.execution import Answer, BranchRef, Claim, Execution, NodeRun, Patch
from flowkit.flow import Flow
from flowkit.nodetype import Outcome
from flowkit.testing import EPOCH, MemoryStore, check_invariants

LEASE = timedelta(seconds=30)
PAYLOAD = {"contact": {"id": "c1", "phone": "+5511999990000", "name": "Ana"}, "coin": True}
SENT = Outcome("completed", result={"messageId": "wamid.1"})
REFUSED = Outcome("failed", error={"code": "refused", "message": "no", "transient": False})
UNKNOWN = Outcome("unknown", error={"code": "outcome_unknown", "message": "?", "transient": False})

SAY = ("SEND_MESSAGE", {"kind": "text", "text": "Hello"})
SAY_AGAIN = ("SEND_MESSAGE", {"kind": "text", "text": "Hello", "onUnknown": "resend"})
SILENT = ("SEND_MESSAGE", {"kind": "text", "text": "{{ vars.nothing }}"})
"""Fails when it runs: the text comes out empty."""
COIN = ("CONDITION", {"expression": {"==": [{"var": "trigger.coin"}, True]}})


def delay(**amount: float) -> tuple[str, dict[str, Any]]:
    """Return a DELAY such as ``delay(days=1)``."""
    ((unit, number),) = amount.items()
    return ("DELAY", {"amount": number, "unit": unit})


def flow_of(nodes: dict[str, Any], *ways: str, trigger: dict[str, Any] | None = None) -> Flow:
    """Return a flow of nodes and ways such as ``start > check`` and ``check:true > a > end``.

    ``start`` and ``end`` are there without being named.
    """
    given = {"start": ("TRIGGER", trigger or {}), **nodes, "end": ("END", {})}
    edges = []
    for way in ways:
        steps = [step.strip() for step in way.split(">")]
        for source, target in pairwise(steps):
            node, _, handle = source.partition(":")
            edges.append(
                {
                    "id": f"e{len(edges)}",
                    "source": node,
                    "sourceHandle": handle or None,
                    "target": target.partition(":")[0],
                }
            )
    return Flow.from_dict(
        {
            "id": "flow",
            "name": "Drawn by hand",
            "triggerType": "test",
            "isActive": True,
            "version": 1,
            "nodes": [{"id": i, "type": t, "config": c} for i, (t, c) in given.items()],
            "edges": edges,
        }
    )


def begun(flow: Flow, payload: Any = PAYLOAD) -> Execution:
    """Return a started execution that no filter holds back."""
    execution = engine.start(flow, payload, execution_id="x", now=EPOCH)
    assert execution is not None
    return execution


@dataclass
class World:
    """One execution in a store, the time, and what was performed.

    `outcomes` says how an effect ends, None that it is still under way.
    """

    flow: Flow
    payload: Any = field(default_factory=lambda: copy.deepcopy(PAYLOAD))
    outcomes: Callable[[Performance], Outcome | None] = lambda performance: SENT
    limits: Limits = field(default_factory=Limits)
    now: datetime = EPOCH
    store: MemoryStore = field(default_factory=MemoryStore)
    performed: list[Performance] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.store.create([begun(self.flow, self.payload)])

    @property
    def execution(self) -> Execution:
        """The execution as recorded."""
        execution = self.store.get_execution("x")
        check_invariants(execution)
        return execution

    @property
    def branches(self) -> dict[str, str]:
        """Status of each branch."""
        return {b.branch_id: b.status for b in self.execution.branches}

    @property
    def nodes(self) -> dict[str, str]:
        """Status of each node that ran."""
        return {r.node_id: r.status for r in self.execution.executed_nodes}

    def run_of(self, node_id: str) -> NodeRun:
        """Return the run of a node."""
        (run,) = [r for r in self.execution.executed_nodes if r.node_id == node_id]
        return run

    def error(self, node_id: str) -> str:
        """Return the error code of a node."""
        return str((self.run_of(node_id).error or {}).get("code"))

    def sent(self) -> list[str]:
        """Return the keys under which effects were begun, in order."""
        return [performance.key for performance in self.performed]

    def wait(self, **by: float) -> None:
        """Let time pass."""
        self.now += timedelta(**by)

    def commit(self, patch: Patch) -> Answer:
        """Commit a patch."""
        (answer,) = self.store.commit([patch], now=self.now, lease_ms=LEASE.seconds * 1000)
        return answer

    def retry(self, *node_ids: str) -> str:
        """Retry by hand."""
        return self.commit(engine.retry(self.execution, node_ids or None, now=self.now)).outcome

    def cancel(self) -> str:
        """Cancel by hand."""
        return self.commit(engine.cancel(self.execution, now=self.now)).outcome

    def offer(self, performance: Performance, outcome: Outcome) -> bool:
        """Offer an outcome as evidence; return whether it was taken."""
        (run,) = [r for r in self.execution.executed_nodes if r.idempotency_key == performance.key]
        patch = engine.evidence("x", run, performance.attempt, outcome, self.now)
        return patch is not None and self.commit(patch).outcome == "ok"

    def run(self, owner: str = "a") -> Execution:
        """Let a worker do all that can be done now."""
        worker = Worker(self, owner)
        while worker.claim():
            worker.work()
        return self.execution


@dataclass
class Worker:
    """A worker under the control of a test."""

    world: World
    owner: str = "a"
    held: Claim | None = None
    events: list[Event] = field(default_factory=list)
    flying: list[Performance] = field(default_factory=list)
    done: dict[str, Performance] = field(default_factory=dict)
    epochs: dict[tuple[str, int], int] = field(default_factory=dict)

    def claim(self, limit: int = 1000) -> int:
        """Claim; return how many branches were given."""
        claims = self.world.store.claim(
            self.owner, now=self.world.now, lease_ms=LEASE.seconds * 1000, limit=limit
        )
        for claim in claims:
            if self.held is None:
                self.held = claim
            else:
                # What it thought its own and claims anew had been another's in between.
                self.give_up(claim.branches)
                self.held = Claim(
                    claim.head, self.held.branches | claim.branches, self.held.runs | claim.runs
                )
            self.events += [Resume(branch_id) for branch_id in claim.branches]
        return sum(len(claim.branches) for claim in claims)

    def decide(self) -> Turn:
        """Return what the engine makes of the events that there are."""
        assert self.held is not None
        return engine.advance(
            self.world.flow, self.held, self.events, now=self.world.now, limits=self.world.limits
        )

    def turn(self) -> str:
        """Take one turn with the events that there are; return the store's answer."""
        turn = self.decide()
        assert self.held is not None
        answer = self.world.commit(turn.patch)
        self.world.answers.append(answer.outcome)
        if answer.outcome == "ok":
            self.held, self.events = turn.claim, []
            self.flying += turn.effects
            for performance in turn.effects:
                epoch = turn.claim.branches[performance.branch_id].epoch
                self.epochs[performance.key, performance.attempt] = epoch
            self.world.performed += turn.effects
        elif answer.outcome == "lost":
            self.held = engine.with_runs(self.held, answer.runs)
        elif answer.outcome == "fenced":
            self.give_up(answer.fenced)
        elif answer.outcome == "cancelled":
            self.give_up(list(self.held.branches))
        else:
            stale = [event.branch_id for event in self.events]
            refs = [BranchRef("x", b, self.held.branches[b].epoch) for b in stale]
            self.give_up(stale)
            self.world.store.release(refs, now=self.world.now)
        return answer.outcome

    def give_up(self, branch_ids: Iterable[str]) -> None:
        """Forget branches that are not its own; what their effects came to is still evidence."""
        gone = set(branch_ids)
        for event in self.events:
            if isinstance(event, Ended) and event.branch_id in gone:
                self.world.offer(self.done[event.branch_id], event.outcome)
        assert self.held is not None
        self.held = engine.without(self.held, gone)
        self.events = [event for event in self.events if event.branch_id not in gone]

    def end(self, performance: Performance, outcome: Outcome) -> None:
        """Take in how an effect ended: as an event, or as evidence if the branch is gone."""
        self.flying.remove(performance)
        branch = self.held.branches.get(performance.branch_id) if self.held else None
        # One that was lost and claimed anew is another's: what was begun before is late.
        if branch and branch.epoch == self.epochs[performance.key, performance.attempt]:
            self.events.append(Ended(performance.branch_id, outcome, self.world.now))
            self.done[performance.branch_id] = performance
        else:
            self.world.offer(performance, outcome)

    def work(self) -> None:
        """Take turns until nothing is left to do but what is under way."""
        while True:
            while self.events:
                self.turn()
            done = [(p, self.world.outcomes(p)) for p in self.flying]
            ended = [(p, outcome) for p, outcome in done if outcome is not None]
            if not ended:
                return
            for performance, outcome in ended:
                self.end(performance, outcome)
