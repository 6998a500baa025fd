"""What every store must do with branches that workers claim, advance and commit."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from flowkit import engine
from flowkit.execution import Patch
from flowkit.testing.contract.clients import Clients
from flowkit.testing.examples import EPOCH, JOINED, started
from flowkit.testing.invariants import check_invariants
from flowkit.testing.machine import StoreMachine
from flowkit.testing.racing import at_once


class WorkContract(Clients):
    """The verbs of `Work`."""

    EXAMPLES = 60
    """How many histories `test_it_agrees_with_the_model` makes up; fewer for a slow store."""

    def test_a_branch_is_claimed_by_one(self, store: Any, make_store: Callable[[], Any]) -> None:
        store.create(started(40))

        def claim_all(i: int) -> list[str]:
            client, mine = make_store(), []
            try:
                while claims := self.take(
                    client, f"w{i}", now=EPOCH + timedelta(seconds=1), limit=3
                ):
                    mine += [claim.head.id for claim in claims]
            finally:
                client.close()
            return mine

        taken = [execution_id for mine in at_once(4, claim_all) for execution_id in mine]
        assert sorted(taken) == sorted(e.id for e in started(40))

    def test_the_longest_claimable_come_first(self, store: Any) -> None:
        store.create(started(5))
        claims = self.take(store, now=EPOCH + timedelta(seconds=1), limit=2)
        assert sorted(claim.head.id for claim in claims) == ["x000000", "x000001"]

    def test_a_claim_needs_a_lease(self, store: Any) -> None:
        with pytest.raises(ValueError, match="lease"):
            self.take(store, lease_ms=0)

    def test_of_branches_that_arrive_at_once_one_completes_the_join(
        self, store: Any, make_store: Callable[[], Any]
    ) -> None:
        """Whoever commits last makes the branch ready that forked; what each had set is there."""
        store.create(started(1, flow=JOINED))
        (claim,) = self.take(store)
        limits = engine.Limits(fork_queue=2)
        events = [engine.Resume("root")]
        turn = engine.advance(JOINED, claim, events, now=EPOCH, limits=limits)
        assert store.commit([turn.patch], now=EPOCH)[0].outcome == "ok"
        (claim,) = self.take(store)
        assert sorted(claim.branches) == [f"root_{i}" for i in range(6)]
        one_each = [engine.without(claim, claim.branches.keys() - {b}) for b in claim.branches]
        turns = [
            engine.advance(
                JOINED, one, [engine.Resume(b) for b in one.branches], now=EPOCH, limits=limits
            )
            for one in one_each
        ]

        def commit(i: int) -> Any:
            client = make_store()
            try:
                return client.commit([turns[i].patch], now=EPOCH)[0]
            finally:
                client.close()

        answers = at_once(6, commit)
        assert [answer.outcome for answer in answers] == ["ok"] * 6
        assert sorted(answer.woken for answer in answers) == [0, 0, 0, 0, 0, 1]
        execution = store.get_execution("x000000")
        check_invariants(execution)
        (run,) = [run for run in execution.executed_nodes if run.node_id == "join"]
        assert (run.status, sorted(run.arrivals)) == ("completed", sorted(claim.branches))
        (claim,) = self.take(store)
        assert sorted(claim.branches) == ["root"]

    def test_of_two_owners_of_one_epoch_one_commits(
        self, store: Any, make_store: Callable[[], Any]
    ) -> None:
        store.create(started(1))
        (claim,) = self.take(store)
        turns = [self.advanced(claim) for _ in range(4)]

        def commit(i: int) -> str:
            client = make_store()
            try:
                (answer,) = client.commit([turns[i].patch], now=EPOCH, lease_ms=self.LEASE_MS)
            finally:
                client.close()
            return str(answer.outcome)

        assert sorted(at_once(4, commit)) == ["lost", "lost", "lost", "ok"]

    def test_a_fenced_worker_changes_nothing(self, store: Any) -> None:
        store.create(started(1))
        (slow,) = self.take(store, "slow")
        late = EPOCH + timedelta(milliseconds=self.LEASE_MS)
        (quick,) = self.take(store, "quick", now=late)
        before = store.get_execution("x000000")
        (answer,) = store.commit([self.advanced(slow).patch], now=late)
        assert (answer.outcome, answer.fenced) == ("fenced", ["root"])
        assert store.get_execution("x000000") == before
        (answer,) = store.commit([self.advanced(quick, now=late).patch], now=late)
        assert answer.outcome == "ok"

    def test_a_lease_outlives_its_length_only_when_the_clock_went_back(self, store: Any) -> None:
        store.create(started(1))
        assert self.take(store, "a")
        lease = timedelta(milliseconds=self.LEASE_MS)
        early = EPOCH - timedelta(milliseconds=20)
        assert not self.take(store, "b", now=early), "its idea of now is only a little old"
        assert not self.take(store, "b", now=EPOCH - lease)
        assert self.take(store, "b", now=EPOCH - lease - timedelta(milliseconds=1))

    def test_patches_of_a_batch_stand_alone(self, store: Any) -> None:
        store.create(started(3))
        claims = sorted(self.take(store, now=EPOCH + timedelta(seconds=1)), key=lambda c: c.head.id)
        turns = [self.advanced(claim) for claim in claims]
        turns[1].patch.move[0].epoch = 99
        answers = store.commit([t.patch for t in turns], now=EPOCH, lease_ms=self.LEASE_MS)
        assert [a.outcome for a in answers] == ["ok", "fenced", "ok"]
        assert store.get_execution("x000001").executed_nodes == []

    def test_what_is_committed_is_seen_by_others(
        self, store: Any, make_store: Callable[[], Any]
    ) -> None:
        store.create(started(1))
        (claim,) = self.take(store)
        store.commit([self.advanced(claim).patch], now=EPOCH, lease_ms=self.LEASE_MS)
        whole = store.get_execution("x000000")
        other = make_store()
        assert other.get_execution("x000000") == whole
        assert [run.status for run in whole.executed_nodes] == ["completed", "running"]
        other.close()

    def test_a_patch_can_pin_an_execution_to_another_version(self, store: Any) -> None:
        store.create(started(2))
        before = store.get_execution("x000000")
        patch = Patch("x000000", flow_version=7, bytes=5, revision=before.revision)
        assert store.commit([patch, Patch("x000001")], now=EPOCH)[0].outcome == "ok"
        after = store.get_execution("x000000")
        assert (after.flow_version, after.bytes) == (7, before.bytes + 5)
        assert {claim.head.flow_version for claim in self.take(store)} == {7, 1}
        assert store.get_execution("x000001").flow_version == 1

    @pytest.mark.hypothesis
    def test_it_agrees_with_the_model(self, make_store: Callable[[], Any]) -> None:
        machine = type("Machine", (StoreMachine,), {"make_store": staticmethod(self.fresh)})
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=self.EXAMPLES,
                stateful_step_count=40,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
