"""What every store must do with duties that one process has at a time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from flowkit.testing.contract.clients import Clients
from flowkit.testing.examples import EPOCH
from flowkit.testing.racing import at_once

LEASE_MS = 1000
MS = timedelta(milliseconds=1)
LEASE = LEASE_MS * MS


def elect(store: Any, owner: str, now: datetime = EPOCH, duty: str = "sweep") -> bool:
    """Stand for a duty."""
    return bool(store.elect(duty, owner, now=now, lease_ms=LEASE_MS))


class ElectionsContract(Clients):
    """The verbs of `Elections`."""

    def test_of_several_at_once_one_is_elected(
        self, store: Any, make_store: Callable[[], Any]
    ) -> None:
        for round in range(5):
            now = EPOCH + 2 * round * LEASE  # the one elected last time did not come back

            def stand(i: int, now: datetime = now) -> bool:
                client = make_store()
                try:
                    return elect(client, f"w{i}", now)
                finally:
                    client.close()

            assert sorted(at_once(4, stand)) == [False, False, False, True]

    def test_who_is_elected_renews_and_others_wait(self, store: Any) -> None:
        for step in range(5):
            now = EPOCH + step * LEASE / 2
            assert elect(store, "a", now)
            assert not elect(store, "b", now)

    def test_a_duty_is_free_when_the_lease_has_run_out(self, store: Any) -> None:
        assert elect(store, "a")
        assert not elect(store, "b", EPOCH + LEASE - MS)
        assert elect(store, "b", EPOCH + LEASE)
        assert not elect(store, "a", EPOCH + LEASE), "the slow one sees that it is not elected"

    def test_a_duty_that_was_given_up_is_free(self, store: Any) -> None:
        store.resign("sweep", "a")
        assert elect(store, "a")
        store.resign("sweep", "b")
        assert not elect(store, "b"), "it was not b's to give up"
        store.resign("sweep", "a")
        assert elect(store, "b")

    def test_a_lease_from_the_future_counts_only_while_it_may_be_a_little_old(
        self, store: Any
    ) -> None:
        assert elect(store, "a")
        assert not elect(store, "b", EPOCH - LEASE), "its idea of now is only a little old"
        assert elect(store, "b", EPOCH - LEASE - MS), "the clock went back"

    def test_duties_are_apart(self, store: Any) -> None:
        assert elect(store, "a")
        assert elect(store, "b", duty="another")
        store.resign("another", "b")
        assert not elect(store, "b")
