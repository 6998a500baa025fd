"""What every store must do with the events that executions receive."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from flowkit import engine
from flowkit.execution import Execution, ExecutionFilter, Received
from flowkit.flow import Flow
from flowkit.testing.contract.clients import Clients
from flowkit.testing.examples import EPOCH, SIMPLE, started
from flowkit.testing.invariants import check_invariants
from flowkit.testing.racing import at_once


def _flow(built: Flow) -> Flow:
    keys = ("id", "version", "createdAt", "updatedAt")
    return Flow.from_dict(built.to_dict() | {key: SIMPLE.to_dict()[key] for key in keys})


WAIT = _flow(Flow("Wait", trigger="test").wait_for("paid", days=1).end())
ENDLESS = _flow(Flow("Wait", trigger="test").wait_for("paid", never=True).end())


def paid(id: str = "e1", payload: Any = None) -> Received:
    """Return an event of the type for which the flows of this module wait."""
    return Received(id=id, type="paid", payload=payload, at=EPOCH)


class InboxContract(Clients):
    """`receive` and `inbox` of a patch, waits without end, and live executions of a contact."""

    def waiting(self, store: Any, flow: Flow = WAIT) -> Execution:
        """Create an execution and let it come to its wait."""
        store.create(started(1, flow=flow))
        (claim,) = self.take(store)
        (answer,) = store.commit([self.advanced(claim, flow=flow).patch], now=EPOCH)
        assert (answer.outcome, answer.status) == ("ok", "delayed")
        execution: Execution = store.get_execution("x000000")
        return execution

    def receive(self, store: Any, event: Received, flow: Flow = WAIT) -> str:
        """Offer an event to the execution once."""
        patch = engine.receive(flow, store.get_execution("x000000"), event, now=EPOCH)
        if patch is None:
            return "ignored"
        (answer,) = store.commit([patch], now=EPOCH)
        return str(answer.outcome)

    def test_what_was_received_is_kept_as_it_came(
        self, store: Any, make_store: Callable[[], Any]
    ) -> None:
        self.waiting(store)
        events = [paid("e0", None), paid("e1", {"a": [1, {"b": None}], "$c.d": "é"}), paid("e2", 3)]
        for event in events:
            assert self.receive(store, event) == "ok"
        other = make_store()
        whole = other.get_execution("x000000")
        assert whole.inbox == events
        check_invariants(whole)
        (claim,) = self.take(other)
        assert claim.head.inbox == events
        (listed,) = other.list_executions(ExecutionFilter(), limit=9, include=["branches"])
        assert listed.inbox == []
        other.close()

    def test_who_waits_is_claimable_at_once(self, store: Any) -> None:
        self.waiting(store)
        assert not self.take(store)
        assert self.receive(store, paid()) == "ok"
        woken = store.get_execution("x000000")
        assert (woken.status, woken.waiting, woken.resume_at) == ("running", 0, None)
        check_invariants(woken)
        assert store.next_due(now=EPOCH) == EPOCH
        (claim,) = self.take(store)
        (answer,) = store.commit([self.advanced(claim, flow=WAIT).patch], now=EPOCH)
        assert (answer.outcome, answer.status) == ("ok", "completed")

    def test_a_wait_without_end_is_claimed_by_nobody(self, store: Any) -> None:
        assert self.waiting(store, ENDLESS).resume_at is None
        assert store.next_due(now=EPOCH) is None
        assert not self.take(store, now=EPOCH + timedelta(days=9_999))
        assert self.receive(store, paid(), ENDLESS) == "ok"
        assert self.take(store)

    def test_who_does_not_know_of_an_event_cannot_begin_to_wait(
        self, store: Any, make_store: Callable[[], Any]
    ) -> None:
        store.create(started(1, flow=WAIT))
        (claim,) = self.take(store)
        turn = self.advanced(claim, flow=WAIT)
        other = make_store()
        assert self.receive(other, paid()) == "ok"
        other.close()
        (answer,) = store.commit([turn.patch], now=EPOCH)
        assert answer.outcome == "conflict"
        assert [run.node_id for run in store.get_execution("x000000").executed_nodes] == []

    def test_whichever_comes_first_the_event_is_not_missed(
        self, store: Any, make_store: Callable[[], Any]
    ) -> None:
        """A worker on its way to the wait, and an event that comes twice, all at once."""
        store.create(started(1, flow=WAIT))
        (claim,) = self.take(store)
        turn = self.advanced(claim, flow=WAIT)

        def act(i: int) -> str:
            client = make_store()
            try:
                if i == 0:
                    (answer,) = client.commit([turn.patch], now=EPOCH)
                    return str(answer.outcome)
                while (said := self.receive(client, paid())) == "conflict":
                    pass
                return said
            finally:
                client.close()

        wait, *received = at_once(3, act)
        assert sorted(received) == ["ignored", "ok"]
        whole = store.get_execution("x000000")
        check_invariants(whole)
        assert len(whole.inbox) == 1
        (branch,) = whole.branches
        if wait == "ok":
            assert branch.status == "ready", "it was woken"
        else:
            assert wait == "conflict"
            assert branch.status == "running", "its worker looks again"

    def test_live_executions_of_a_contact(self, store: Any) -> None:
        store.create(started(3))
        execution = store.get_execution("x000001")
        store.commit([engine.cancel(execution, now=EPOCH)], now=EPOCH)
        live = ExecutionFilter(contact_id="c1", live=True)
        found = store.list_executions(live, limit=9)
        assert [e.id for e in found] == ["x000002", "x000000"]
        assert not store.list_executions(ExecutionFilter(contact_id="c2", live=True), limit=9)
        ended = ExecutionFilter(status="cancelled", live=True)
        assert not store.list_executions(ended, limit=9)

    def test_what_ended_an_execution_is_kept(self, store: Any) -> None:
        flow = Flow.from_dict(WAIT.to_dict() | {"settings": {"exit": [{"event": "paid"}]}})
        self.waiting(store, flow)
        assert self.receive(store, paid(), flow) == "ok"
        whole = store.get_execution("x000000")
        assert (whole.status, whole.ended_at) == ("completed", EPOCH)
        assert whole.ended_by == {"reason": "exit", "event": "paid", "eventId": "e1"}
        assert [branch.status for branch in whole.branches] == ["cancelled"]
        check_invariants(whole)
        (listed,) = store.list_executions(ExecutionFilter(), limit=9)
        assert listed.ended_by == whole.ended_by
        assert not self.take(store, now=EPOCH + timedelta(days=9))
        assert store.next_due(now=EPOCH) is None
