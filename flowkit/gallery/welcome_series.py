"""Welcome series: greet a new contact, show around for a week, and ask for a first purchase.

Trigger `signed_up`: `{"source": "website", "contact": {"id": "...", "phone": "+55...",
"first_name": "...", "country": "BR"}}`. Each contact is welcomed once, and left alone from the
first purchase on, the event `order_placed`: `{"contact": {"id": "..."}}`. Messages come at the
hour of the sign-up, when the contact is known to be awake. Some get a voucher, the others a
reminder.

Templates (marketing): `welcome` and `welcome_tips` (body: {{1}} first name), `welcome_voucher`,
`welcome_reminder` and `welcome_last`.
"""

import flowkit as fk

FIRST_NAME = "{{ contact.first_name | default: 'you' }}"

flow = (
    fk.Flow(
        "Welcome series",
        trigger="signed_up",
        settings={"entry": {"policy": "once"}, "exit": [{"event": "order_placed"}]},
    )
    .send(template="welcome", language="en_US", parameters=[FIRST_NAME], id="welcome")
    .delay(days=1)
    .when(
        fk.contact.country.is_in(["BR", "PT"]),
        then=lambda b: b.send(
            template="welcome_tips", language="pt_BR", parameters=[FIRST_NAME], id="tips_pt"
        ),
        otherwise=lambda b: b.send(
            template="welcome_tips", language="en_US", parameters=[FIRST_NAME], id="tips_en"
        ),
        id="speaks_portuguese",
    )
    .delay(days=2)
    .split(
        {"voucher": 45, "reminder": 55},
        on={
            "voucher": lambda b: b.send(template="welcome_voucher", language="en_US", id="voucher"),
            "reminder": lambda b: b.delay(days=1).send(
                template="welcome_reminder", language="en_US", id="reminder"
            ),
        },
        id="offer",
    )
    .delay(days=3)
    .send(template="welcome_last", language="en_US", id="last")
    .end()
)
