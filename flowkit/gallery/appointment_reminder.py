"""Appointment reminder: ask a day before, act on the button tapped, remind two hours before.

Trigger `appointment_due`, which the calendar sends 24 hours before the appointment:
`{"appointment": {"id": "...", "starts_at": "2026-12-01T14:30-03:00", "time": "14:30", "place":
"Main Street 5", "online": false}, "contact": {"id": "...", "phone": "+55...", "first_name":
"..."}}`. Answers come as the event `whatsapp.message`, as WhatsApp describes the message: a
template's button as `{"contact": {"id": "..."}, "button": {"payload": "confirm"}}`, that of a
message as `{"contact": {"id": "..."}, "interactive": {"button_reply": {"id": "morning"}}}`.

The contact's attribute `appointment` says what was answered (confirm, move or cancel), and
`appointment_wish` when it suits better; who does not answer is reminded all the same.

Templates (utility): `appointment_tomorrow` (body: {{1}} first name, {{2}} time; quick replies: I
will come, Another time, Cancel), `appointment_soon` (body: {{1}} time, {{2}} place) and
`appointment_link` (body: {{1}} time; button: link to the call).
"""

import flowkit as fk

TIME = "{{ trigger.appointment.time }}"
ANSWERS = ["confirm", "move", "cancel"]
WISHES = [{"id": "morning", "title": "Morning"}, {"id": "afternoon", "title": "Afternoon"}]

ANSWER = fk.results.answer.event.button.payload
WISH = fk.results.wish.event.interactive.button_reply.id

flow = (
    fk.Flow("Appointment reminder", trigger="appointment_due", idempotency_key="appointment.id")
    .send(
        template="appointment_tomorrow",
        language="en_US",
        parameters=["{{ contact.first_name | default: 'you' }}", TIME],
        button_parameters=[
            {"index": index, "kind": "quick_reply", "value": answer}
            for index, answer in enumerate(ANSWERS)
        ],
        id="tomorrow",
    )
    .wait_for(
        "whatsapp.message",
        match=fk.event.button.payload.is_in(ANSWERS),
        hours=22,
        received=lambda b: b.update_contact(set={"appointment": ANSWER}, id="noted").switch(
            {"confirm": ANSWER == "confirm", "move": ANSWER == "move"},
            on={
                "confirm": lambda b: b.send(
                    text=f"See you tomorrow at {TIME}!", id="confirmed"
                ).delay_until(
                    "{{ trigger.appointment.starts_at }}", offset_minutes=-120, id="two_hours"
                ),
                "move": lambda b: (
                    b.send(
                        text="When does it suit you better? We will look for a time then.",
                        buttons=WISHES,
                        id="when",
                    )
                    .wait_for(
                        "whatsapp.message",
                        match=fk.event.interactive.button_reply.id.exists(),
                        hours=20,
                        timeout=lambda b: b.end(),
                        id="wish",
                    )
                    .update_contact(set={"appointment_wish": WISH}, id="wished")
                    .end()
                ),
            },
            otherwise=lambda b: b.send(text="Your appointment is cancelled.", id="cancelled").end(),
            id="choice",
        ),
        id="answer",
    )
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
