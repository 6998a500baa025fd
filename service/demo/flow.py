"""The abandoned-cart flow of the demonstration."""

from __future__ import annotations

import flowkit as fk
from flowkit.gallery.abandoned_cart import CONTACT

VOUCHER = "Your voucher CART10 takes 10 % off"

abandoned_cart = (
    fk.Flow("Abandoned cart", trigger="cart_abandoned", contact=CONTACT)
    .delay(seconds=2)
    .when(
        fk.contact.country == "BR",
        then=lambda b: b.send(
            template="cart_reminder",
            language="pt_BR",
            parameters=["{{ contact.first_name }}"],
            id="reminder_pt",
        ),
        otherwise=lambda b: b.send(
            template="cart_reminder",
            language="en_US",
            parameters=["{{ contact.first_name }}"],
            id="reminder_en",
        ),
    )
    .parallel(
        lambda b: b.send(
            text="{{ contact.first_name }}, your cart waits here: "
            "{{ trigger.abandoned_checkout_url }}",
            id="link",
        ),
        lambda b: b.send(text=f"{VOUCHER} {{{{ trigger.line_items[0].title }}}}.", id="voucher"),
        lambda b: b.send(text="Questions? Just answer this message.", id="help"),
    )
    .end()
)
