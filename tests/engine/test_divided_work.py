"""However the work is divided, interrupted and taken up again, the flow comes to the same end."""

from __future__ import annotations

import copy
import zlib
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from hypothesis import event, given, settings
from hypothesis import strategies as st

from flowkit.engine import Ended, Limits, Performance, Turn
from flowkit.errors import Conflict
from flowkit.execution import TERMINAL, BranchRef
from flowkit.flow import Flow
from flowkit.nodetype import Outcome
from flowkit.testing import flows
from tests.engine.driver import LEASE, REFUSED, SENT, UNKNOWN, Worker, World
from tests.examples import examples

STEPS = st.lists(st.tuples(st.integers(0, 99), st.integers(0, 3)), min_size=20, max_size=60)
"""Which of the things that are possible to do, and how."""


def outcome_of(salt: int) -> Any:
    """Return how effects end: a pure function of key and attempt."""

    def outcome(performance: Performance) -> Outcome:
        chance = zlib.crc32(f"{salt} {performance.key} {performance.attempt}".encode()) % 5
        return (SENT, SENT, SENT, REFUSED, UNKNOWN)[chance]

    return outcome


@dataclass
class Checked(Worker):
    """A worker that holds the engine to its promise: the same for the same, and nothing changed."""

    def decide(self) -> Turn:
        before = copy.deepcopy((self.held, self.events))
        turn = super().decide()
        assert (self.held, self.events) == before, "the engine changed what it was given"
        assert turn == super().decide(), "the engine decided anew"
        return turn

    def busy(self) -> list[BranchRef]:
        """Return proof of the branches that are inside an effect, or whose outcome has come in."""
        if self.held is None:
            return []
        busy = {p.branch_id for p in self.flying}
        busy |= {e.branch_id for e in self.events if isinstance(e, Ended)}
        branches = self.held.branches
        return [BranchRef("x", b, branches[b].epoch) for b in sorted(busy & branches.keys())]

    def crash(self, *, silent: bool) -> None:
        """Forget everything; unless it is silent, the outcomes come to light all the same."""
        ended = [self.done[e.branch_id] for e in self.events if isinstance(e, Ended)]
        for performance in () if silent else (*self.flying, *ended):
            self.world.offer(performance, self.world.outcomes(performance) or UNKNOWN)
        self.held, self.events, self.flying = None, [], []


class Divided:
    """Two workers on one execution, stumbling as they are told."""

    def __init__(self, flow: Flow, payload: Any, salt: int, *, silent: bool) -> None:
        self.world = World(flow, payload, outcome_of(salt), Limits(fork_queue=2))
        self.workers = [Checked(self.world, owner) for owner in "ab"]
        self.silent = silent

    def possible(self) -> list[tuple[str, Checked]]:
        """Return what can be done now, likelier things several times."""
        found = []
        for worker in self.workers:
            found += [(name, worker) for name in ("claim", "claim one", "claim one", "sleep")]
            found += [("turn", worker)] * 6 * bool(worker.events)
            found += [("end", worker)] * 4 * bool(worker.flying)
            found += [(name, worker) for name in ("crash", "release") if worker.held]
        return [*found, ("back", self.workers[0])]

    def do(self, number: int, how: int) -> None:
        """Take one step."""
        possible = self.possible()
        action, worker = possible[number % len(possible)]
        if action == "claim":
            worker.claim()
        elif action == "claim one":
            worker.claim(limit=1)
        elif action == "turn":
            room = None if how < 2 else 1
            self.world.limits = Limits(fork_queue=(10, 2)[how % 2], effects=room)
            event(worker.turn())
            self.pass_time(timedelta())  # it looks at its leases before it performs anything
        elif action == "end":
            performance = worker.flying[how % len(worker.flying)]
            worker.end(performance, self.world.outcomes(performance) or UNKNOWN)
        elif action == "crash":
            worker.crash(silent=self.silent and how < 2)
        elif action == "release" and worker.held:
            idle = worker.held.branches.keys() - {ref.branch_id for ref in worker.busy()}
            refs = [BranchRef("x", b, worker.held.branches[b].epoch) for b in sorted(idle)]
            self.world.store.release(refs, now=self.world.now)
            worker.give_up(idle)
        elif action == "sleep":
            self.pass_time((timedelta(seconds=5), LEASE, LEASE, timedelta(days=1))[how])
        elif action == "back":
            self.pass_time(-timedelta(seconds=7))

    def pass_time(self, by: timedelta) -> None:
        """Let time pass; unless workers die silently, they keep hold of what they are busy with."""
        self.world.now += by
        for worker in self.workers:
            if not self.silent:
                self.world.store.renew(worker.busy(), now=self.world.now, lease_ms=30_000)

    def finish(self) -> None:
        """Let both die and another finish what is left."""
        for worker in self.workers:
            worker.crash(silent=self.silent)
        finish(self.world, "c")


