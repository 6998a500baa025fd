"""Abandoned cart: remind after an hour, offer a voucher for a large cart a day later.

Trigger `cart_abandoned`, with a checkout as Shopify describes it; send it for checkouts that are
still open. A purchase, the event `order_placed`, ends it at once: `{"contact": {"id": "..."}}`,
with the id of the customer.

Templates: `cart_reminder` (body: {{1}} first name; button: link to the cart) and `cart_voucher`
(body: {{1}} first name, {{2}} voucher).
"""

import flowkit as fk

CONTACT = """{
    id: to_string(customer.id),
    phone: customer.phone || shipping_address.phone || phone,
    first_name: customer.first_name,
    country: shipping_address.country_code
}"""
"""Takes the contact out of Shopify's checkout (JMESPath)."""
FIRST_NAME = "{{ contact.first_name | default: 'you' }}"
LARGE_CART = 100

flow = (
    fk.Flow(
        "Abandoned cart",
        trigger="cart_abandoned",
        contact=CONTACT,
        filter=fk.trigger.completed_at == None,  # noqa: E711
        idempotency_key="token",
        settings={"exit": [{"event": "order_placed"}]},
    )
    .delay(hours=1)
    .when(
        fk.contact.country.is_in(["BR", "PT"]),
        then=lambda b: b.send(
            template="cart_reminder", language="pt_BR", parameters=[FIRST_NAME], id="reminder_pt"
        ),
        otherwise=lambda b: b.send(
            template="cart_reminder", language="en_US", parameters=[FIRST_NAME], id="reminder_en"
        ),
        id="speaks_portuguese",
    )
    .delay(hours=23)
    .when(
        fk.trigger.total_price > LARGE_CART,
        then=lambda b: b.send(
            template="cart_voucher",
            language="en_US",
            parameters=[FIRST_NAME, "CART10"],
            id="voucher",
        ),
        id="is_large",
    )
    .end()
)
