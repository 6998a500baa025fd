"""The part of the store contract about contacts and the keys of triggers.

May import the core of `flowkit` and pytest.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, NamedTuple

import pytest

from flowkit.contacts import Contact
from flowkit.errors import NotFound
from flowkit.testing.atonce import at_once
from flowkit.testing.examples import EPOCH

LATER = EPOCH + timedelta(milliseconds=1)


class Key(NamedTuple):
    """What a store is given as a trigger's key: the fields of its contract's record."""

    id: str
    digest: str
    seed: str
    versions: tuple[tuple[str, int], ...]
    created_at: Any


def contact(id: str, at: Any = EPOCH, **attributes: Any) -> Contact:
    """Return a contact as a trigger at a moment told of it."""
    return Contact(id=id, attributes=attributes, created_at=at, updated_at=at)


class ContactsContract:
    """What every store does with contacts."""

    def test_a_contact_is_kept_whole(self, store: Any, make_store: Callable[[], Any]) -> None:
        odd = {"$set": {"a.b": [1, None, {}]}, "_id": "x", "big": 2**70, "text": "é😀", "": 1.5}
        saved = [contact("a", **odd), contact("+55 11/9.$", id="+55 11/9.$")]
        store.save_contacts(saved)
        other = make_store()
        assert other.get_contact("a") == saved[0]
        assert other.get_contact("+55 11/9.$") == saved[1]
        other.close()
        with pytest.raises(NotFound):
            store.get_contact("b")

    def test_the_later_news_of_a_contact_counts(self, store: Any) -> None:
        store.save_contacts([contact("a", LATER, n=2)])
        store.save_contacts([contact("a", EPOCH, n=1), contact("b", n=1)])
        assert store.get_contact("a") == contact("a", LATER, n=2), "older news changes nothing"
        store.save_contacts([contact("a", LATER, n=3)])
        assert store.get_contact("a").attributes == {"n": 2}, "nor does news of the same moment"
        last = LATER + timedelta(days=1)
        store.save_contacts([contact("a", last, n=4)])
        assert store.get_contact("a") == Contact(
            id="a", attributes={"n": 4}, created_at=LATER, updated_at=last
        )
        store.save_contacts([])

    def test_contacts_are_listed_by_id_and_paged(self, store: Any) -> None:
        ids = ["B", "a", "a0", "b", "é", "😀"]
        store.save_contacts([contact(id) for id in reversed(ids)])
        listed, after = [], None
        while page := store.list_contacts(after=after, limit=4):
            listed += page
            after = page[-1].id
        assert listed == [contact(id) for id in ids]

    def test_a_contact_saved_by_several_at_once_is_one(
        self, store: Any, make_store: Callable[[], Any]
    ) -> None:
        def save(i: int) -> None:
            client = make_store()
            client.save_contacts(
                [contact(f"c{n}", EPOCH + timedelta(seconds=i), n=i) for n in range(20)]
            )
            client.close()

        assert at_once(4, save) == [None] * 4
        assert [c.attributes for c in store.list_contacts(limit=99)] == [{"n": 3}] * 20


class TriggersContract:
    """What every store does with the keys of triggers."""

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
