"""What every store must do with contacts."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from flowkit.contacts import Contact, cell_of, changed
from flowkit.errors import NotFound
from flowkit.testing.contract.clients import Clients
from flowkit.testing.examples import EPOCH
from flowkit.testing.racing import at_once

LATER = EPOCH + timedelta(milliseconds=1)


def contact(id: str, at: Any = EPOCH, /, **attributes: Any) -> Contact:
    """Return a contact as a trigger at a moment told of it."""
    return Contact(id=id, attributes=attributes, created_at=at, updated_at=at)


class ContactsContract(Clients):
    """The verbs of `Contacts`."""

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

    def test_what_flows_changed_stays_until_a_trigger_names_it_anew(
        self, store: Any, make_store: Callable[[], Any]
    ) -> None:
        def change(id: str, key: str, at: Any, **what: Any) -> Any:
            told = store.get_contact(id)
            made = partial(changed, told, change=what, at=at)
            return store.change_cell(cell_of(id), key, made, now=at)

        store.save_contacts([contact("a", EPOCH, name="Ana", n=1), contact("b", EPOCH, n=1)])
        answer = change("a", "k1", LATER, set={"vip": True}, unset=["name"], increment={"n": 2})
        assert answer == {"contact": {"vip": True, "n": 3}, "removed": ["name"]}
        assert change("a", "k1", LATER, increment={"n": 2}) == answer, "a key counts once"
        other = make_store()
        assert other.get_contact("a").attributes == {"vip": True, "n": 3}
        assert [c.attributes for c in other.list_contacts(limit=9)] == [
            {"vip": True, "n": 3},
            {"n": 1},
        ]
        other.close()
        last = LATER + timedelta(days=1)
        store.save_contacts([contact("a", last, name="Zoe")])
        assert store.get_contact("a").attributes == {"name": "Zoe", "vip": True, "n": 3}
        change("a", "k2", last, increment={"n": 1}, addTags=["x", "y"], removeTags=["y"])
        assert store.get_contact("a").attributes == {
            "name": "Zoe",
            "vip": True,
            "n": 4,
            "tags": ["x"],
        }
        assert store.get_contact("b").attributes == {"n": 1}

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
