"""The state machine that drives a store and `MemoryStore` alike, and what always holds.

May import the core of `flowkit`, `memory`, `examples` and Hypothesis.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from flowkit import engine
from flowkit.engine import Ended, Limits, Resume
from flowkit.errors import Conflict
from flowkit.execution import (
    TERMINAL,
    BranchRef,
    Claim,
    Execution,
    Patch,
    idempotency_key,
    status_of,
)
from flowkit.flow import Flow
from flowkit.testing.examples import EPOCH, OUTCOMES, PAYLOADS, flows
from flowkit.testing.memory import MemoryStore


class StoreMachine(RuleBasedStateMachine):
    """Drives a store and `MemoryStore` alike and compares every answer and every record."""

    make_store: Callable[[], Any]
    LEASE_MS = 30_000

    def __init__(self) -> None:
        super().__init__()
        self.store = type(self).make_store()
        self.model = MemoryStore()
        self.now = EPOCH
        self.flows: dict[str, Flow] = {}
        self.claims: list[Claim] = []
        self.stale: list[Patch] = []

    def teardown(self) -> None:
        """Close the store."""
        self.store.close()

    def both(self, verb: str, *args: Any, **kwargs: Any) -> Any:
        """Call a verb of the store and of the model; they must answer alike."""
        ours = getattr(self.store, verb)(*args, **kwargs)
        model = getattr(self.model, verb)(*args, **kwargs)
        if verb == "claim":
            ours.sort(key=lambda claim: claim.head.id)
            model.sort(key=lambda claim: claim.head.id)
        assert ours == model
        return ours

    @precondition(lambda self: len(self.flows) < 5)
    @rule(flow=flows(), payloads=st.lists(PAYLOADS, min_size=1, max_size=3))
    def trigger(self, flow: Flow, payloads: list[Any]) -> None:
        """Start executions of a flow."""
        started = []
        for payload in payloads:
            execution_id = f"x{len(self.flows)}"
            self.flows[execution_id] = flow
            started.append(engine.start(flow, payload, execution_id=execution_id, now=self.now))
        self.both("create", started)

    @rule(seconds=st.sampled_from([0, 1, 5, 29, 31, 86_400, -3_600]))
    def pass_time(self, seconds: int) -> None:
        """Let time pass, or the clock go back."""
        self.now += timedelta(seconds=seconds)

    @rule(owner=st.sampled_from(["a", "b"]), limit=st.integers(1, 5), expired=st.booleans())
    def claim(self, owner: str, limit: int, expired: bool) -> None:
        """Claim for one of two workers."""
        self.claims += self.both(
            "claim", owner, now=self.now, lease_ms=self.LEASE_MS, limit=limit, expired=expired
        )

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), fork_queue=st.sampled_from([2, 10]))
    def advance(self, data: st.DataObject, fork_queue: int) -> None:
        """Let the holder of a claim, which may have lost it, take a turn and commit."""
        claim = self.claims.pop(data.draw(st.integers(0, len(self.claims) - 1)))
        events: list[Any] = []
        for branch in claim.branches.values():
            run = claim.runs.get(idempotency_key(claim.head.id, branch.current_node_id))
            inside = run and run.branch_id == branch.branch_id and run.status == "running"
            if inside and data.draw(st.booleans()):
                events.append(Ended(branch.branch_id, data.draw(OUTCOMES), self.now))
            else:
                events.append(Resume(branch.branch_id))
        flow = self.flows[claim.head.id]
        before = copy.deepcopy(claim)
        turn = engine.advance(
            flow, claim, events, now=self.now, limits=Limits(fork_queue=fork_queue)
        )
        assert claim == before, "the engine changed what it was given"
        (answer,) = self.both("commit", [turn.patch], now=self.now, lease_ms=self.LEASE_MS)
        self.stale.append(turn.patch)
        if answer.outcome == "ok" and turn.claim.branches:
            self.claims.append(turn.claim)
        elif answer.outcome == "lost":
            self.claims.append(engine.with_runs(claim, answer.runs))
        elif answer.outcome == "fenced":
            rest = engine.without(claim, answer.fenced)
            if rest.branches:
                self.claims.append(rest)

    @precondition(lambda self: self.stale)
    @rule(data=st.data())
    def commit_again(self, data: st.DataObject) -> None:
        """Commit a patch that was committed before: replay must change nothing twice."""
        patch = data.draw(st.sampled_from(self.stale))
        self.both("commit", [patch], now=self.now, lease_ms=self.LEASE_MS)

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), verb=st.sampled_from(["renew", "release"]))
    def keep_or_give_up(self, data: st.DataObject, verb: str) -> None:
        """Renew or release a claim, which may be lost by now."""
        claim = data.draw(st.sampled_from(self.claims))
        refs = [BranchRef(claim.head.id, b.branch_id, b.epoch) for b in claim.branches.values()]
        more = {"lease_ms": self.LEASE_MS} if verb == "renew" else {}
        self.both(verb, refs, now=self.now, **more)

    @precondition(lambda self: self.flows)
    @rule(data=st.data(), action=st.sampled_from([engine.cancel, engine.retry]))
    def by_hand(self, data: st.DataObject, action: Any) -> None:
        """Cancel or retry an execution."""
        execution = self.store.get_execution(data.draw(st.sampled_from(sorted(self.flows))))
        more = {} if action is engine.cancel else {"node_ids": None}
        try:
            patch = action(execution, **more, now=self.now)
        except Conflict:
            return
        (answer,) = self.both("commit", [patch], now=self.now)
        assert answer.outcome == "ok"
        self.stale.append(patch)

    @invariant()
    def same_records(self) -> None:
        """Whole records are equal, and add up."""
        assert self.store.next_due(now=self.now) == self.model.next_due(now=self.now)
        for execution_id in self.flows:
            ours = self.store.get_execution(execution_id)
            assert ours == self.model.get_execution(execution_id)
            check_invariants(ours)


def check_invariants(execution: Execution) -> None:
    """Assert what holds of every execution at every moment.

    Counts agree with the branches, the status with the counts, ``resume_at`` with the waiting
    branches, each END arrival with a completed branch, and each open branch is alone at its node.
    """
    leaves = [b for b in execution.branches if b.status != "forked"]
    opened = [b for b in leaves if b.status in ("ready", "running", "waiting")]
    waiting = [b for b in leaves if b.status == "waiting"]
    failed = [b for b in leaves if b.status == "failed"]
    assert (execution.open, execution.waiting, execution.failed) == (
        len(opened),
        len(waiting),
        len(failed),
    )
    if execution.status == "cancelled":
        assert not opened
    else:
        assert execution.status == status_of(len(opened), len(waiting), len(failed))
    assert (execution.ended_at is not None) == (execution.status in TERMINAL)
    assert execution.resume_at == min(
        (b.resume_at for b in waiting if b.resume_at is not None), default=None
    )
    completed = {b.branch_id for b in leaves if b.status == "completed"}
    arrived = [arrival for run in execution.executed_nodes for arrival in run.arrivals]
    assert sorted(arrived) == sorted(completed), "each branch arrives once"
    keys = [run.idempotency_key for run in execution.executed_nodes]
    assert len(keys) == len(set(keys)), "a node runs once"
    assert len({b.branch_id for b in execution.branches}) == len(execution.branches)
