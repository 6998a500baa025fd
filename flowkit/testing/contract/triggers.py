"""What every store must do with the keys of triggers."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, NamedTuple

from flowkit.testing.contract.clients import Clients
from flowkit.testing.examples import EPOCH
from flowkit.testing.racing import at_once


class Key(NamedTuple):
    """What a store is given as a trigger's key: the fields of its contract's record."""

    id: str
    digest: str
    seed: str
    versions: tuple[tuple[str, int], ...]
    created_at: Any


class TriggersContract(Clients):
    """The verbs of `Triggers`."""

    def key(self, i: int = 0, id: str = "k") -> Key:
        """Return the key as the client number `i` would pin it."""
        at = EPOCH + timedelta(milliseconds=i)
        return Key(id, f"digest {i}", f"seed {i}", (("flow", i), ("other", 1)), at)

    def test_a_key_is_kept_whole(self, store: Any, make_store: Callable[[], Any]) -> None:
        assert store.pin(self.key()) == self.key()
        other = make_store()
        assert other.pin(self.key(1)) == self.key(), "the first one counts"
        other.close()
        empty = self.key(id="other")._replace(versions=())
        assert store.pin(empty) == empty

    def test_of_a_key_pinned_by_several_at_once_one_counts(
        self, store: Any, make_store: Callable[[], Any]
    ) -> None:
        def pin(i: int) -> list[Any]:
            client = make_store()
            try:
                return [client.pin(self.key(i, f"k{n}")) for n in range(20)]
            finally:
                client.close()

        results = at_once(4, pin)
        for n, pinned in enumerate(zip(*results, strict=True)):
            assert len(set(pinned)) == 1
            assert pinned[0] in [self.key(i, f"k{n}") for i in range(4)]
