"""The checkouts of the demonstration: as Shopify sends them, always the same, all distinct."""

from __future__ import annotations

import itertools
import json
import re
from importlib.resources import files
from typing import Any

from flowkit import engine
from flowkit.expression import search
from flowkit.problems import errors
from flowkit.testing import EPOCH
from service.demo.checkouts import checkouts
from service.demo.flow import CONTACT, abandoned_cart

FIXTURE = json.loads(files("service.demo").joinpath("checkout.json").read_text("utf-8"))
MANY = 20_000


def shape(document: Any) -> Any:
    """Return the keys of a document, and of those within it."""
    if isinstance(document, dict):
        return {key: shape(value) for key, value in document.items()}
    return [shape(item) for item in document] if isinstance(document, list) else None


def test_the_same_seed_gives_the_same_checkouts() -> None:
    assert list(checkouts(50)) == list(checkouts(50))
    assert list(checkouts(50)) == list(itertools.islice(checkouts(90), 50))
    assert list(checkouts(50)) != list(checkouts(50, seed=1))
    assert list(checkouts(0)) == []


def test_each_has_the_shape_that_shopify_sends() -> None:
    for body in checkouts(100):
        assert shape(body) == shape(FIXTURE)
        assert json.loads(json.dumps(body)) == body


def test_each_is_of_another_customer() -> None:
    ids, phones, tokens = set(), set(), set()
    for body in checkouts(MANY):
        ids.add(body["customer"]["id"])
        phones.add(body["customer"]["phone"])
        tokens.add(body["token"])
    assert len(ids) == len(phones) == len(tokens) == MANY
    assert all(re.fullmatch(r"\+[1-9][0-9]{10,14}", phone) for phone in phones)


def test_the_flow_finds_the_contact() -> None:
    for body in checkouts(100):
        contact = search(CONTACT, body)
        assert contact == {
            "id": str(body["customer"]["id"]),
            "phone": body["customer"]["phone"],
            "first_name": body["customer"]["first_name"],
            "country": body["shipping_address"]["country_code"],
        }
        execution = engine.start(abandoned_cart, body, execution_id="x", now=EPOCH)
        assert execution is not None
        assert execution.contact_id == contact["id"]


def test_some_are_written_to_in_each_language() -> None:
    countries = [search(CONTACT, body)["country"] for body in checkouts(100)]
    assert {"BR", "US", "MX"} == set(countries)
    assert 25 < countries.count("BR") < 75


def test_the_demonstrations_flow_has_no_errors() -> None:
    assert errors(abandoned_cart.validate()) == []
