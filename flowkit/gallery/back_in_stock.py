"""Back in stock: tell those who asked, the best customers a day before the others.

Trigger `back_in_stock`, once for each contact who asked: `{"product": {"id": "...", "name":
"Lamp"}, "contact": {"id": "...", "phone": "+55...", "first_name": "...", "tags": ["vip"]}}`.

Template: `back_in_stock` (body: {{1}} first name, {{2}} product; button: link to the shop).
"""

import flowkit as fk

flow = (
    fk.Flow("Back in stock", trigger="back_in_stock")
    .when(
        fk.contact.tags.contains("vip"), otherwise=lambda b: b.delay(days=1, id="wait"), id="is_vip"
    )
    .send(
        template="back_in_stock",
        language="en_US",
        parameters=["{{ contact.first_name | default: 'you' }}", "{{ trigger.product.name }}"],
        id="told",
    )
    .end()
)
