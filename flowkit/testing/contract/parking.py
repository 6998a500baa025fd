"""What every store must do with branches that are parked."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from flowkit import engine
from flowkit.execution import BranchRef, Claim
from flowkit.flow import Flow
from flowkit.testing.contract.clients import Clients
from flowkit.testing.examples import EPOCH, SIMPLE, started
from flowkit.testing.invariants import check_invariants
from flowkit.testing.racing import at_once

LATER = EPOCH + timedelta(seconds=10)


def refs_of(*claims: Claim) -> list[BranchRef]:
    """Return the proof of claims."""
    return [
        BranchRef(claim.head.id, branch.branch_id, branch.epoch)
        for claim in claims
        for branch in claim.branches.values()
    ]


class ParkingContract(Clients):
    """`release` with `hold`, `held_flows` and `unhold` of `Work`."""

    def park(self, store: Any, **asked: Any) -> list[Claim]:
        """Claim what there is and park it."""
        claims: list[Claim] = self.take(store, now=LATER, **asked)
        store.release(refs_of(*claims), now=LATER, hold=True)
        return claims

    def test_what_is_parked_is_claimed_by_nobody(
        self, store: Any, make_store: Callable[[], Any]
    ) -> None:
        store.create(started(3))
        assert len(self.park(store, limit=2)) == 2
        other = make_store()
        assert other.held_flows() == {"flow"}
        assert [c.head.id for c in self.take(other, "b", now=LATER)] == ["x000002"]
        year = LATER + timedelta(days=365)
        assert [c.head.id for c in self.take(other, "c", now=year)] == ["x000002"], "its lease ran"
        other.close()
        parked = store.get_execution("x000000")
        assert [branch.status for branch in parked.branches] == ["ready"]
        assert parked.status == "running"
        check_invariants(parked)

    def test_what_is_parked_wakes_nobody(self, store: Any) -> None:
        store.create(started(2))
        self.park(store)
        assert store.next_due(now=LATER) is None

    def test_what_is_freed_is_claimed_again(self, store: Any) -> None:
        store.create(started(3))
        before = self.park(store)
        assert store.unhold("flow", now=LATER, limit=9) == 3
        assert store.held_flows() == frozenset()
        assert store.next_due(now=LATER) is not None
        after = self.take(store, now=LATER)
        assert sorted(c.head.id for c in after) == sorted(c.head.id for c in before)
        epochs = [
            {c.head.id: c.branches["root"].epoch for c in claims} for claims in (before, after)
        ]
        assert all(epochs[1][id] > epoch for id, epoch in epochs[0].items())

    def test_only_the_flow_that_was_named_is_freed(self, store: Any) -> None:
        executions = started(4)
        for execution in executions[:2]:
            execution.flow_id = "other"
        store.create(executions)
        self.park(store)
        assert store.held_flows() == {"flow", "other"}
        assert store.unhold("nothing", now=LATER, limit=9) == 0
        assert store.unhold("other", now=LATER, limit=9) == 2
        assert store.held_flows() == {"flow"}
        assert {c.head.id for c in self.take(store, now=LATER)} == {"x000000", "x000001"}

    def test_as_many_are_freed_as_were_asked_for(self, store: Any) -> None:
        store.create(started(5))
        self.park(store)
        freed = [store.unhold("flow", now=LATER, limit=2) for _ in range(4)]
        assert freed == [2, 2, 1, 0]
        assert len(self.take(store, now=LATER)) == 5

    def test_branches_of_one_execution_are_freed_together(self, store: Any) -> None:
        store.create(started(1, flow=FORK))
        (claim,) = self.take(store, now=LATER)
        turn = self.advanced(claim, now=LATER, flow=FORK)
        (answer,) = store.commit([turn.patch], now=LATER, lease_ms=self.LEASE_MS)
        assert answer.outcome == "ok"
        refs = refs_of(turn.claim)
        assert len(refs) == 3
        store.release(refs[:2], now=LATER, hold=True)
        store.release(refs[2:], now=LATER)
        (rest,) = self.take(store, now=LATER)
        assert len(rest.branches) == 1, "the others are parked"
        assert store.unhold("flow", now=LATER, limit=1) == 1
        (freed,) = self.take(store, now=LATER)
        assert len(freed.branches) == 2

    def test_a_claim_that_was_parked_is_fenced(self, store: Any) -> None:
        store.create(started(1))
        (claim,) = self.park(store)
        (answer,) = store.commit([self.advanced(claim).patch], now=LATER)
        assert answer.outcome == "fenced"
        assert store.renew(refs_of(claim), now=LATER, lease_ms=1000) == refs_of(claim)

    def test_who_lost_a_claim_parks_nothing(self, store: Any) -> None:
        store.create(started(1))
        (slow,) = self.take(store, "slow")
        late = EPOCH + timedelta(milliseconds=self.LEASE_MS)
        (quick,) = self.take(store, "quick", now=late)
        store.release(refs_of(slow), now=late, hold=True)
        assert store.held_flows() == frozenset()
        assert store.renew(refs_of(quick), now=late, lease_ms=1000) == []

    def test_a_due_branch_that_is_parked_waits_no_more(self, store: Any) -> None:
        store.create(started(1, flow=DELAY))
        (claim,) = self.take(store)
        store.commit([self.advanced(claim, flow=DELAY).patch], now=EPOCH)
        assert store.get_execution("x000000").status == "delayed"
        assert self.park(store)
        parked = store.get_execution("x000000")
        check_invariants(parked)
        assert (parked.status, parked.resume_at) == ("running", None)
        assert [run.status for run in parked.executed_nodes] == ["completed", "waiting"]
        store.unhold("flow", now=LATER, limit=1)
        (claim,) = self.take(store, now=LATER)
        (answer,) = store.commit([self.advanced(claim, now=LATER, flow=DELAY).patch], now=LATER)
        assert (answer.outcome, answer.status) == ("ok", "completed")

    def test_what_is_parked_can_be_cancelled(self, store: Any) -> None:
        store.create(started(2))
        self.park(store)
        execution = store.get_execution("x000000")
        (answer,) = store.commit([engine.cancel(execution, now=LATER)], now=LATER)
        assert (answer.outcome, answer.status) == ("ok", "cancelled")
        check_invariants(store.get_execution("x000000"))
        while store.unhold("flow", now=LATER, limit=1):
            pass
        assert store.held_flows() == frozenset()
        assert [c.head.id for c in self.take(store, now=LATER)] == ["x000001"]

    def test_parking_and_freeing_at_once_loses_nothing(
        self, store: Any, make_store: Callable[[], Any]
    ) -> None:
        """Whatever comes first of each, at the end all is held or claimable, none neither."""
        store.create(started(24))

        def work(i: int) -> None:
            client = make_store()
            try:
                for _ in range(4):
                    if i % 2:
                        claims = self.take(client, f"w{i}", now=LATER, limit=5)
                        client.release(refs_of(*claims), now=LATER, hold=True)
                    else:
                        client.unhold("flow", now=LATER, limit=5)
            finally:
                client.close()

        assert at_once(4, work) == [None] * 4
        while store.unhold("flow", now=LATER, limit=100):
            pass
        assert store.held_flows() == frozenset()
        assert len(self.take(store, now=LATER)) == 24


def _flow(built: Flow) -> Flow:
    return Flow.from_dict(
        built.to_dict()
        | {key: SIMPLE.to_dict()[key] for key in ("id", "version", "createdAt", "updatedAt")}
    )


DELAY = _flow(Flow("Delay", trigger="test").delay(seconds=5).end())
FORK = _flow(
    Flow("Fork", trigger="test")
    .parallel(lambda b: b.send(text="a"), lambda b: b.send(text="b"), lambda b: b.send(text="c"))
    .end()
)
