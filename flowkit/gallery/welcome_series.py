"""Welcome series: greet a new contact, show around for a week, and ask for a first purchase.

Trigger `signed_up`: `{"source": "website", "contact": {"id": "...", "phone": "+55...",
"first_name": "...", "time_zone": "America/Sao_Paulo"}}`. Messages after the first go out between
09:00 and 20:00 where the contact is; half of the contacts get a voucher at the end.

Templates (marketing): `welcome`, `welcome_tips` and `welcome_last` (body: {{1}} first name), and
`welcome_voucher` (body: {{1}} first name, {{2}} voucher).
"""

import flowkit as fk

FIRST_NAME = "{{ contact.first_name | default: 'you' }}"

flow = (
    fk.Flow("Welcome series", trigger="signed_up")
    .send(template="welcome", language="en_US", parameters=[FIRST_NAME], id="welcome")
    .delay_days(2)
    .sending_window("09:00", "20:00")
    .send(template="welcome_tips", language="en_US", parameters=[FIRST_NAME], id="tips")
    .delay_days(5)
    .sending_window("09:00", "20:00")
    .split(
        {"voucher": 50, "plain": 50},
        on={
            "voucher": lambda b: b.send(
                template="welcome_voucher",
                language="en_US",
                parameters=[FIRST_NAME, "HELLO10"],
                id="voucher",
            ),
            "plain": lambda b: b.send(
                template="welcome_last", language="en_US", parameters=[FIRST_NAME], id="last"
            ),
        },
        id="offer",
    )
    .end()
)
