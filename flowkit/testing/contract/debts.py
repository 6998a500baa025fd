"""What every store must do with executions whose end concerns others."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from flowkit import engine
from flowkit.execution import PageKey, Patch
from flowkit.testing.contract.clients import Clients
from flowkit.testing.examples import EPOCH, started

MINUTE = timedelta(minutes=1)


class DebtsContract(Clients):
    """`list_owing`, and the mark that a patch sets and takes away."""

    def test_what_has_ended_and_owes_is_listed_until_it_is_paid(self, store: Any) -> None:
        store.create([replace(e, owes=e.id != "x000001") for e in started(5)])
        assert store.list_owing(limit=9) == []
        for name, minutes in (("x000002", 1), ("x000000", 2), ("x000001", 3), ("x000003", 3)):
            now = EPOCH + minutes * MINUTE
            patch = engine.cancel(store.get_execution(name), now=now)
            assert store.commit([patch], now=now)[0].outcome == "ok"
        found = store.list_owing(limit=9)
        assert [e.id for e in found] == ["x000002", "x000000", "x000003"]
        assert all(e.owes and e.ended_at and not e.branches for e in found)
        after = PageKey(found[0].ended_at, found[0].id)
        assert store.list_owing(after=after, limit=1) == found[1:2]
        paid = Patch("x000002", owes=False, revision=found[0].revision)
        assert store.commit([paid], now=EPOCH)[0].outcome == "ok"
        assert [e.id for e in store.list_owing(limit=9)] == ["x000000", "x000003"]
        assert store.get_execution("x000002").ended_at == found[0].ended_at

    def test_a_patch_marks_what_owes_from_now_on(self, store: Any) -> None:
        store.create(started(1))
        assert not store.get_execution("x000000").owes
        store.commit([Patch("x000000", owes=True)], now=EPOCH)
        store.commit([Patch("x000000")], now=EPOCH)
        assert store.get_execution("x000000").owes
        (claim,) = self.take(store)
        assert claim.head.owes
