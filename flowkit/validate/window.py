"""WhatsApp's service window: free-form messages only within 24 hours of the contact's last one.

The verdicts count the messages of which the flow hears. A contact may write at any time besides,
so what is called closed can happen to be open, while what is called open is so for certain. That
is why every finding here is a warning: nobody can prove of a flow that a contact has not written.
Of a flow that begins with anything but a message, and waits for none before it sends free text,
it is said that the window may be closed, from the first second on: most often it is.
Imports `subject`, `moments`, `finding`, `problems`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Literal

from flowkit.problems import Problem, pointer
from flowkit.validate.finding import Finding
from flowkit.validate.moments import Moment, at_least, bounded, moments
from flowkit.validate.subject import Subject

if TYPE_CHECKING:
    from flowkit.flow import Flow

DAY = 86_400.0
CLOSING = DAY - 600
"""Seconds for which the window counts as open: Meta's clock and the way there need a margin."""

_RULES = ("W01", "W02", "W03")
CLOSED = Finding(
    "window.closed",
    "A free-form message is sent when nothing tells of a message of the contact in the last 24 "
    "hours, for the flow alone has taken as long since the last.",
    rules=_RULES,
)
MAY_BE_CLOSED = Finding(
    "window.may_be_closed",
    "A free-form message is sent when the contact's last message can be older than 24 hours, or "
    "when the flow has heard of none.",
    rules=_RULES,
)

Verdict = Literal["open", "may be closed", "closed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """WhatsApp's service window at a message; rows of ``pandas.DataFrame(flow.window())``.

    Attributes
    ----------
    node_id : str
    sends : {"free", "template"}
        A template needs no open window.
    verdict : {"open", "may be closed", "closed"}
        While the message is sent, all of its attempts included. Open is proved; closed counts
        the messages of which the flow hears.
    youngest, oldest : timedelta
        How old the contact's last message is when the node is entered. An `oldest` of None has
        no bound, or there may have been no message.
    """

    node_id: str
    sends: Literal["free", "template"]
    verdict: Verdict
    youngest: timedelta
    oldest: timedelta | None


def window(flow: Flow) -> list[Window]:
    """Return what is proved of the service window at each message that can be reached."""
    subject = Subject(flow)
    found = subject.once(moments)
    rows = []
    for node in subject.order:
        made, moment = subject.made[node], found[node]
        sends = made.sends() if made is not None else None
        if made is None or moment is None or sends is None:
            continue
        rows.append(
            Window(
                node_id=flow.nodes[node].id,
                sends=sends,
                verdict=verdict(moment, subject.takes(node, None)[1]),
                youngest=at_least(moment.age.least),
                oldest=None if moment.silent else bounded(moment.age.most),
            )
        )
    return rows


def verdict(moment: Moment, longest: float = 0.0) -> Verdict:
    """Return whether the window is open at a moment, and for so many seconds after it."""
    if not moment.silent and moment.age.most + longest < CLOSING:
        return "open"
    if moment.age.least >= DAY:
        return "closed"
    return "may be closed"


def free_messages(subject: Subject) -> Iterator[Problem]:
    """Warn of free-form messages that WhatsApp may refuse."""
    found = subject.once(moments)
    for index, (made, moment) in enumerate(zip(subject.made, found, strict=True)):
        if made is None or moment is None or made.sends() != "free":
            continue
        said = verdict(moment, subject.takes(index, None)[1])
        path, name = pointer("nodes", index), subject.show(index)
        if said == "closed":
            yield CLOSED.at(
                path,
                f"At {name} the window is always closed: as far as the flow hears, the contact's "
                f"last message is at least {words(moment.age.least)} old, and after 24 hours "
                "WhatsApp refuses free text. Send a template.",
            )
        elif said == "may be closed" and moment.silent:
            yield MAY_BE_CLOSED.at(
                path,
                f"At {name} the window may be closed: no message of the contact starts the flow "
                "(its trigger is another event) or is waited for on every way there, and WhatsApp "
                "refuses free text to who has not written within 24 hours. Send a template first, "
                "and wait for an answer.",
            )
        elif said == "may be closed":
            yield MAY_BE_CLOSED.at(
                path,
                f"At {name} the window may be closed: the contact's last message can be "
                f"{words(moment.age.most + subject.held(index))} old, and after 24 hours WhatsApp "
                "refuses free text. Send a template there, or shorten the waits before.",
            )


def words(seconds: float) -> str:
    """Return a time in words."""
    if seconds == float("inf"):
        return "any time"
    for unit, size in (("days", DAY), ("hours", 3_600.0), ("minutes", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} seconds"
