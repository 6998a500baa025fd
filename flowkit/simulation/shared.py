"""Turns of the engine that many executions share.

Owns the proof that they may. A turn depends on what the execution has been through, on what its
nodes decide and on how its times compare; on nothing else. So the engine takes a turn once, with
moments in place of times (`moments`), and writes down each decision and comparison on the way.
Another execution that has been through the same, whose nodes decide the same and whose times
compare the same, comes to the same record with its own ids and times. Its nodes are asked all the
same, unless `asking` proves that they cannot but answer as before.
May import `engine`, `rows`, `execution`, `asking`, `course`, `ledger`, `moments`,
`watching`.
"""

from __future__ import annotations

import dataclasses
import marshal
import operator
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from flowkit.course import Alone
from flowkit.engine import Limits, Performance
from flowkit.execution import Execution
from flowkit.flow import Flow
from flowkit.ledger import advanced
from flowkit.nodetype import Outcome
from flowkit.simulation.asking import Question, answer_to, question_of
from flowkit.simulation.moments import Moment, Untracked, plain, untold
from flowkit.watching import watched
from flowkit.wire import canonical, from_ms

STATES_MOST = 100_000
"""Records that are kept; executions that lead to more take their turns alone."""
CONTEXT_MOST = 65_536
"""Bytes of payload and contact up to which an execution shares turns: the engine looks at sizes."""


def is_small(contact: Any) -> bool:
    """Return whether a contact, twice in an execution, is surely within `CONTEXT_MOST`.

    As JSON, data takes at most six times what `marshal` makes of it.
    """
    return len(marshal.dumps(contact, 2)) * 12 < CONTEXT_MOST - 1_000


@dataclass(slots=True)
class Head:
    """What tells an execution apart that starts like another one: the rest is that one's."""

    like: Execution
    id: str
    contact_id: str
    context: dict[str, Any]
    created_at: datetime

    def __getattr__(self, name: str) -> Any:
        return getattr(self.like, name)


@dataclass(slots=True)
class Compared:
    """Two times of an execution were compared; each as (place, microseconds after it)."""

    name: str
    left: tuple[int, int]
    right: tuple[int, int]
    answers: dict[Any, Any] = field(default_factory=dict)

    def of(self, times: Sequence[Any]) -> Any:
        """Return how they compare in an execution with these times (ms), or in each of many."""
        left, right = self.left, self.right
        return getattr(operator, self.name)(
            times[left[0]] * 1000 + left[1], times[right[0]] * 1000 + right[1]
        )


@dataclass(slots=True, eq=False)
class State:
    """What executions have been through: the record of one, called `origin`, and what follows."""

    execution: Execution
    origin: str
    turns: dict[Any, Any] = field(default_factory=dict)
    """By what happens next, the first `Question` or `Compared`, or the `Turned`; or ALONE."""


@dataclass(slots=True, eq=False)
class Turned:
    """What came of a turn: effects by branch, key behind the execution's id, and attempt."""

    state: State
    effects: list[tuple[str, str, int, str]]
    wakes: list[tuple[str, int, int]]
    """Branches that go on by themselves, and when: a place and microseconds after it."""


ALONE: Any = object()
"""In place of a turn that cannot be shared."""


class Shared:
    """The turns that have been taken of one flow."""

    def __init__(self, flow: Flow, limits: Limits) -> None:
        self.flow = flow
        self.limits = limits
        self.states = 0
        self._roots: dict[Any, State] = {}

    def root(self, execution: Execution) -> State | None:
        """Return the state in which an execution starts; None if it must go alone."""
        if execution.bytes > CONTEXT_MOST:
            return None
        root = self._roots.get(execution.contact_id is None)
        if root is None:
            created = Moment.at(execution.created_at, 0, 0, untold)
            begun = replace(execution, created_at=created, updated_at=created)
            root = State(begun, execution.id)
            self._roots[execution.contact_id is None] = root
        return root

    def take(
        self, follower: Follower, key: Any, what: tuple[str, Outcome | None], length: int
    ) -> Any:
        """Take a turn with the engine, and write down what it depended on; ALONE if in vain."""
        state = follower.state
        del follower.times[length + 1 :]
        taken = _Taken(self, follower, length)
        try:
            turned = taken.turn(*what)
        except Untracked:
            state.turns.setdefault(key, ALONE)
            return ALONE
        turns, step = state.turns, key
        for question, answer in taken.said:
            there = turns.setdefault(step, question)
            if type(there) is not type(question):  # asked in another order than before
                return ALONE
            turns, step = there.answers, answer
        turns[step] = turned
        return turned


