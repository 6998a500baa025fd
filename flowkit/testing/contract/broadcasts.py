"""What every store must do with broadcasts and their recipients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from flowkit.broadcast import Broadcast
from flowkit.errors import Conflict, NotFound
from flowkit.execution import PageKey
from flowkit.problems import Problem
from flowkit.testing.contract.clients import Clients
from flowkit.testing.examples import EPOCH
from flowkit.testing.racing import at_once

SECOND = timedelta(seconds=1)


def broadcast(id: str = "b0", **more: Any) -> Broadcast:
    """Return a broadcast; `more` replaces what it says."""
    said: dict[str, Any] = {
        "flow_id": "flow",
        "flow_version": 1,
        "status": "running",
        "created_at": EPOCH,
        "updated_at": EPOCH,
    }
    return Broadcast(id=id, **said | more)


FULL = broadcast(
    filter={"==": [{"var": "contact.a"}, {"$odd.key": [None, 2**70]}]},
    per_second=0.25,
    total=3,
    created=1,
    refused=1,
    skipped=1,
    rate=12.345,
    problems=[Problem("code", "/17", "é😀", "warning")],
    updated_at=EPOCH + SECOND,
    started_at=EPOCH + 2 * SECOND,
    ended_at=EPOCH + 3 * SECOND,
    next_at=EPOCH + 4 * SECOND,
    cursor="+55 11",
    batches=7,
    revision=3,
)


class BroadcastsContract(Clients):
    """The verbs of `Broadcasts`."""

    def test_a_broadcast_is_kept_whole(self, store: Any, make_store: Callable[[], Any]) -> None:
        store.insert_broadcast(FULL)
        store.insert_broadcast(broadcast("b1"))
        other = make_store()
        assert other.get_broadcast("b0") == FULL
        assert other.get_broadcast("b1") == broadcast("b1")
        other.close()
        with pytest.raises(Conflict):
            store.insert_broadcast(broadcast())
        with pytest.raises(NotFound):
            store.get_broadcast("b2")

    def test_a_broadcast_is_replaced_under_its_revision(self, store: Any) -> None:
        store.insert_broadcast(broadcast())
        changed = replace(FULL, revision=1)
        store.replace_broadcast(changed)
        assert store.get_broadcast("b0") == changed
        for revision in (0, 1, 3):
            with pytest.raises(Conflict):
                store.replace_broadcast(replace(FULL, revision=revision, created=99))
        assert store.get_broadcast("b0") == changed
        with pytest.raises(NotFound):
            store.replace_broadcast(broadcast("b1", revision=1))

    def test_of_two_changes_of_a_broadcast_one_wins(
        self, store: Any, make_store: Callable[[], Any]
    ) -> None:
        store.insert_broadcast(broadcast())

        def change(i: int) -> int:
            client = make_store()
            try:
                client.replace_broadcast(broadcast(created=i, revision=1))
            finally:
                client.close()
            return i

        results = at_once(4, change)
        (winner,) = [r for r in results if isinstance(r, int)]
        assert sum(isinstance(r, Conflict) for r in results) == 3
        assert store.get_broadcast("b0") == broadcast(created=winner, revision=1)

    def test_broadcasts_are_listed_newest_first_and_paged(self, store: Any) -> None:
        made = [
            broadcast(f"b{i}", flow_id=f"f{i % 2}", created_at=EPOCH + i // 2 * SECOND)
            for i in range(5)
        ]
        for one in made:
            store.insert_broadcast(one)
        assert store.list_broadcasts(limit=9) == made[::-1]
        assert [b.id for b in store.list_broadcasts(flow_id="f1", limit=9)] == ["b3", "b1"]
        first = store.list_broadcasts(limit=2)
        after = PageKey(first[-1].created_at, first[-1].id)
        assert [b.id for b in store.list_broadcasts(after=after, limit=2)] == ["b2", "b1"]

    def test_what_is_due_is_found_the_longest_due_first(self, store: Any) -> None:
        for i, status in enumerate(("cancelled", "running", "accepting", "running")):
            due = EPOCH - i * SECOND
            store.insert_broadcast(broadcast(f"b{i}", status=status, next_at=due))
        store.insert_broadcast(broadcast("paused", status="paused"))
        later = EPOCH + timedelta(milliseconds=1)
        store.insert_broadcast(broadcast("later", next_at=later))
        found = store.due_broadcasts(now=EPOCH, limit=9)
        assert [b.id for b in found] == ["b3", "b2", "b1", "b0"]
        assert found[0] == store.get_broadcast("b3")
        assert [b.id for b in store.due_broadcasts(now=EPOCH, limit=1)] == ["b3"]
        store.replace_broadcast(broadcast("b3", next_at=None, revision=1))
        assert [b.id for b in store.due_broadcasts(now=later, limit=9)][-1] == "later"

    def test_recipients_are_kept_by_batch(self, store: Any, make_store: Callable[[], Any]) -> None:
        odd: list[Any] = [{"$a.b": {}, "big": 2**70, "é": [None]}, "text", None, []]
        store.put_recipients("b0", 0, odd)
        store.put_recipients("b0", 1, [1])
        store.put_recipients("b1", 0, [2])
        store.put_recipients("b0", 1, [3])
        other = make_store()
        assert other.get_recipients("b0", 0) == odd
        assert other.get_recipients("b0", 1) == [3], "it takes the place of the one before"
        other.close()
        with pytest.raises(NotFound):
            store.get_recipients("b0", 2)
        store.delete_recipients("b0")
        for number in (0, 1):
            with pytest.raises(NotFound):
                store.get_recipients("b0", number)
        assert store.get_recipients("b1", 0) == [2]
        store.delete_recipients("b0")
