"""Abandoned checkouts in the shape that Shopify sends them, varied by a seeded generator.

``checkout.json`` is the body of one ``checkouts/update`` webhook with made-up people. Imports
the standard library only.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

PEOPLE = {
    "BR": ("Brazil", "BRL", "pt-BR", "+55119{:08d}", ("Ana", "Bruno", "Carla", "Diego", "Elaine")),
    "US": ("United States", "USD", "en-US", "+1555{:07d}", ("Grace", "Henry", "Iris", "Jack")),
    "MX": ("Mexico", "MXN", "es-MX", "+52155{:08d}", ("Lucía", "Mateo", "Sofía")),
}
GOODS = (("Trail running shoes", 119.90), ("Rain jacket", 89.00), ("Wool socks", 14.50))


def checkouts(number: int, *, seed: int = 2026) -> Iterator[dict[str, Any]]:
    """Yield webhook bodies: the same for the same seed, each of another customer.

    Parameters
    ----------
    number : int
        How many, at least 0.
    seed : int, optional
        Of the generator.
    """
    pattern = files(__package__).joinpath("checkout.json").read_text("utf-8")
    chance = random.Random(seed)
    for i in range(number):
        code = chance.choices(list(PEOPLE), weights=(5, 3, 2))[0]
        country, currency, locale, numbering, names = PEOPLE[code]
        title, price = chance.choice(GOODS)
        quantity = chance.randint(1, 3)
        total = f"{price * quantity:.2f}"
        token = f"{chance.getrandbits(128):032x}"
        name, phone = chance.choice(names), numbering.format(i)
        body = json.loads(pattern)
        body |= {
            "id": 981820079255243537 + i,
            "token": token,
            "name": f"#{981820079255243537 + i}",
            "currency": currency,
            "presentment_currency": currency,
            "customer_locale": locale,
            "total_price": total,
            "subtotal_price": total,
            "total_line_items_price": total,
            "abandoned_checkout_url": f"https://shop.example/checkouts/{token}/recover",
        }
        body["line_items"][0] |= {
            "title": title,
            "presentment_title": title,
            "quantity": quantity,
            "price": f"{price:.2f}",
            "line_price": total,
        }
        body["customer"] |= {
            "id": 603851970716743426 + i,
            "first_name": name,
            "email": f"customer{i}@example.com",
            "phone": phone,
            "currency": currency,
        }
        for address in (
            body["customer"]["default_address"],
            body["shipping_address"],
            body["billing_address"],
        ):
            address |= {
                "first_name": name,
                "phone": phone,
                "country": country,
                "country_code": code,
            }
        yield body
