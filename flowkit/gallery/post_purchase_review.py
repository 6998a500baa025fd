"""Post-purchase review: ask for a review five days after delivery, and once more a week later.

Trigger `order_delivered`: `{"order": {"number": "1001", "product": "Lamp", "total": 80},
"contact": {"id": "...", "phone": "+55...", "first_name": "...", "reviews": true}}`. Contacts who
have said no to reviews (`reviews` is false) are left alone; the second request goes only to large
orders, and not after the event `review_written` (`{"contact": {"id": "..."}}`).

Templates: `review_request` and `review_reminder` (body: {{1}} first name, {{2}} product; button:
link to the form).
"""

import flowkit as fk

ABOUT = ["{{ contact.first_name | default: 'you' }}", "{{ trigger.order.product }}"]
LARGE_ORDER = 50

flow = (
    fk.Flow(
        "Post-purchase review",
        trigger="order_delivered",
        idempotency_key="order.number",
        settings={"exit": [{"event": "review_written"}]},
    )
    .when(fk.contact.reviews == False, then=lambda b: b.end(), id="said_no")  # noqa: E712
    .delay(days=5)
    .send(template="review_request", language="en_US", parameters=ABOUT, id="request")
    .when(
        fk.trigger.order.total >= LARGE_ORDER,
        then=lambda b: b.delay(weeks=1).send(
            template="review_reminder", language="en_US", parameters=ABOUT, id="reminder"
        ),
        id="is_large",
    )
    .end()
)
