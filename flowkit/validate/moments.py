"""When each node can run, and how long ago the contact last wrote then, as intervals.

An abstract interpretation over the graph: what is known where a branch arrives is carried through
each node by what its type declares (`takes`, `hears`), and where ways meet it is widened to hold
for each of them. What a round of a loop adds is reckoned once and taken as often as there can be
rounds; a JOIN of all branches is reckoned from the fork. What it says holds of every execution on
time: neither a worker's lateness nor a retry by hand counts, nor a wait that a channel asks for.
Owns the intervals; rules read them. Imports `subject`, `ahead`, `nodes`, `shape`, `whatsapp`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import NamedTuple

from flowkit.nodes.control import Join, Repeat
from flowkit.shape import AGAIN
from flowkit.validate.ahead import Ahead
from flowkit.validate.subject import Subject, spread
from flowkit.whatsapp import is_inbound

NESTED = 6
"""Loops in loops of which rounds are reckoned; what is deeper takes any time."""
MAX_LISTENING = 200
"""Forks beside whose branches others hear the contact that are looked at one by one."""


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

    def since(self, other: Span) -> Span:
        """Return how much later this is than `other`, on one way from there."""
        most = math.inf if math.isinf(self.most) else self.most - other.most
        return Span(self.least - other.least, most)


LONGEST = timedelta.max.total_seconds() // 2
"""Seconds beyond which a time is no timedelta for certain (some 1.3 m years)."""


def at_least(seconds: float) -> timedelta:
    """Return a lower bound as a time."""
    return timedelta(seconds=min(seconds, LONGEST))


def bounded(seconds: float) -> timedelta | None:
    """Return an upper bound as a time; None where there is none, or beyond `LONGEST`."""
    return None if seconds > LONGEST else timedelta(seconds=seconds)


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


class Round(NamedTuple):
    """What one round of a loop adds: seconds, and whether the contact may or must be heard."""

    taken: Span
    heard: bool
    always: bool

    def times(self, moment: Moment, least: int, most: int) -> Moment:
        """Return what holds after between two numbers of rounds."""
        taken = (least * self.taken.least, most * self.taken.most if most else 0.0)
        start = moment.start.after(taken)
        age = moment.age.after(taken)
        heard = bool(self.always and least)
        if self.heard and most:
            # Who was heard has written since the start.
            age = Span(0.0, start.most if heard else max(age.most, start.most))
        return Moment(start, age, moment.silent and not heard)


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
    begins = Moment(now, now if inbound else EVER, silent=not inbound)
    known, _ = _carried(subject, subject.order, {triggers[0]: begins}, _rounds(subject))
    unread = [node for node, made in enumerate(subject.made) if made is None]
    dark = spread((target for node in unread for target in subject.after[node]), subject.after)
    beside = _beside_who_listens(subject)
    for node, moment in known.items():
        if node not in dark:
            young = moment._replace(age=Span(0.0, moment.age.most))
            found[node] = young if node in beside else moment
    return found


def _carried(
    subject: Subject,
    order: Iterable[int],
    begins: Mapping[int, Moment],
    rounds: Mapping[int, Round],
    loop: int | None = None,
) -> tuple[dict[int, Moment], Moment | None]:
    """Carry what holds at some nodes through those of `order`.

    Returns
    -------
    dict
        What holds where each node is entered.
    Moment or None
        What holds where the body of `loop` leads back to it.
    """
    found = dict(begins)
    parted: dict[tuple[int, str | None], Moment] = {}
    arrived: dict[int, list[tuple[int, Moment]]] = {}
    returned: Moment | None = None
    for node in order:
        moment, made = found.get(node), subject.made[node]
        if moment is None or made is None:
            continue
        at_gate = node in subject.shape.gates
        gathered = _gathered(subject, node, arrived.get(node, []), parted) if at_gate else None
        again = done = moment
        if node in rounds and isinstance(made, Repeat):
            most = made.maximum
            least = 0 if made.while_ is not None else 1 if made.until is not None else most
            again = rounds[node].times(moment, 0, most - 1)
            done = rounds[node].times(moment, least, most)
            found[node] = rounds[node].times(moment, 0, most)
        for handle, targets in subject.ways[node].items():
            if at_gate:
                behind = gathered if gathered and handle is None else None
                behind = behind or _joined(moment, made.takes(handle))
            else:
                entered = again if handle == AGAIN else done
                behind = entered.after(subject.takes(node, handle), made.hears(handle))
            parted[node, handle] = behind
            for target in targets:
                if (node, target) in subject.shape.back:
                    if target == loop:
                        returned = returned.or_(behind) if returned else behind
                    continue
                known = found.get(target)
                found[target] = behind if known is None else known.or_(behind)
                if target in subject.shape.gates:
                    arrived.setdefault(target, []).append((node, behind))
    return found, returned


def _rounds(subject: Subject) -> dict[int, Round]:
    """Return what a round of each loop adds, the innermost loops first."""
    bodies, around = subject.shape.bodies, subject.shape.around
    found: dict[int, Round] = {}
    for node in sorted((n for n, body in bodies.items() if body), key=lambda n: len(bodies[n])):
        body = bodies[node]
        hears = any(
            made is not None and any(made.hears(handle) for handle in subject.ways[inner])
            for inner in body
            for made in [subject.made[inner]]
        )
        found[node] = Round(EVER, hears, always=False)
        if len(around.get(node, ())) > NESTED:
            continue
        zero = Moment(Span(0.0, 0.0), Span(0.0, 0.0), silent=True)
        begins = dict.fromkeys(subject.ways[node].get(AGAIN, ()), zero)
        order = [inner for inner in subject.order if inner in body]
        _, back = _carried(subject, order, begins, found, node)
        if back is not None:
            found[node] = Round(back.start, hears, always=not back.silent)
    return found


def _joined(moment: Moment, taken: tuple[float, float]) -> Moment:
    """Return what holds behind a JOIN: whoever came first may have waited for the last."""
    least, most = moment.start
    waited = most - least if most < math.inf else most
    if taken[0]:  # its time has run out
        return moment.after((taken[0], max(taken[0], waited)), heard=False)
    return Moment(moment.start, moment.age.after((0.0, waited)), moment.silent)


def _gathered(
    subject: Subject,
    join: int,
    arrived: list[tuple[int, Moment]],
    behind: Mapping[tuple[int, str | None], Moment],
) -> Moment | None:
    """Return what holds behind a JOIN when all have come; None where no more can be said of it.

    That is of the branches of one fork that do not meet before. Reckoned from the fork, each
    waits for the last, and what one of them has heard all know.
    """
    made, gate = subject.made[join], subject.shape.gates[join]
    if not isinstance(made, Join) or made.needed is not None or len(gate.forks) != 1:
        return None
    ((fork, handle),) = gate.forks
    parted = behind.get((fork, handle))
    children = subject.ways[fork][handle]
    of: dict[int, Moment] = {}
    seen: set[int] = set()
    open_ = dict.fromkeys(range(len(arrived)))
    for child in children:
        reach = {fork} if child == join else _inside(subject, child, gate.inside, join)
        if reach & seen:
            return None
        seen |= reach
        for place in [n for n in open_ if arrived[n][0] in reach]:
            del open_[place]
            moment = arrived[place][1]
            of[child] = of[child].or_(moment) if child in of else moment
    if parted is None or open_ or not of:
        return None
    ahead = subject.once(Ahead)
    sure = [child for child in of if ahead.meeting([child, join]) == join]
    taken = {child: moment.start.since(parted.start) for child, moment in of.items()}
    least = (max if sure else min)(taken[child].least for child in sure or of)
    most = max(span.most for span in taken.values())
    start = Span(parted.start.least + least, parted.start.most + most)
    ages = {
        child: moment.age.after((max(0.0, least - taken[child].most), most - taken[child].least))
        for child, moment in of.items()
    }
    heard = [child for child in sure if not of[child].silent]
    oldest = min(ages[c].most for c in heard) if heard else max(age.most for age in ages.values())
    silent = not heard and any(moment.silent for moment in of.values())
    return Moment(start, Span(min(age.least for age in ages.values()), oldest), silent)


def _inside(subject: Subject, child: int, inside: frozenset[int], join: int) -> set[int]:
    """Return what a branch can run through on its way to a JOIN."""
    reach, ahead = {child}, [child]
    while ahead:
        for target in subject.onward[ahead.pop()]:
            if target != join and target in inside and target not in reach:
                reach.add(target)
                ahead.append(target)
    return reach


def _beside_who_listens(subject: Subject) -> set[int]:
    """Return the nodes that may run while another branch hears of the contact.

    That is what is ahead of a fork's branch beside one that hears before they come together. A
    JOIN of all branches of the fork is where it ends.
    """
    hears = [
        float(made is not None and any(made.hears(handle) for handle in subject.ways[node]))
        for node, made in enumerate(subject.made)
    ]
    if not any(hears):
        return set()
    ahead = subject.once(Ahead)
    heard = ahead.most(hears)
    beside: set[int] = set()
    looked_at = 0
    for fork, ways in enumerate(subject.ways):
        for handle, targets in ways.items():
            if len(targets) < 2:
                continue
            met = ahead.meeting(targets)
            listening = [t for t in targets if heard[t] > heard[met]]
            quiet = targets if len(listening) > 1 else [t for t in targets if t not in listening]
            if listening and quiet:
                looked_at += 1
                if looked_at > MAX_LISTENING:
                    return set(range(len(hears)))
                stop = met if _is_last(subject, met, (fork, handle)) else None
                beside |= _until(subject, quiet, stop)
    return beside


def _is_last(subject: Subject, node: int, fork: tuple[int, str | None]) -> bool:
    """Return whether a node is a JOIN that lets none go on before all of a fork have come."""
    gate = subject.shape.gates.get(node)
    if gate is None or gate.forks != {fork}:
        return False
    made = subject.made[node]
    return isinstance(made, Join) and made.needed is None and made.timeout is None


def _until(subject: Subject, starts: Iterable[int], stop: int | None) -> set[int]:
    seen: set[int] = set()
    ahead = [node for node in starts if node != stop]
    while ahead:
        node = ahead.pop()
        if node not in seen:
            seen.add(node)
            ahead += [target for target in subject.after[node] if target != stop]
    return seen
