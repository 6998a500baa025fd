"""What every store must do with cells."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from flowkit.errors import NodeFailed
from flowkit.testing.contract.clients import Clients
from flowkit.testing.examples import EPOCH
from flowkit.testing.racing import at_once


def add(number: int) -> Callable[[Any], tuple[Any, Any]]:
    """Return a change that adds to a cell and answers with the sum."""

    def change(state: Any) -> tuple[Any, Any]:
        total = (state or {"total": 0})["total"] + number
        return {"total": total}, {"total": total}

    return change


class CellsContract(Clients):
    """The verbs of `Cells`."""

    def test_a_change_sees_what_the_one_before_left(
        self, store: Any, make_store: Callable[[], Any]
    ) -> None:
        assert store.change_cell("a", "k1", add(2), now=EPOCH) == {"total": 2}
        other = make_store()
        assert other.change_cell("a", "k2", add(3), now=EPOCH) == {"total": 5}
        assert other.change_cell("b.$ é", "k3", add(1), now=EPOCH) == {"total": 1}
        other.close()

    def test_a_key_counts_once(self, store: Any, make_store: Callable[[], Any]) -> None:
        first = [store.change_cell("a", f"k{i}", add(1), now=EPOCH) for i in range(120)]
        other = make_store()
        again = [
            other.change_cell("a", f"k{i}", add(1), now=EPOCH + timedelta(hours=1))
            for i in range(120)
        ]
        assert again == first == [{"total": i} for i in range(1, 121)]
        assert other.change_cell("a", "next", add(0), now=EPOCH) == {"total": 120}
        other.close()

    def test_what_a_change_raises_leaves_all_as_it_was(self, store: Any) -> None:
        def refuse(state: Any) -> Any:
            raise NodeFailed("refused", "No.")

        store.change_cell("a", "k1", add(1), now=EPOCH)
        with pytest.raises(NodeFailed):
            store.change_cell("a", "k2", refuse, now=EPOCH)
        assert store.change_cell("a", "k2", add(1), now=EPOCH) == {"total": 2}

    def test_an_answer_may_be_anything(self, store: Any) -> None:
        answer = [None, 2**70, "é😀", {"$set": {"a.b": 1.5}, "": []}]
        for _ in range(2):
            got = store.change_cell("a", "k", lambda state: ({"$x": answer}, answer), now=EPOCH)
            assert got == answer
            assert store.change_cell("n", "n", lambda state: (state, None), now=EPOCH) is None
        assert store.change_cell("a", "l", lambda state: (state, state), now=EPOCH) == {
            "$x": answer
        }

    def test_nothing_is_lost_or_counted_twice_between_callers_at_once(
        self, store: Any, make_store: Callable[[], Any]
    ) -> None:
        def take(i: int) -> list[int]:
            client = make_store()
            # Two callers each come under the same keys.
            keys = [f"{i // 2}-{n}" for n in range(15)]
            got = [client.change_cell("a", key, add(1), now=EPOCH)["total"] for key in keys]
            client.close()
            return got

        results = at_once(8, take)
        assert [results[i] == results[i + 1] for i in (0, 2, 4, 6)] == [True] * 4
        assert sorted(n for i in (0, 2, 4, 6) for n in results[i]) == list(range(1, 61))
        assert store.change_cell("a", "last", add(0), now=EPOCH) == {"total": 60}
