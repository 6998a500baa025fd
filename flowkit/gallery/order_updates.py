"""Order and shipping updates: tell the customer when an order is confirmed, shipped, delivered.

Trigger `order_updated`, once for each change of an order:
`{"event_id": "...", "status": "shipped", "order": {"number": "1001", "tracking_url": "..."},
"contact": {"id": "...", "phone": "+55...", "first_name": "..."}}`. A status that is none of the
three starts nothing, and an event that is delivered again is told once.

Templates (utility): `order_confirmed` and `order_delivered` (body: {{1}} first name, {{2}} number)
and `order_shipped` (body: also {{3}} where the parcel is).
"""

import flowkit as fk

ORDER = ["{{ contact.first_name | default: 'you' }}", "{{ trigger.order.number }}"]
TRACKING = "{{ trigger.order.tracking_url | default: 'soon to be known' }}"

flow = (
    fk.Flow(
        "Order updates",
        trigger="order_updated",
        filter=fk.trigger.status.is_in(["confirmed", "shipped", "delivered"]),
        idempotency_key="event_id",
    )
    .switch(
        {"confirmed": fk.trigger.status == "confirmed", "shipped": fk.trigger.status == "shipped"},
        on={
            "confirmed": lambda b: b.send(
                template="order_confirmed", language="en_US", parameters=ORDER, id="confirmed"
            ),
            "shipped": lambda b: b.send(
                template="order_shipped",
                language="en_US",
                parameters=[*ORDER, TRACKING],
                id="shipped",
            ),
        },
        otherwise=lambda b: b.send(
            template="order_delivered", language="en_US", parameters=ORDER, id="delivered"
        ),
        id="status",
    )
    .end()
)