class Follower:
    """An execution that goes where others have gone before, and leads where none has."""

    __slots__ = ("alone", "asked", "head", "index", "shared", "state", "times")

    def __init__(
        self, shared: Shared, index: int, head: Execution, state: State, times: list[int]
    ) -> None:
        self.shared = shared
        self.index = index
        self.head = head
        self.state = state
        self.times = times
        self.alone: Alone | None = None
        self.asked: dict[str, Any] = {}

    def step(
        self, branch_id: str, outcome: Outcome | None, now: int
    ) -> tuple[list[Performance], list[tuple[str, int]]]:
        """See `Course`."""
        if self.alone is not None:
            return self.alone.step(branch_id, outcome, now)
        times, head = self.times, self.head
        key = branch_id if outcome is None else outcome_key(branch_id, outcome, head.id)
        length = len(times)
        times.append(now)
        try:
            there = self._next(key, now)
        except Untracked:
            there = ALONE
        if there is None:
            there = self.shared.take(self, key, (branch_id, outcome), length)
        if there is ALONE:
            return self._leave(length, (branch_id, outcome), now)
        self.state = there.state
        wakes = [(branch, times[place] + offset // 1000) for branch, place, offset in there.wakes]
        if not there.effects:
            return [], wakes
        return [
            Performance(branch, head.id + behind, attempt, self.asked[node])
            for branch, behind, attempt, node in there.effects
        ], wakes

    def _next(self, key: Any, now: int) -> Any:
        """Return the turn that others have taken, ALONE, or None where none has."""
        times = self.times
        there = self.state.turns.get(key)
        while there is not None and type(there) is not Turned and there is not ALONE:
            if type(there) is Question:
                always = there.always
                if always is None:
                    there = there.answers.get(answer_to(there, self, now))
                else:
                    if always[1] is not None:
                        times.append(now + always[1])
                    there = there.answers.get(always[0])
            else:
                there = there.answers.get(there.of(times))
        return there

    def _leave(
        self, length: int, what: tuple[str, Outcome | None], now: int
    ) -> tuple[list[Performance], list[tuple[str, int]]]:
        """Go on alone from here."""
        del self.times[length:]
        execution = localised(self.state, self, untold)
        self.alone = Alone(self.index, self.shared.flow, _plain(execution), self.shared.limits)
        return self.alone.step(*what, now)


def outcome_key(branch_id: str, outcome: Outcome, own: str) -> tuple[Any, ...]:
    """Return what distinguishes an outcome, whatever the id of the execution."""
    result = outcome.result
    if outcome.error is None:
        if result is None:
            return (branch_id, outcome.status)
        if len(result) == 1:
            ((name, value),) = result.items()
            if type(value) is str:
                return (branch_id, outcome.status, name, value.replace(own, "{id}"))
    text = canonical([result, outcome.error])
    return (branch_id, outcome.status, text.replace(own, "{id}"))


def localised(state: State, follower: Follower, told: Any) -> Execution:
    """Return the record of a state as that of a follower: its ids, its context, its times."""
    times, old, new = follower.times, state.origin, follower.head.id

    def own(value: Any) -> Any:
        if isinstance(value, Moment):
            real = from_ms(times[value.place])
            return Moment.at(real, value.place, 0, told)._shifted(value.offset)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return replace(
                value, **{f.name: own(getattr(value, f.name)) for f in dataclasses.fields(value)}
            )
        if isinstance(value, (list, tuple)):
            return type(value)(own(item) for item in value)
        if isinstance(value, dict):
            return {own(key): own(item) for key, item in value.items()}
        return value.replace(old, new) if isinstance(value, str) else value

    head = follower.head
    bare: Execution = replace(state.execution, context={})
    made: Execution = own(bare)
    return replace(made, context=head.context, contact_id=head.contact_id)


def _plain(value: Any) -> Any:
    """Return a record without moments."""
    if isinstance(value, datetime):
        return plain(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return replace(
            value, **{f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        )
    if isinstance(value, (list, tuple)):
        return type(value)(_plain(item) for item in value)
    return value


class _Taken:
    """One turn of the engine, watched."""

    def __init__(self, shared: Shared, follower: Follower, length: int) -> None:
        self.shared = shared
        self.follower = follower
        self.place = length
        self.said: list[tuple[Question | Compared, Any]] = []

    def turn(self, branch_id: str, outcome: Outcome | None) -> Turned:
        """Return what comes of it when a branch goes on."""
        shared, follower = self.shared, self.follower
        if shared.states >= STATES_MOST:
            raise Untracked("too many records")
        own = follower.head.id
        execution = localised(follower.state, follower, self.compared)
        if execution.bytes > shared.limits.execution_bytes // 2:
            raise Untracked("the limit of an execution's growth comes near")
        now = self.moment(follower.times[self.place], self.place)
        flow = watched(shared.flow, self.decided)
        made = advanced(flow, execution, branch_id, outcome, now=now, limits=shared.limits)
        if made is None:
            return Turned(State(execution, own), [], [])
        after, performed, going = made
        wakes = []
        for going_on, at in going:
            if not isinstance(at, Moment):
                raise Untracked("a time that is the same for all")
            wakes.append((going_on, at.place, at.offset))
        nodes = {b.branch_id: b.current_node_id for b in after.branches}
        effects = [
            (p.branch_id, p.key[len(own) :], p.attempt, nodes[p.branch_id]) for p in performed
        ]
        shared.states += 1
        return Turned(State(after, own), effects, wakes)

    def moment(self, ms: int, place: int) -> Moment:
        """Return the moment of a time of the follower."""
        return Moment.at(from_ms(ms), place, 0, self.compared)

    def compared(self, name: str, left: Moment, right: Any, result: bool) -> None:
        """Take down how two moments compare."""
        if not isinstance(right, Moment):
            raise Untracked("a comparison with a time that is the same for all")
        sides = (left.place, left.offset), (right.place, right.offset)
        self.said.append((Compared(name, *sides), result))

    def decided(self, node_id: str, scope: Any) -> Any:
        """Ask a node, and take down its decision."""
        follower = self.follower
        question = question_of(self.shared.flow, node_id, scope, follower)
        now = follower.times[self.place]
        known = len(follower.times)
        asked: list[Any] = []
        answer = answer_to(question, follower, now, asked.append)
        self.said.append((question, answer))
        step = asked[0]
        if isinstance(step, Exception):
            raise step
        if len(follower.times) > known:
            step = replace(step, until=self.moment(follower.times[-1], len(follower.times) - 1))
        return step
