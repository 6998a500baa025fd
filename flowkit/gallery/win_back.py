"""Win-back: greet customers who have been away, and offer a voucher to those worth it.

Trigger `customer_inactive`, which the shop sends once when a customer has not bought for 90 days:
`{"orders": 4, "spent": 320, "contact": {"id": "...", "phone": "+55...", "first_name": "..."}}`.
Who buys, the event `order_placed` (`{"contact": {"id": "..."}}`), hears no more.

Templates (marketing): `we_miss_you` (body: {{1}} first name) and `come_back` (body: {{1}} first
name, {{2}} voucher).
"""

import flowkit as fk

FIRST_NAME = "{{ contact.first_name | default: 'you' }}"

flow = (
    fk.Flow(
        "Win-back",
        trigger="customer_inactive",
        filter=fk.trigger.orders > 0,
        settings={"exit": [{"event": "order_placed"}]},
    )
    .send(template="we_miss_you", language="en_US", parameters=[FIRST_NAME], id="greeting")
    .when(
        (fk.trigger.orders >= 3) | (fk.trigger.spent > 200),
        then=lambda b: b.delay(weeks=1).send(
            template="come_back", language="en_US", parameters=[FIRST_NAME, "BACK15"], id="voucher"
        ),
        id="is_worth_it",
    )
    .end()
)
