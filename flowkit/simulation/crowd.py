"""Executions that have been through the same take the same turn at once.

Owns the walk of crowds. The turns are those of `shared`: the engine takes each once, for one
execution. Here, all that are in the same state, with the same event before them, go through it
together: their times are arrays, a question is put once for all that must answer it alike, and
draws become outcomes by comparing arrays. Who cannot go along (a turn that cannot be shared, an
effect that is no message, too few of a kind) goes on by itself, from before that turn.
May import numpy, and of flowkit `course`, `execution`, `nodetype`, `asking`, `behaviour`,
`moments`, `reading`, `rows`, `shared`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from flowkit.course import Alone, Queued
from flowkit.execution import Execution
from flowkit.nodetype import Effect, Outcome, Text
from flowkit.simulation.asking import Question, answer_to, values_of
from flowkit.simulation.behaviour import MESSAGE, Behaviour, Reaction, first_draws, outcome
from flowkit.simulation.moments import Untracked
from flowkit.simulation.reading import Paths, reads, reads_of, rendered
from flowkit.simulation.rows import Integers
from flowkit.simulation.shared import ALONE, Compared, Follower, Shared, State, Turned, outcome_key

FEW = 8
"""Fewer than these go on one by one: arrays would not be worth it."""

Ending = Callable[[str], Outcome]
"""How an effect ends, by the id of the execution."""


@dataclass(slots=True)
class Next:
    """What happens next on a branch, and when.

    Its effect ends in one of some `ways`, by the number in `way`; where there are none, its time
    is up.
    """

    branch_id: str
    at: Integers
    ways: Sequence[Ending] = ()
    way: Integers | None = None

    def part(self, which: npt.NDArray[Any]) -> Next:
        """Return that of some."""
        way = None if self.way is None else self.way[which]
        return Next(self.branch_id, self.at[which], self.ways, way)

    def ending(self, place: int, own: str) -> Outcome | None:
        """Return how the effect of one ends, whose execution has that id."""
        return None if self.way is None else self.ways[self.way[place]](own)


@dataclass(slots=True)
class Crowd:
    """Executions of a block in the same state.

    `members` are their places in the block; `times` their times (ms), a column each, and `due`
    what happens next, in the order in which it came to be known. `asked` has the effects that
    one of them asked for, by node.
    """

    state: State
    members: Integers
    times: list[Integers]
    due: list[Next]
    asked: dict[str, Effect] = field(default_factory=dict)

    def part(self, which: npt.NDArray[Any]) -> Crowd:
        """Return some of them, as a crowd of their own."""
        return Crowd(
            self.state,
            self.members[which],
            [column[which] for column in self.times],
            [due.part(which) for due in self.due],
            dict(self.asked),
        )

    def parts(self, codes: npt.NDArray[Any]) -> Iterator[tuple[int, Crowd]]:
        """Yield those who have the same number, and the number."""
        if (codes == codes[0]).all():
            yield int(codes[0]), self
            return
        order = np.argsort(codes, kind="stable")
        ends = np.flatnonzero(np.diff(codes[order])) + 1
        for which in np.split(order, ends):
            yield int(codes[which[0]]), self.part(which)


class Block:
    """Executions that start in the same batch: number, record and moment (ms) of each."""

    def __init__(self, started: Sequence[tuple[int, Execution, int]]) -> None:
        self.numbers = np.array([number for number, _, _ in started], dtype=np.int64)
        self.heads = [execution for _, execution, _ in started]
        self.starts = np.array([at for _, _, at in started], dtype=np.int64)
        self._codes: dict[Any, Integers] = {}
        self._readable: dict[Text, npt.NDArray[np.bool_] | None] = {}

    def coded(self, logics: tuple[Paths, ...]) -> Integers:
        """Return numbers that differ where contacts or payloads differ in what is read."""
        places = tuple(paths.paths for paths in logics)
        codes = self._codes.get(places)
        if codes is None:
            if any(places):
                known: dict[Any, int] = {}
                values = (values_of(logics, head.context) for head in self.heads)
                numbers = [known.setdefault(value, len(known)) for value in values]
                codes = np.array(numbers, dtype=np.int64)
            else:
                codes = np.zeros(len(self.heads), dtype=np.int64)
            self._codes[places] = codes
        return codes

    def readable(self, text: Text) -> npt.NDArray[np.bool_] | None:
        """Return who has a text that will do; None where it may depend on other things."""
        if text not in self._readable:
            paths = reads_of(text.template)
            self._readable[text] = None
            if paths is not None:
                _, who, which = np.unique(
                    self.coded((paths,)), return_index=True, return_inverse=True
                )
                good = [_reads(text, self.heads[place].context) for place in who.tolist()]
                self._readable[text] = np.array(good, dtype=np.bool_)[which]
        return self._readable[text]


def _reads(text: Text, context: dict[str, Any]) -> bool:
    """Return whether a template over contact and payload gives a text that will do."""
    try:
        text.read(rendered(text.template, context, _never), *text.arguments)
    except Exception:  # as the node would find: it is asked, and says why
        return False
    return True


def _never(template: str) -> str:
    raise AssertionError(f"{template} reads more than its paths")


class _One:
    """Of whom a node is asked, one after the other."""

    def __init__(self) -> None:
        self.head: Any = None
        self.times: list[int] = []
        self.asked: dict[str, Effect] = {}


class Walk:
    """Lets blocks of executions go their course.

    Parameters
    ----------
    shared : Shared
        The turns that have been taken.
    behaviour, seed
        How messages end.
    until : int or None
        The moment (ms) after which nothing happens any more.
    alone : callable
        Lets one execution go on from what is due of it.
    ended : callable
        Told of executions that are in a state for good: it, their numbers, and their times.
    """

    def __init__(
        self,
        shared: Shared,
        behaviour: Behaviour,
        seed: int,
        until: int | None,
        alone: Callable[[list[Queued]], None],
        ended: Callable[[State, Integers, Sequence[Integers]], None],
    ) -> None:
        self._shared = shared
        self._behaviour = behaviour
        self._seed = seed
        self._until = until
        self._alone = alone
        self._ended = ended
        conditions = [r.when for r in behaviour.reactions if r.when is not None]
        read = [reads(when) for when in conditions]
        self._segments = None if None in read else tuple(paths for paths in read if paths)
        self._block = Block([])

    def through(self, block: Block) -> None:
        """Let a block go its course, to its end."""
        self._block = block
        roots: dict[int, tuple[State, list[int]]] = {}
        for place, head in enumerate(block.heads):
            root = self._shared.root(head)
            if root is None:
                course = Alone(int(block.numbers[place]), self._shared.flow, head)
                self._alone([(int(block.starts[place]), 0, course, "root", None)])
            else:
                roots.setdefault(id(root), (root, []))[1].append(place)
        crowds = []
        for root, places in roots.values():
            members = np.array(places, dtype=np.int64)
            starts = block.starts[members]
            crowds.append(Crowd(root, members, [starts], [Next("root", starts)]))
        while crowds:
            crowd = crowds.pop()
            for part in self._soonest(crowd):
                crowds += self._turn(part)

    def _soonest(self, crowd: Crowd) -> Iterator[Crowd]:
        """Yield a crowd by what happens next, which then stands first of what is due."""
        if not crowd.due:
            return self._end(crowd)
        moments = np.stack([due.at for due in crowd.due])
        # Of what is due at once, that comes first which was known first.
        first = np.argmin(moments, axis=0)
        if self._until is not None:
            late = moments.min(axis=0) > self._until
            if late.all():
                return self._end(crowd)
            if late.any():
                self._end(crowd.part(late))
                crowd, first = crowd.part(~late), first[~late]
        for number, part in crowd.parts(first):
            part.due.insert(0, part.due.pop(number))
            way = part.due[0].way
            if way is None:
                yield part
            else:
                yield from (alike for _, alike in part.parts(way))

    def _end(self, crowd: Crowd) -> None:
        self._ended(crowd.state, self._block.numbers[crowd.members], crowd.times)

    def _turn(self, crowd: Crowd) -> Iterator[Crowd]:
        """Let all take the turn that is due; yield them by where it leads."""
        due, length = crowd.due[0], len(crowd.times)
        own = self._block.heads[crowd.members[0]].id
        ending = due.ending(0, own)
        key = due.branch_id if ending is None else outcome_key(due.branch_id, ending, own)
        crowd.times.append(due.at)
        ways: list[tuple[dict[Any, Any], Any, Crowd]] = [(crowd.state.turns, key, crowd)]
        while ways:
            turns, step, crowd = ways.pop()
            there = ALONE if step is ALONE else turns.get(step)
            if there is ALONE or len(crowd.members) < FEW:
                self._disperse(crowd, length)
            elif there is None:
                self._lead(crowd, key, length)
                if turns.get(step) is None:  # it could not, or said something else this time
                    self._disperse(crowd.part(np.arange(1)), length)
                    crowd = crowd.part(np.arange(1, len(crowd.members)))
                ways.append((turns, step, crowd))
            elif type(there) is Turned:
                if all(self._drawn(crowd.asked[node]) for _, _, _, node in there.effects):
                    self._follow(crowd, there, crowd.times[length])
                    yield crowd
                else:
                    self._disperse(crowd, length)
            elif type(there) is Compared:
                for answer, part in crowd.parts(there.of(crowd.times)):
                    ways.append((there.answers, bool(answer), part))
            else:
                for answer, part in self._answers(there, crowd, length):
                    ways.append((there.answers, answer, part))

    def _lead(self, crowd: Crowd, key: Any, length: int) -> None:
        """Let the first of a crowd take a turn with the engine."""
        leader = self._follower(crowd, 0, length + 1)
        due = crowd.due[0]
        what = due.branch_id, due.ending(0, leader.head.id)
        self._shared.take(leader, key, what, length)

    def _follower(self, crowd: Crowd, place: int, length: int) -> Follower:
        """Return one of a crowd, with so many of its times."""
        member = int(crowd.members[place])
        times = [int(column[place]) for column in crowd.times[:length]]
        follower = Follower(
            self._shared,
            int(self._block.numbers[member]),
            self._block.heads[member],
            crowd.state,
            times,
        )
        follower.asked = dict(crowd.asked)
        return follower

    def _disperse(self, crowd: Crowd, length: int) -> None:
        """Let each go on by itself from before the turn that is due."""
        for place in range(len(crowd.members)):
            follower = self._follower(crowd, place, length)
            self._alone(
                [
                    (int(due.at[place]), order, follower, due.branch_id,
                     due.ending(place, follower.head.id))
                    for order, due in enumerate(crowd.due)
                ]
            )  # fmt: skip

    def _answers(
        self, question: Question, crowd: Crowd, length: int
    ) -> Iterator[tuple[Any, Crowd]]:
        """Put a question; yield its answers, and who gave them."""
        now = crowd.times[length]
        if question.always is not None:
            answer, by = question.always
            if by is not None:
                crowd.times.append(now + by)
            yield answer, crowd
            return
        while True:
            logics = question.logics
            if logics is None:
                who, which = self._unlike(question, crowd.members)
            else:
                codes = self._block.coded(logics)[crowd.members]
                _, who, which = np.unique(codes, return_index=True, return_inverse=True)
            found = self._asked(question, crowd, now, who)
            if question.logics == logics:  # nothing was learned that tells more of them apart
                break
        numbers: dict[Any, int] = {}
        of_who = [numbers.setdefault(answer, len(numbers)) for answer, _, _ in found]
        waits = np.array([by or 0 for _, by, _ in found], dtype=np.int64)
        first = dict(zip(reversed(of_who), reversed(found), strict=True))
        crowd.times.append(now + waits[which])
        for number, part in crowd.parts(np.array(of_who, dtype=np.int64)[which]):
            answer, by, effect = first[number]
            if by is None:
                part.times.pop()
            if effect is not None:
                part.asked[question.node_id] = effect
            yield answer, part

    def _unlike(self, question: Question, members: Integers) -> tuple[Integers, Integers]:
        """Return who is to be asked, and whose answer each gives, where values do not tell it."""
        found = [self._block.readable(text) for text in question.texts or ()]
        every = np.arange(len(members))
        if not found or any(good is None for good in found):
            return every, every
        good = np.logical_and.reduce([good[members] for good in found if good is not None])
        if not good.any():
            return every, every
        others = np.flatnonzero(~good)
        which = np.zeros(len(members), dtype=np.int64)
        which[others] = np.arange(1, len(others) + 1)
        return np.concatenate([np.flatnonzero(good)[:1], others]), which

    def _asked(
        self, question: Question, crowd: Crowd, now: Integers, who: Integers
    ) -> list[tuple[Any, int | None, Effect | None]]:
        """Return what some of a crowd answer: it, for how long they wait, and what they ask for."""
        one, heads, found = _One(), self._block.heads, []
        asked, times, node = one.asked, one.times, question.node_id
        for member, moment in zip(crowd.members[who].tolist(), now[who].tolist(), strict=True):
            one.head = heads[member]
            try:
                answer = answer_to(question, one, moment)
            except Untracked:
                answer = ALONE
            found.append((answer, times.pop() - moment if times else None, asked.pop(node, None)))
        return found

    def _drawn(self, effect: Effect) -> bool:
        """Return whether chance alone says how an effect ends."""
        return effect.kind == MESSAGE and MESSAGE not in self._behaviour.answers

    def _follow(self, crowd: Crowd, turned: Turned, now: Integers) -> None:
        """Put a crowd where a turn leads that it takes now."""
        crowd.state = turned.state
        del crowd.due[0]
        for branch_id, place, offset in turned.wakes:
            crowd.due.append(Next(branch_id, crowd.times[place] + offset // 1000))
        for branch_id, behind, attempt, node_id in turned.effects:
            at, ways, way = self._sent(crowd.members, behind, attempt, node_id)
            crowd.due.append(Next(branch_id, now + at, ways, way))

    def _sent(
        self, members: Integers, behind: str, attempt: int, node_id: str
    ) -> tuple[Integers, list[Ending], Integers]:
        """Return how long messages take, and which way each of them ends."""
        heads, seed, visit = self._block.heads, self._seed, behind[1:]
        drawn = [
            first_draws(seed, heads[member].contact_id or "", visit, attempt)
            for member in members.tolist()
        ]
        chances = np.array([chance for chance, _ in drawn])
        took, way = np.empty(len(members), dtype=np.int64), np.empty(len(members), dtype=np.int64)
        ways: list[Ending] = []
        reactions, which = self._reactions(node_id, members)
        for number, reaction in enumerate(reactions):
            mine = np.flatnonzero(which == number)
            took[mine] = [reaction.latency.ms(drawn[place][1]) for place in mine.tolist()]
            bounds = np.array([reaction.failed, reaction.failed + reaction.unknown])
            way[mine] = len(ways) + np.searchsorted(bounds, chances[mine], side="right")
            # One chance for all that come out alike: refused, unknown, taken.
            for chance in (0.0, reaction.failed, 1.0):
                ways.append(_ending(reaction, chance, behind, attempt))
        return took, ways, way

    def _reactions(self, node_id: str, members: Integers) -> tuple[list[Reaction], Integers]:
        """Return how messages of a node to contacts fare, and which of these goes for each."""
        heads = self._block.heads
        if self._segments is None:
            who = which = np.arange(len(members))
        else:
            codes = self._block.coded(self._segments)[members]
            _, who, which = np.unique(codes, return_index=True, return_inverse=True)
        contacts = (heads[member].context["contact"] for member in members[who].tolist())
        found = [self._behaviour.reaction(node_id, contact) for contact in contacts]
        kept = {id(reaction): reaction for reaction in found}
        places = {known: place for place, known in enumerate(kept)}
        of_who = np.array([places[id(reaction)] for reaction in found], dtype=np.int64)
        return list(kept.values()), of_who[which]


def _ending(reaction: Reaction, chance: float, behind: str, attempt: int) -> Ending:
    return lambda own: outcome(reaction, chance, own + behind, attempt)
