"""Inbound menu: answer keywords, offer a list of topics, and hand over to people.

Trigger `whatsapp.message`, once for each message of a contact, as WhatsApp describes it:
`{"contact": {"id": "...", "phone": "+55...", "tags": []}, "type": "text", "text": {"body":
"Menu"}}`. What is chosen from the list comes the same way: `{"contact": {...}, "type":
"interactive", "interactive": {"list_reply": {"id": "hours", "title": "Opening hours"}}}`.

Who is handed over gets the tag `with_agent`; while the sender passes it along, the flow is silent.
STOP always ends all flows of the contact, who has `opted_out` from then on.
"""

import flowkit as fk

TEXT = fk.trigger.text.body
STOP = ["STOP", "Stop", "stop", "UNSUBSCRIBE", "Unsubscribe", "unsubscribe"]
AGENT = ["AGENT", "Agent", "agent", "HELP", "Help", "help"]
MENU = ["MENU", "Menu", "menu", "Hello", "hello", "Hi", "hi"]

CHOICE = fk.event.interactive.list_reply.id
CHOSEN = fk.results.choice.event.interactive.list_reply.id
TOPICS = [
    {"id": "order", "title": "My order", "description": "Where it is, and what if it is late"},
    {"id": "hours", "title": "Opening hours"},
    {"id": "agent", "title": "Talk to a person"},
]

flow = (
    fk.Flow("Inbound menu", trigger="whatsapp.message", filter=fk.trigger.type == "text")
    .switch(
        {
            "stop": TEXT.is_in(STOP),
            "silent": fk.contact.tags.contains("with_agent"),
            "agent": TEXT.is_in(AGENT),
            "menu": TEXT.is_in(MENU),
        },
        on={
            "stop": lambda b: (
                b.update_contact(set={"opted_out": True}, id="opted_out")
                .stop_flows(all=True, id="stopped")
                .send(text="You will hear no more from us.", id="goodbye")
                .end()
            ),
            "silent": lambda b: b.end(),
            "menu": lambda b: (
                b.send(
                    text="How can we help?",
                    button_text="Topics",
                    sections=[{"rows": TOPICS}],
                    footer="Write STOP to hear no more from us.",
                    id="topics",
                )
                .wait_for(
                    "whatsapp.message",
                    match=CHOICE.exists(),
                    hours=23,
                    timeout=lambda b: b.end(),
                    id="choice",
                )
                .switch(
                    {"order": CHOSEN == "order", "hours": CHOSEN == "hours"},
                    on={
                        "order": lambda b: b.send(
                            text="Your order is at https://shop.example/orders", id="order"
                        ).end(),
                        "hours": lambda b: b.send(
                            text="We are here from Monday to Friday, 9:00 to 18:00.", id="hours"
                        ).end(),
                    },
                    id="topic",
                )
            ),
        },
        otherwise=lambda b: b.send(text="Write MENU to see the topics.", id="hint").end(),
        id="keyword",
    )
    .update_contact(add_tags=["with_agent"], id="handed_over")
    .send(text="Somebody of us will answer you here.", id="agent")
    .end()
)
