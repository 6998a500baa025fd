"""What every store must do with entry policies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from flowkit import engine
from flowkit.duration import Duration
from flowkit.errors import Conflict
from flowkit.execution import Execution, ExecutionFilter
from flowkit.options import Entry
from flowkit.testing.contract.clients import Clients
from flowkit.testing.examples import EPOCH, SIMPLE, started
from flowkit.testing.racing import at_once

ONCE = Entry(policy="once")
ACTIVE = Entry(policy="once_active")
DAILY = Entry(policy="again_after", after=Duration(amount=1, unit="days"))


def entering(number: int, *, contact_id: str | None = "c1", **later: float) -> Execution:
    """Return a fresh execution of a contact, so much later than the epoch."""
    (execution,) = started(1, now=EPOCH + timedelta(**later))
    return replace(execution, id=f"x{number}", contact_id=contact_id)


class EntriesContract(Clients):
    """`create` with policies."""

    def enter(self, store: Any, policy: Entry, *executions: Execution) -> list[str]:
        """Create as a trigger does; return which were refused."""
        refused: list[str] = store.create(executions, absent=True, entry={SIMPLE.id: policy})
        return refused

    def test_once_is_once_for_each_contact(self, store: Any) -> None:
        assert self.enter(store, ONCE, entering(0), entering(1)) == ["x1"]
        assert self.enter(store, ONCE, entering(2, days=999), entering(3, contact_id="c2")) == [
            "x2"
        ]
        found = store.list_executions(ExecutionFilter(), limit=9)
        assert sorted(e.id for e in found) == ["x0", "x3"]
        assert store.get_execution("x3").contact_id == "c2"

    def test_the_same_execution_enters_again_and_changes_nothing(self, store: Any) -> None:
        assert self.enter(store, ONCE, entering(0)) == []
        before = store.get_execution("x0")
        assert self.enter(store, ONCE, entering(0)) == []
        assert store.get_execution("x0") == before
        with pytest.raises(Conflict):
            store.create([entering(0)], entry={SIMPLE.id: ONCE})

    def test_once_active_is_again_when_the_last_has_ended(self, store: Any) -> None:
        assert self.enter(store, ACTIVE, entering(0)) == []
        assert self.enter(store, ACTIVE, entering(1)) == ["x1"]
        store.commit([engine.cancel(store.get_execution("x0"), now=EPOCH)], now=EPOCH)
        assert self.enter(store, ACTIVE, entering(2), entering(3)) == ["x3"]

    def test_again_after_counts_from_the_last_entry(self, store: Any) -> None:
        assert self.enter(store, DAILY, entering(0)) == []
        assert self.enter(store, DAILY, entering(1, hours=23)) == ["x1"]
        assert self.enter(store, DAILY, entering(2, hours=24)) == []
        assert self.enter(store, DAILY, entering(3, hours=47)) == ["x3"]

    def test_without_contact_or_policy_all_enter(self, store: Any) -> None:
        assert self.enter(store, ONCE, *(entering(i, contact_id=None) for i in range(2))) == []
        assert store.create([entering(2), entering(3)], entry={"other": ONCE}) == []

    def test_what_entered_is_claimed_like_any_other(self, store: Any) -> None:
        self.enter(store, ONCE, entering(0))
        (claim,) = self.take(store)
        assert claim.head.id == "x0"

    def test_an_entry_is_known_longer_than_the_execution(self, store: Any) -> None:
        self.enter(store, ONCE, entering(0))
        store.commit([engine.cancel(store.get_execution("x0"), now=EPOCH)], now=EPOCH)
        assert store.delete_ended([("x0", 1)]) == 1
        assert self.enter(store, ONCE, entering(1, days=400)) == ["x1"]
        assert self.enter(store, ACTIVE, entering(2, days=401)) == []

    @pytest.mark.parametrize("before", [False, True])
    def test_of_many_at_once_one_enters(
        self, store: Any, make_store: Callable[[], Any], before: bool
    ) -> None:
        """Also when all find that the last one has ended."""
        if before:
            self.enter(store, ACTIVE, entering(9))
            store.commit([engine.cancel(store.get_execution("x9"), now=EPOCH)], now=EPOCH)

        def act(i: int) -> list[str]:
            client = make_store()
            try:
                return self.enter(client, ACTIVE, entering(i))
            finally:
                client.close()

        refused = [id for ids in at_once(4, act) for id in ids]
        assert len(refused) == 3
        live = store.list_executions(ExecutionFilter(contact_id="c1", live=True), limit=9)
        assert len(live) == 1
