"""Texts whose length nobody knows before they are rendered, where few characters fit (W11).

Titles, headers, footers and codes take 15 to 72 characters, which a name or a product can exceed;
the bodies of messages take a thousand and more, of which nothing is said here.
Imports `subject`, `nodes`, `whatsapp`, `template`, `finding`, `problems`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from flowkit import whatsapp
from flowkit.nodes.messages import SendMessage
from flowkit.problems import Problem, pointer
from flowkit.template import variables
from flowkit.validate.finding import Finding
from flowkit.validate.subject import Subject

UNBOUNDED = Finding(
    "message.may_be_too_long",
    "A variable of unknown length stands where WhatsApp takes few characters.",
    rules=("W11",),
)

_BOUNDED = re.compile(r"\|\s*(?:truncate|truncatewords|slice)\b")


def unbounded(subject: Subject) -> Iterator[Problem]:
    """Warn of short texts that data can make too long."""
    for index, made in enumerate(subject.made):
        for place, text, most in _short(made) if isinstance(made, SendMessage) else ():
            if text and whatsapp.is_liquid(text) and variables(text) and not _BOUNDED.search(text):
                yield UNBOUNDED.at(
                    pointer("nodes", index, "config") + place,
                    f"At {subject.show(index)} this comes out as long as the data is, and WhatsApp "
                    f"takes {most} characters, else the message fails: cut it, such as "
                    f"{{{{ ... | truncate: {most} }}}}.",
                )


def _short(made: SendMessage) -> Iterator[tuple[str, str | None, int]]:
    """Yield the texts of a message that must be short, with their places and limits."""
    if made.header is not None:
        yield "/header/text", made.header.text, whatsapp.MAX_HEADER
    yield "/footer", made.footer, whatsapp.MAX_FOOTER
    yield "/buttonText", made.button_text, whatsapp.MAX_BUTTON
    for number, button in enumerate(made.buttons or ()):
        yield pointer("buttons", number, "title"), button.title, whatsapp.MAX_BUTTON
    for number, section in enumerate(made.sections or ()):
        path = pointer("sections", number)
        yield path + "/title", section.title, whatsapp.MAX_SECTION
        for place, row in enumerate(section.rows):
            inside = path + pointer("rows", place)
            yield inside + "/title", row.title, whatsapp.MAX_ROW
            yield inside + "/description", row.description, whatsapp.MAX_DESCRIPTION
    for number, parameter in enumerate(made.button_parameters):
        if parameter.kind == "copy_code":
            path = pointer("buttonParameters", number, "value")
            yield path, parameter.value, whatsapp.MAX_COUPON
