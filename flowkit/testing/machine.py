"""The state machine that drives a store and `MemoryStore` alike.

May import the core of `flowkit`, `memory`, `examples`, `invariants` and Hypothesis.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from hypothesis import event, note
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from flowkit import engine
from flowkit.engine import Ended, Limits, Resume, Turn
from flowkit.errors import Conflict
from flowkit.execution import Answer, BranchRef, Claim, NodeRun, Patch, run_at
from flowkit.flow import Flow
from flowkit.testing.examples import EPOCH, OUTCOMES, PAYLOADS, flows
from flowkit.testing.invariants import check_invariants
from flowkit.testing.memory import MemoryStore

OWNERS = st.sampled_from(["a", "b"])


class StoreMachine(RuleBasedStateMachine):
    """Drives a store and `MemoryStore` alike and compares every answer and every record.

    Two workers claim, advance, stumble and come back; clocks jump; executions are retried and
    cancelled. What it comes across is reported to `saw`.
    """

    make_store: Callable[[], Any]
    LEASE_MS = 30_000
    RECENT = 6
    """From how many patches of late one may be committed again."""

    def __init__(self) -> None:
        super().__init__()
        self.store = type(self).make_store()
        self.model = MemoryStore()
        self.now = EPOCH
        self.flows: dict[str, Flow] = {}
        self.claims: list[Claim] = []
        self.stale: list[Patch] = []
        self.begun: set[tuple[str, int]] = set()
        self.completed: set[str] = set()

    def teardown(self) -> None:
        """Say what the executions came to, and close the store."""
        for execution_id in self.flows:
            execution = self.model.get_execution(execution_id)
            self.saw(f"execution {execution.status}")
            for branch in execution.branches:
                self.saw(f"branch {branch.status}")
            for run in execution.executed_nodes:
                self.saw(f"run {run.status}")
                if run.arrivals and run.branch_id not in run.arrivals:
                    self.saw(f"join {run.status} by {run.source_handle}")
                for attempt in run.attempts:
                    self.saw(f"another attempt, {attempt['status']}, by {attempt['retriedBy']}")
        self.store.close()

    def saw(self, what: str) -> None:
        """Count something in Hypothesis's statistics."""
        event(what)

    def both(self, verb: str, *args: Any, **kwargs: Any) -> Any:
        """Call a verb of the store and of the model; they must answer alike."""
        ours = getattr(self.store, verb)(*args, **kwargs)
        model = getattr(self.model, verb)(*args, **kwargs)
        if verb == "claim":
            ours.sort(key=lambda claim: claim.head.id)
            model.sort(key=lambda claim: claim.head.id)
        assert ours == model
        return ours

    # -- triggers and time

    @initialize(flow=flows(), payloads=st.lists(PAYLOADS, min_size=1, max_size=3))
    def begin(self, flow: Flow, payloads: list[Any]) -> None:
        """Start with executions, since nothing happens without one."""
        self.trigger(flow, payloads)

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

    # -- workers

    @rule(owner=OWNERS, limit=st.integers(1, 5), expired=st.booleans())
    def claim(self, owner: str, limit: int, expired: bool) -> None:
        """Claim for one of two workers."""
        self.claims += self.both(
            "claim", owner, now=self.now, lease_ms=self.LEASE_MS, limit=limit, expired=expired
        )

    @rule(
        data=st.data(),
        rounds=st.integers(1, 4),
        limit=st.sampled_from([1, 100]),
        fork_queue=st.sampled_from([2, 10]),
        seconds=st.sampled_from([0, 0, 31, 86_400]),
    )
    def work(
        self, data: st.DataObject, rounds: int, limit: int, fork_queue: int, seconds: int
    ) -> None:
        """Let both workers claim and each holder take a turn, a few times: the way to the end."""
        for _ in range(rounds):
            self.pass_time(seconds)
            for owner in ("a", "b"):
                self.claim(owner, limit, True)
            for _ in range(len(self.claims)):
                self.advance(data, fork_queue=fork_queue, room=None, at_once=True)

    @precondition(lambda self: self.claims)
    @rule(
        data=st.data(),
        fork_queue=st.sampled_from([2, 10]),
        room=st.sampled_from([None, None, 0, 1]),
        at_once=st.sampled_from([True, True, True, False]),
    )
    def advance(
        self, data: st.DataObject, fork_queue: int, room: int | None, at_once: bool
    ) -> None:
        """Let the holder of a claim, which may have lost it, take a turn and commit.

        Not `at_once`: it decides, then hangs; its patch may come much later.
        """
        claim = self.claims.pop(data.draw(st.integers(0, len(self.claims) - 1)))
        events = [
            Ended(branch.branch_id, data.draw(OUTCOMES), self.now)
            if self.inside(claim, branch.branch_id) and data.draw(st.booleans())
            else Resume(branch.branch_id)
            for branch in claim.branches.values()
        ]
        note(f"{claim.head.id}: {events}")
        flow, limits = self.flows[claim.head.id], Limits(fork_queue=fork_queue, effects=room)
        before = copy.deepcopy((claim, events))
        turn = engine.advance(flow, claim, events, now=self.now, limits=limits)
        assert (claim, events) == before, "the engine changed what it was given"
        assert turn == engine.advance(flow, claim, events, now=self.now, limits=limits)
        self.stale.append(turn.patch)
        if at_once:
            (answer,) = self.both("commit", [turn.patch], now=self.now, lease_ms=self.LEASE_MS)
            self.after(claim, turn, answer)

    def inside(self, claim: Claim, branch_id: str) -> bool:
        """Return whether, as far as the claim knows, the branch is inside an effect."""
        branch = claim.branches[branch_id]
        run = run_at(branch, claim.runs.values())
        return run is not None and run.status == "running"

    def after(self, claim: Claim, turn: Turn, answer: Answer) -> None:
        """Act on the store's answer as a worker does."""
        self.saw(f"commit {answer.outcome}")
        if answer.outcome == "ok":
            for performance in turn.effects:
                attempt = (performance.key, performance.attempt)
                assert attempt not in self.begun, "an attempt begins once"
                assert performance.key not in self.completed, "it has happened already"
                self.begun.add(attempt)
            claim = turn.claim
            self.refuses(turn.patch)
        elif answer.outcome == "lost":
            claim = engine.with_runs(claim, answer.runs)
        elif answer.outcome == "fenced":
            claim = engine.without(claim, answer.fenced)
        else:
            return
        if claim.branches:
            self.claims.append(claim)

    def refuses(self, patch: Patch) -> None:
        """Commit a patch once more, as one does who got no answer: it must not be taken twice."""
        (answer,) = self.both("commit", [patch], now=self.now, lease_ms=self.LEASE_MS)
        assert answer.outcome != "ok", "a patch is taken once"

    @precondition(lambda self: self.stale)
    @rule(data=st.data())
    def commit_again(self, data: st.DataObject) -> None:
        """Commit a patch that was committed or decided some time ago: no change comes twice."""
        patch = data.draw(st.sampled_from(self.stale[: -self.RECENT - 1 : -1]))
        (answer,) = self.both("commit", [patch], now=self.now, lease_ms=self.LEASE_MS)
        self.saw(f"commit again {answer.outcome}")

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), verb=st.sampled_from(["renew", "release"]))
    def keep_or_give_up(self, data: st.DataObject, verb: str) -> None:
        """Renew or release a claim, which may be lost by now."""
        claim = data.draw(st.sampled_from(self.claims))
        refs = [BranchRef(claim.head.id, b.branch_id, b.epoch) for b in claim.branches.values()]
        more = {"lease_ms": self.LEASE_MS} if verb == "renew" else {}
        gone = self.both(verb, refs, now=self.now, **more)
        self.saw(f"{verb} {'refused' if gone else 'done'}")

    @precondition(lambda self: self.begun)
    @rule(data=st.data(), outcome=OUTCOMES)
    def come_late(self, data: st.DataObject, outcome: Any) -> None:
        """Offer an outcome as evidence, as one does who is no longer asked."""
        offers = []
        for key, attempt in sorted(self.begun):
            execution = self.store.get_execution(key.split("_")[0])
            (run,) = [run for run in execution.executed_nodes if run.idempotency_key == key]
            offers.append(engine.evidence(execution.id, run, attempt, outcome, self.now))
        taken = [patch for patch in offers if patch is not None]
        if taken:
            (answer,) = self.both("commit", [data.draw(st.sampled_from(taken))], now=self.now)
            assert answer.outcome == "ok"
            self.saw(f"evidence {outcome.status}")

    # -- people

    @rule(data=st.data(), action=st.sampled_from(["cancel", "cancel inside", "retry", "retry one"]))
    def by_hand(self, data: st.DataObject, action: str) -> None:
        """Cancel or retry an execution, at once or so slowly that it has gone on meanwhile."""
        names = sorted(self.flows)
        if action == "cancel inside":  # an effect, where there is one
            names = [name for name in names if self.runs_of(name, "running")] or names
        execution = self.store.get_execution(data.draw(st.sampled_from(names)))
        failed = [branch.current_node_id for branch in engine.failed_branches(execution)]
        try:
            if "cancel" in action:
                patch = engine.cancel(execution, now=self.now)
            else:
                chosen = (
                    [data.draw(st.sampled_from(failed))] if failed and "one" in action else None
                )
                patch = engine.retry(execution, chosen, now=self.now)
        except Conflict:
            return
        self.stale.append(patch)
        if data.draw(st.booleans()):
            (answer,) = self.both("commit", [patch], now=self.now)
            assert answer.outcome == "ok"
            self.saw(action)
            self.refuses(patch)

    def runs_of(self, execution_id: str, status: str) -> list[NodeRun]:
        """Return the runs of an execution in a status."""
        execution = self.model.get_execution(execution_id)
        return [run for run in execution.executed_nodes if run.status == status]

    # -- what always holds

    @invariant()
    def same_records(self) -> None:
        """Whole records are equal, and add up."""
        assert self.store.next_due(now=self.now) == self.model.next_due(now=self.now)
        for execution_id in self.flows:
            ours = self.store.get_execution(execution_id)
            assert ours == self.model.get_execution(execution_id)
            check_invariants(ours)
            self.completed |= {
                run.idempotency_key for run in ours.executed_nodes if run.status == "completed"
            }
