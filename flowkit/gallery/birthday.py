"""Birthday: congratulate at nine in the morning, with a voucher for regular customers.

Trigger `birthday_soon`, once a year in the days before: `{"orders": 3, "contact": {"id": "...",
"phone": "+55...", "first_name": "...", "birthday": "1990-05-17", "time_zone": "..."}}`. When it
comes too late this year, nothing is sent.

Templates (marketing): `birthday` (body: {{1}} first name) and `birthday_voucher` (body: {{1}} first
name, {{2}} voucher).
"""

import flowkit as fk

FIRST_NAME = "{{ contact.first_name | default: 'you' }}"

flow = (
    fk.Flow("Birthday", trigger="birthday_soon", filter=fk.trigger.contact.birthday.exists())
    .delay_date(
        "{{ contact.birthday }}", at="09:00", yearly=True, on={"past": lambda b: b.end()}, id="day"
    )
    .when(
        fk.trigger.orders >= 3,
        then=lambda b: b.send(
            template="birthday_voucher",
            language="en_US",
            parameters=[FIRST_NAME, "BDAY20"],
            id="voucher",
        ),
        otherwise=lambda b: b.send(
            template="birthday", language="en_US", parameters=[FIRST_NAME], id="wishes"
        ),
        id="is_regular",
    )
    .end()
)
