"""When each node can run, and how long ago the contact last wrote then, as intervals.

An abstract interpretation over the graph: what is known where a branch arrives is carried through
each node by what its type declares (`takes`, `hears`), and where ways meet it is widened to hold
for each of them. What it says holds of every execution on time: neither a worker's lateness nor a
retry by hand counts, nor a wait that a channel asks for.
Owns the intervals; rules read them. Imports `subject` and `whatsapp`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from flowkit.validate.subject import Subject, spread
from flowkit.whatsapp import is_inbound


class Span(NamedTuple):
    """Seconds between two bounds, which are included."""

    least: float
    most: float

    def after(self, taken: tuple[float, float]) -> Span:
        """Return the span once between two numbers of seconds have passed."""
        return Span(self.least + taken[0], self.most + taken[1])

    def or_(self, other: Span) -> Span:
        """Return the smallest span that holds both."""
        return Span(min(self.least, other.least), max(self.most, other.most))


EVER = Span(0.0, math.inf)
"""Any time."""


class Moment(NamedTuple):
    """What holds where a node is entered.

    Attributes
    ----------
    start : Span
        Seconds since the execution's start.
    age : Span
        Seconds since the contact's last message, as far as the flow can tell: any number where it
        begins with something else. One that it does not hear of can only be younger.
    silent : bool
        Whether there may have been none.
    """

    start: Span
    age: Span
    silent: bool

    def or_(self, other: Moment) -> Moment:
        """Return what holds of both."""
        return Moment(
            self.start.or_(other.start), self.age.or_(other.age), self.silent or other.silent
        )

    def after(self, taken: tuple[float, float], heard: bool) -> Moment:
        """Return what holds behind a node."""
        start = self.start.after(taken)
        if heard:  # at any time since the start: also an event that came before the wait counts
            return Moment(start, Span(0.0, start.most), silent=False)
        return Moment(start, self.age.after(taken), self.silent)


def _joined(moment: Moment, taken: tuple[float, float]) -> Moment:
    """Return what holds behind a JOIN: whoever came first may have waited for the last."""
    least, most = moment.start
    waited = most - least if most < math.inf else most
    if taken[0]:  # its time has run out
        return moment.after((taken[0], max(taken[0], waited)), heard=False)
    return Moment(moment.start, moment.age.after((0.0, waited)), moment.silent)


def moments(subject: Subject) -> list[Moment | None]:
    """Return what holds where each node is entered; None of those that none is known to reach.

    Nothing is known of a flow with cycles or with more or fewer than one TRIGGER, or behind a
    node whose config cannot be read.
    """
    found: list[Moment | None] = [None] * len(subject.flow.nodes)
    triggers = subject.of_type("TRIGGER")
    if len(triggers) != 1 or len(subject.order) < len(found):
        return found
    inbound = is_inbound(subject.flow.trigger_type)
    now = Span(0.0, 0.0)
    found[triggers[0]] = Moment(now, now if inbound else EVER, silent=not inbound)
    for node in subject.order:
        moment, made = found[node], subject.made[node]
        if moment is None or made is None:
            continue
        if subject.shape.bodies.get(node):
            # Of the rounds of a loop nothing is reckoned but that they take time.
            moment = Moment(Span(moment.start.least, math.inf), EVER, moment.silent)
            found[node] = moment
        for handle, targets in subject.ways[node].items():
            if node in subject.shape.gates:
                behind = _joined(moment, made.takes(handle))
            else:
                behind = moment.after(subject.takes(node, handle), made.hears(handle))
            for target in targets:
                if (node, target) in subject.shape.back:
                    continue
                known = found[target]
                found[target] = behind if known is None else known.or_(behind)
    unread = [node for node, made in enumerate(subject.made) if made is None]
    dark = spread((target for node in unread for target in subject.after[node]), subject.after)
    return [None if node in dark else moment for node, moment in enumerate(found)]