def finish(world: World, owner: str) -> None:
    """Let one worker go on until the execution has ended."""
    world.limits = Limits()
    world.now += LEASE
    for _ in range(20):
        if world.run(owner).status in TERMINAL:
            return
        world.receive("paid", 1)  # some wait for it without end
        world.wait(days=1)
    raise AssertionError(f"it does not end: {world.execution}")


def came_to(world: World) -> tuple[str, list[tuple[str, str]]]:
    """Return what can be compared between two ways to the same end."""
    return world.execution.status, sorted(world.nodes.items())


def each_attempt_once(world: World) -> None:
    attempts = [(p.key, p.attempt) for p in world.performed]
    assert len(attempts) == len(set(attempts))


@settings(max_examples=examples(20, 200))
@given(
    flow=flows(timeouts=False),
    coin=st.booleans(),
    salt=st.integers(0, 9),
    steps=STEPS,
    more=STEPS,
)
def test_the_end_does_not_depend_on_who_did_what(
    flow: Flow, coin: bool, salt: int, steps: list[Any], more: list[Any]
) -> None:
    payload = {"contact": {"id": "c1", "phone": "+5511999990000"}, "coin": coin}
    alone = World(flow, payload, outcome_of(salt))
    finish(alone, "alone")
    divided = Divided(flow, payload, salt, silent=False)
    for taken in (steps, more):
        for step in taken:
            divided.do(*step)
            assert divided.world.execution
        divided.finish()
        assert came_to(divided.world) == came_to(alone)
        assert sorted(divided.world.sent()) == sorted(alone.sent())
        each_attempt_once(divided.world)
        if alone.execution.status != "failed":
            break
        event("retried")
        for world in (alone, divided.world):
            world.retry()
        finish(alone, "alone")


@settings(max_examples=examples(20, 200))
@given(
    flow=flows(),
    coin=st.booleans(),
    salt=st.integers(0, 9),
    parts=st.lists(STEPS, min_size=1, max_size=3),
    cancels=st.integers(0, 3),
)
def test_whatever_happens_it_ends_and_no_effect_is_repeated_without_reason(
    flow: Flow, coin: bool, salt: int, parts: list[Any], cancels: int
) -> None:
    payload = {"contact": {"id": "c1", "phone": "+5511999990000"}, "coin": coin}
    divided = Divided(flow, payload, salt, silent=True)
    world = divided.world
    for turn, steps in enumerate(parts):
        for step in steps:
            before = {r.idempotency_key for r in world.execution.executed_nodes
                      if r.status == "completed"}  # fmt: skip
            known = len(world.performed)
            divided.do(*step)
            assert world.execution
            assert not before & set(world.sent()[known:]), "it had happened already"
        try:
            event(world.cancel() if cancels == turn + 1 else world.retry())
        except Conflict as conflict:
            event(str(conflict).partition(" is ")[0][-30:])
    divided.finish()
    event(world.execution.status)
    each_attempt_once(world)
    if world.execution.status != "cancelled":
        assert set(world.nodes.values()) <= {"completed", "failed"}
    resends = {r.idempotency_key: r.retry_count for r in world.execution.executed_nodes}
    assert all(p.attempt <= resends[p.key] for p in world.performed)
