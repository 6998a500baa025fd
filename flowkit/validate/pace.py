"""How closely messages to one contact follow each other: W07 and W12.

Reckoned with the shortest pauses that a way can make, so a warning says what can happen; an error
is what must, when WhatsApp answers at once. Imports `subject`, `ahead`, `consent`, `nodes`,
`finding`, `problems`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator
from itertools import pairwise
from typing import NamedTuple

from flowkit.nodes.control import Repeat
from flowkit.nodes.limits import FrequencyCap
from flowkit.problems import Problem, pointer
from flowkit.shape import AGAIN
from flowkit.validate.ahead import Ahead
from flowkit.validate.consent import marketing
from flowkit.validate.finding import Finding
from flowkit.validate.subject import Subject
from flowkit.validate.window import DAY, words

OFTEN = Finding(
    "marketing.often",
    "A contact can get more than one marketing template within 24 hours.",
    rules=("W07",),
)
PAIR = Finding(
    "pace.pair",
    "Messages to a contact can follow each other within 6 seconds, which WhatsApp slows down and "
    "may deliver in another order.",
    rules=("W12",),
)
BURST = Finding(
    "pace.burst",
    "A contact gets more than 45 messages without a pause, of which WhatsApp refuses the rest.",
    "error",
    ("W12",),
)

PAIR_SECONDS = 6.0
"""For each message to a contact, on average."""
MOST_AT_ONCE = 45


class Close(NamedTuple):
    """A node at which messages can come too close, and by how many seconds they are apart.

    `forks` where they go out by parallel branches of it, in place of one after the other.
    """

    node: int
    apart: float
    forks: bool


def frequency(subject: Subject) -> Iterator[Problem]:
    """Warn where marketing can follow marketing within a day, but for a FREQUENCY_CAP of one."""

    def capped(node: int, handle: str | None) -> bool:
        made = subject.made[node]
        return isinstance(made, FrequencyCap) and made.maximum == 1 and handle == "allowed"

    for node, apart, forks in _close(subject, marketing(subject), DAY, capped):
        where = "by parallel branches of" if forks else "at"
        after = f"only {words(apart)} after another" if apart else "together with another"
        yield OFTEN.at(
            pointer("nodes", node),
            f"A second marketing template can go out {where} {subject.show(node)} "
            f"{after}; WhatsApp caps what a person gets in a day and drops "
            "the rest. Wait longer, or put a FREQUENCY_CAP of one a day before it.",
        )


def pairs(subject: Subject) -> Iterator[Problem]:
    """Warn where messages can follow each other within 6 seconds."""
    sends = [i for i, made in enumerate(subject.made) if made is not None and made.sends()]
    for node, apart, forks in _close(subject, sends, PAIR_SECONDS, lambda node, handle: False):
        what = (
            f"The branches that part at {subject.show(node)} can send"
            if forks
            else f"{subject.show(node)} can send"
        )
        after = f"{words(apart)} after a message" if apart else "at once after a message"
        after = "at the same time" if forks and not apart else after
        yield PAIR.at(
            pointer("nodes", node),
            f"{what} {after}; WhatsApp takes one message in 6 seconds for each contact on "
            "average, and does not keep their order. Wait between them, or send one.",
        )


def _close(
    subject: Subject,
    sends: Collection[int],
    seconds: float,
    parts: Callable[[int, str | None], bool],
) -> Iterator[Close]:
    """Yield where two of some messages can be less than some seconds apart.

    `parts` says of a node and a handle that what comes behind is far from what was before.
    """
    if len(subject.order) < len(subject.made) or not sends:
        return
    sending = set(sends)
    last = _since_last(subject, sending, parts)
    first = _first_ahead(subject, sending, parts)
    for node in subject.order:
        if node in sending and last[node] < seconds:
            yield Close(node, last[node], forks=False)
        for targets in subject.ways[node].values():
            soon = sorted(first[target] for target in targets if first[target][1] is not None)
            gaps = [b[0] - a[0] for a, b in pairwise(soon) if a[1] != b[1]]
            if gaps and min(gaps) < seconds:
                yield Close(node, min(gaps), forks=True)


def _since_last(
    subject: Subject, sending: set[int], parts: Callable[[int, str | None], bool]
) -> list[float]:
    """Return the least seconds that have passed at each node since a message before."""
    last = [math.inf] * len(subject.made)
    # A second time for what a round of a loop leaves to the next.
    for _ in range(2 if subject.shape.back else 1):
        for node in subject.order:
            made = subject.made[node]
            base = 0.0 if node in sending else last[node]
            if made is None or math.isinf(base):
                continue
            for handle, targets in subject.ways[node].items():
                passed = math.inf if parts(node, handle) else base + made.takes(handle)[0]
                for target in targets:
                    last[target] = min(last[target], passed)
    return last


def _first_ahead(
    subject: Subject, sending: set[int], parts: Callable[[int, str | None], bool]
) -> list[tuple[float, int | None]]:
    """Return the least seconds from each node to the first message ahead, and which that is."""
    first: list[tuple[float, int | None]] = [(math.inf, None)] * len(subject.made)
    for node in reversed(subject.order):
        made = subject.made[node]
        if node in sending:
            first[node] = (0.0, node)
        elif made is not None:
            for handle, targets in subject.ways[node].items():
                if parts(node, handle):
                    continue
                for target in targets:
                    seconds, which = first[target]
                    if which is not None:
                        there = (seconds + made.takes(handle)[0], which)
                        first[node] = min(first[node], there, key=lambda pair: pair[0])
    return first


def bursts(subject: Subject) -> Iterator[Problem]:
    """Refuse more messages at once than WhatsApp takes, where they are certain to be sent."""
    ahead = subject.once(Ahead)
    triggers = subject.of_type("TRIGGER")
    if len(triggers) != 1 or len(ahead.order) < len(subject.made):
        return
    known: list[float] = [math.inf] * len(subject.made)
    known[triggers[0]] = 0.0
    over: set[int] = set()
    turned: dict[int, float] = {}
    for node in ahead.order:
        made = subject.made[node]
        if made is None or math.isinf(known[node]):
            continue
        sent = known[node] + (made.sends() is not None)
        if sent > MOST_AT_ONCE >= known[node]:
            over.add(node)
        certain = _goes_round_surely(subject, node)
        for handle, targets in ahead.ways[node].items():
            if certain and handle != AGAIN:
                continue  # its rounds come first
            at_once = 0
            for target in targets:
                value = max(0.0, sent + at_once - _pause(subject, node, handle) / PAIR_SECONDS)
                for repeat in _turns(subject, node, handle):
                    more = subject.rounds(repeat) - 1
                    value += more * max(0.0, value - known[repeat])
                    turned[repeat] = min(value, turned.get(repeat, value))
                known[target] = min(known[target], value)
                branch = subject.made[target]
                at_once += branch is not None and branch.sends() is not None
    over |= {loop for loop, most in turned.items() if most > MOST_AT_ONCE >= known[loop]}
    for node in sorted(over):
        yield BURST.at(
            pointer("nodes", node),
            f"By {subject.show(node)} a contact gets more than {MOST_AT_ONCE} messages without a "
            "pause, and WhatsApp refuses the rest. Wait between them.",
        )


def _pause(subject: Subject, node: int, handle: str | None) -> float:
    """Return the seconds for which a node holds a contact for certain, or may."""
    made = subject.made[node]
    if made is None or made.sends() is not None:
        return 0.0
    return made.takes(handle)[1]


def _turns(subject: Subject, node: int, handle: str | None) -> Iterator[int]:
    """Yield the loop, in no other one, whose rounds end here and are a certain number."""
    for target in subject.ways[node].get(handle, []):
        alone = (node, target) in subject.shape.back and subject.shape.around[node] == (target,)
        if alone and _goes_round_surely(subject, target):
            yield target


def _goes_round_surely(subject: Subject, node: int) -> bool:
    """Return whether a node is a loop with a certain number of rounds."""
    made = subject.made[node]
    certain = isinstance(made, Repeat) and made.while_ is None and made.until is None
    return certain and subject.rounds(node) > 0
