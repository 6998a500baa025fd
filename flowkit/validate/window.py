"""WhatsApp's service window: free-form messages only within 24 hours of the contact's last one.

The verdicts count the messages of which the flow hears. A contact may write at any time besides,
so what is called closed can happen to be open, while what is called open is so for certain.
Of a flow that begins with anything but a message nobody can tell from the flow when the contact
wrote last: its messages may be refused, which `timing` says, but no finding does before the flow
itself has taken a day.
Imports `subject`, `moments`, `finding`, `problems`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from flowkit.problems import Problem, pointer
from flowkit.validate.finding import Finding
from flowkit.validate.moments import Moment, moments
from flowkit.validate.subject import Subject

DAY = 86_400.0
CLOSING = DAY - 600
"""Seconds for which the window counts as open: Meta's clock and the way there need a margin."""

CLOSED = Finding(
    "window.closed",
    "A free-form message is sent when nothing tells of a message of the contact in the last 24 "
    "hours, for the flow alone has taken as long since the last.",
)
MAY_BE_CLOSED = Finding(
    "window.may_be_closed",
    "A free-form message is sent when the contact's last message can be older than 24 hours.",
)

Verdict = Literal["open", "may be closed", "closed"]


def verdict(moment: Moment, longest: float = 0.0) -> Verdict:
    """Return whether the window is open at a moment, and for so many seconds after it."""
    if not moment.silent and moment.age.most + longest < CLOSING:
        return "open"
    if moment.age.least >= DAY:
        return "closed"
    return "may be closed"


def free_messages(subject: Subject) -> Iterator[Problem]:
    """Warn of free-form messages that WhatsApp may refuse."""
    for index, (made, moment) in enumerate(zip(subject.made, moments(subject), strict=True)):
        if made is None or moment is None or made.sends() != "free":
            continue
        said = verdict(moment, subject.takes(index, None)[1])
        path, name = pointer("nodes", index), subject.show(index)
        if said == "closed":
            yield CLOSED.at(
                path,
                f"At {name} the contact's last message is at least {words(moment.age.least)} old, "
                "and after 24 hours WhatsApp refuses free text: send a template.",
            )
        elif said == "may be closed" and not moment.silent:
            old = f"can be {words(moment.age.most + subject.held(index))} old"
            yield MAY_BE_CLOSED.at(
                path,
                f"At {name} the contact's last message {old}, and after 24 hours WhatsApp refuses "
                "free text: send a template there, or shorten the waits before.",
            )


def words(seconds: float) -> str:
    """Return a time in words."""
    if seconds == float("inf"):
        return "any time"
    for unit, size in (("days", DAY), ("hours", 3_600.0), ("minutes", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} seconds"
