"""Appointment reminder: confirm the appointment, remind a day before and two hours before.

Trigger `appointment_due`, which the calendar sends 24 hours before the appointment:
`{"appointment": {"id": "...", "time": "14:30", "place": "Main Street 5", "online": false},
"contact": {"id": "...", "phone": "+55...", "first_name": "..."}}`.

Templates (utility): `appointment_tomorrow` (body: {{1}} first name, {{2}} time; buttons: confirm,
cancel), `appointment_soon` (body: {{1}} time, {{2}} place) and `appointment_link` (body: {{1}}
time; button: link to the call).
"""

import flowkit as fk

TIME = "{{ trigger.appointment.time }}"

flow = (
    fk.Flow("Appointment reminder", trigger="appointment_due", idempotency_key="appointment.id")
    .send(
        template="appointment_tomorrow",
        language="en_US",
        parameters=["{{ contact.first_name | default: 'you' }}", TIME],
        id="tomorrow",
    )
    .delay(hours=22)
    .when(
        fk.trigger.appointment.online == True,  # noqa: E712
        then=lambda b: b.send(
            template="appointment_link", language="en_US", parameters=[TIME], id="link"
        ),
        otherwise=lambda b: b.send(
            template="appointment_soon",
            language="en_US",
            parameters=[TIME, "{{ trigger.appointment.place }}"],
            id="soon",
        ),
        id="is_online",
    )
    .end()
)
