"""`StoreContract`: the suite that every store must pass.

May import the core of `flowkit`, the rest of `flowkit.testing`, pytest and Hypothesis.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from flowkit import engine
from flowkit.engine import Resume
from flowkit.errors import Conflict, NotFound
from flowkit.execution import Claim, ExecutionFilter, PageKey, Patch
from flowkit.flow import Flow
from flowkit.testing.examples import EPOCH, SIMPLE, started
from flowkit.testing.machine import StoreMachine


def at_once(number: int, work: Callable[[int], Any]) -> list[Any]:
    """Run `work(i)` on `number` threads that start together; return results or exceptions."""
    barrier = threading.Barrier(number)
    results: list[Any] = [None] * number

    def run(i: int) -> None:
        barrier.wait()
        try:
            results[i] = work(i)
        except Exception as error:
            results[i] = error

    threads = [threading.Thread(target=run, args=(i,)) for i in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


class StoreContract:
    """What every store must do. Subclass it with a fixture `make_store`.

    `make_store` is a function that opens the same store anew each time it is called within a
    test (two calls are two clients of one store), so that what is kept can be told from what is
    only remembered.
    """

    LEASE_MS = 30_000

    @pytest.fixture
    def store(self, make_store: Callable[[], Any]) -> Iterable[Any]:
        """Yield one client of the store."""
        store = make_store()
        yield store
        store.close()

    def take(self, store: Any, owner: str = "a", *, now: datetime = EPOCH, **more: Any) -> Any:
        """Claim, with defaults."""
        asked = {"lease_ms": self.LEASE_MS, "limit": 100} | more
        return store.claim(owner, now=now, **asked)

    def advanced(self, claim: Claim, *, now: datetime = EPOCH, flow: Flow = SIMPLE) -> Any:
        """Return the turn that resumes every branch of a claim."""
        return engine.advance(flow, claim, [Resume(b) for b in claim.branches], now=now)

    # -- flows

    def test_a_flow_is_kept_whole(self, store: Any, make_store: Callable[[], Any]) -> None:
        odd = SIMPLE.to_dict() | {"viewport": {"x": 1.5, "$odd.key": None}, "settings": {}}
        flow = Flow.from_dict(odd)
        store.insert_flow(flow, publish=True)
        other = make_store()
        assert other.get_flow("flow").flow.to_dict() == flow.to_dict()
        assert other.get_version("flow", 1).to_dict() == flow.to_dict()
        assert other.active_versions("test") == [("flow", 1)]
        assert other.active_versions("other") == []
        other.close()

    def test_a_flow_is_inserted_once(self, store: Any) -> None:
        store.insert_flow(SIMPLE, publish=True)
        with pytest.raises(Conflict):
            store.insert_flow(SIMPLE, publish=False)

    def test_of_two_changes_of_one_revision_one_wins(
        self, store: Any, make_store: Callable[[], Any]
    ) -> None:
        store.insert_flow(SIMPLE, publish=True)
        _, revision = store.get_flow("flow")
        names = [f"change {i}" for i in range(4)]

        def change(i: int) -> str:
            client = make_store()
            try:
                changed = Flow.from_dict(SIMPLE.to_dict() | {"name": names[i], "version": 2})
                client.replace_flow(changed, revision=revision, publish=True)
            finally:
                client.close()
            return names[i]

        results = at_once(4, change)
        (winner,) = [r for r in results if isinstance(r, str)]
        assert sum(isinstance(r, Conflict) for r in results) == 3
        assert store.get_flow("flow").flow.name == winner
        assert store.get_version("flow", 2).name == winner
        assert store.get_version("flow", 1).name == "Simple"

    def test_a_published_version_never_changes(self, store: Any) -> None:
        store.insert_flow(SIMPLE, publish=True)
        _, revision = store.get_flow("flow")
        with pytest.raises(Conflict):
            store.replace_flow(
                Flow.from_dict(SIMPLE.to_dict() | {"name": "other"}),
                revision=revision,
                publish=True,
            )
        assert store.get_flow("flow") == (SIMPLE, revision), "all or nothing"

    def test_a_flow_goes_when_nothing_of_it_is_under_way(self, store: Any) -> None:
        store.insert_flow(SIMPLE, publish=True)
        store.create(started(1))
        with pytest.raises(Conflict):
            store.delete_flow("flow")
        execution = store.get_execution("x000000")
        store.commit([engine.cancel(execution, now=EPOCH)], now=EPOCH)
        store.delete_flow("flow")
        with pytest.raises(NotFound):
            store.get_flow("flow")
        assert store.get_version("flow", 1) == SIMPLE, "an execution refers to it"
        with pytest.raises(Conflict):
            store.insert_flow(SIMPLE.replace(version=0), publish=False)
        with pytest.raises(NotFound):
            store.delete_flow("flow")

    def test_flows_are_listed_newest_first_and_paged(self, store: Any) -> None:
        for i in range(5):
            store.insert_flow(
                Flow.from_dict(
                    SIMPLE.to_dict()
                    | {
                        "id": f"f{i}",
                        "isActive": i % 2 == 0,
                        "createdAt": f"2026-01-05T09:00:0{i // 2}.000Z",
                    }
                ),
                publish=False,
            )
        assert [f.id for f in store.list_flows(limit=9)] == ["f4", "f3", "f2", "f1", "f0"]
        assert [f.id for f in store.list_flows(is_active=False, limit=9)] == ["f3", "f1"]
        first = store.list_flows(limit=2)
        rest = store.list_flows(limit=9, after=PageKey(first[-1].created_at, str(first[-1].id)))
        assert [f.id for f in rest] == ["f2", "f1", "f0"]

    # -- executions

    @pytest.mark.parametrize(
        "payload",
        [
            {"$set": {"a.b": 1}, "_cls": "X", "": {}, "list": [[], {}, None]},
            {"big": 2**80, "small": -(2**63) - 1, "float": 1e300, "text": "a\u0000é😀\u2028"},
            [],
            "text",
            None,
        ],
    )
    def test_user_data_comes_back_exactly(self, store: Any, payload: Any) -> None:
        (execution,) = started(1)
        execution.context = {"trigger": payload, "contact": {"_id": "$x", "a.b": {}}}
        store.create([execution])
        assert store.get_execution("x000000") == execution
        (claim,) = self.take(store)
        assert claim.head.context == execution.context

    def test_an_unknown_execution_is_not_found(self, store: Any) -> None:
        with pytest.raises(NotFound):
            store.get_execution("nothing")
        patch = Patch("nothing")
        assert store.commit([patch], now=EPOCH)[0].outcome == "fenced"

    def test_executions_are_created_all_or_none(self, store: Any) -> None:
        store.create(started(1))
        with pytest.raises(Conflict):
            store.create(started(3)[::-1])
        assert [e.id for e in store.list_executions(ExecutionFilter(), limit=9)] == ["x000000"]

    def test_lists_filter_and_page(self, store: Any) -> None:
        executions = started(7)
        for i, execution in enumerate(executions):
            execution.flow_id = "even" if i % 2 == 0 else "odd"
            execution.contact_id = f"c{i % 3}"
        store.create(executions)
        store.commit([engine.cancel(store.get_execution("x000003"), now=EPOCH)], now=EPOCH)

        def ids(**where: Any) -> list[int]:
            found = store.list_executions(ExecutionFilter(**where), limit=99)
            return [int(e.id[1:]) for e in found]

        assert ids() == [6, 5, 4, 3, 2, 1, 0]
        assert ids(flow_id="odd") == [5, 3, 1]
        assert ids(status="cancelled") == [3]
        assert ids(status="running", flow_id="odd") == [5, 1]
        assert ids(status="nonsense") == []
        assert ids(contact_id="c0") == [6, 3, 0]
        ms = timedelta(milliseconds=1)
        assert ids(since=EPOCH + 2 * ms, until=EPOCH + 5 * ms) == [4, 3, 2]
        paged, after = [], None
        while page := store.list_executions(ExecutionFilter(), after=after, limit=2):
            paged += [int(e.id[1:]) for e in page]
            after = PageKey(page[-1].created_at, page[-1].id)
        assert paged == [6, 5, 4, 3, 2, 1, 0]

    def test_a_list_holds_what_was_asked_for(self, store: Any) -> None:
        store.create(started(2))
        parts = ("context", "branches", "executed_nodes")
        heads = store.list_executions(ExecutionFilter(), limit=9)
        assert all(not e.context and not e.branches for e in heads)
        whole = store.list_executions(ExecutionFilter(), limit=9, include=parts)
        assert whole == [store.get_execution(e.id) for e in heads]

    # -- claims

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

    def test_it_agrees_with_the_model(self, make_store: Callable[[], Any]) -> None:
        machine = type("Machine", (StoreMachine,), {"make_store": staticmethod(self.fresh)})
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=60,
                stateful_step_count=40,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )

    def fresh(self) -> Any:
        """Return an empty store; override where `make_store` opens the same one again."""
        raise NotImplementedError
