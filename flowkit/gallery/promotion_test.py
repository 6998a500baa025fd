"""Promotion test: two texts of one promotion side by side, and a tenth who get nothing.

Trigger `promotion`, for each contact of the list (or a broadcast of this flow):
`{"contact": {"id": "...", "phone": "+55...", "first_name": "..."}}`. The same contact always
comes to the same arm. What is bought within a week, the event `order_placed`
(`{"total": 80, "contact": {"id": "..."}}`), is a goal reached, so that the purchases of each arm
can be compared with the holdout's.

Templates (marketing): `promotion_price` and `promotion_gift` (body: {{1}} first name).
"""

import flowkit as fk

FIRST_NAME = "{{ contact.first_name | default: 'you' }}"

flow = (
    fk.Flow("Promotion test", trigger="promotion")
    .split(
        {"price": 45, "gift": 45, "none": 10},
        holdout="none",
        on={
            "price": lambda b: b.send(
                template="promotion_price", language="en_US", parameters=[FIRST_NAME], id="price"
            ),
            "gift": lambda b: b.send(
                template="promotion_gift", language="en_US", parameters=[FIRST_NAME], id="gift"
            ),
        },
        id="arm",
    )
    .wait_for(
        "order_placed",
        days=7,
        received=lambda b: b.goal("purchase", value=fk.results.bought.event.total, id="goal"),
        id="bought",
    )
    .end()
)
