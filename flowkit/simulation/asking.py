"""What a node decides for one of many executions, and when it need not be asked again.

Owns the questions. A node sees the engine's own `Scope`. The first time that it is asked, what it
looks at is watched: one that looks at nothing but counts on from the time always decides the
same; one that only evaluates conditions over contact and payload decides the same wherever these
have the same values there; any other is asked each time.
May import `scope`, `execution`, `nodetype`, `outcome`, `wire`, `flow`, and `reading`, `moments`,
`rows` beside it.
"""

from __future__ import annotations

import marshal
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Protocol

from flowkit.execution import Branch, Execution, NodeRun
from flowkit.flow import Flow
from flowkit.nodetype import Arrive, Effect, Next, NodeType, Text, Wait
from flowkit.outcome import error_of
from flowkit.scope import Scope
from flowkit.simulation.moments import Moment, Untracked, Watched, untold
from flowkit.simulation.reading import Paths, evaluated, reads, rendered
from flowkit.simulation.rows import renamed
from flowkit.wire import from_ms, later, to_ms

KNOWN_MOST = 10_000
"""Decisions that are kept of one question."""


class Asked(Protocol):
    """An execution of which a node is asked."""

    head: Execution
    times: list[int]
    asked: dict[str, Effect]


@dataclass(slots=True, eq=False)
class Question:
    """A node is asked, by a branch that has been through certain things.

    `branch` and `runs` are those of the execution called `origin`. `answers` says what follows,
    by decision. `texts` are those that alone say whether the node asks for its effect, where it
    tells. `logics` are the conditions that the node evaluates and nothing else; None if it
    looks at other things. `known` holds decisions, by the values that the conditions read.
    """

    flow: Flow
    node_id: str
    node: NodeType
    texts: tuple[Text, ...] | None
    behind: str
    branch: Branch
    runs: dict[str, NodeRun]
    origin: str
    head: Execution
    logics: tuple[Paths, ...] | None = ()
    answers: dict[Any, Any] = field(default_factory=dict)
    known: dict[Any, tuple[Any, Any, int | None]] = field(default_factory=dict)
    scope: _Quick | None = None
    always: tuple[Any, int | None] | None = None
    """The decision of a node that looks at nothing: its key, and for how long (ms) it waits."""


class _Runs(Mapping[str, NodeRun]):
    """The runs that a node sees, with the ids of another execution."""

    def __init__(self, runs: dict[str, NodeRun], old: str, new: str) -> None:
        self._runs, self._old, self._new = runs, old, new

    def __getitem__(self, key: str) -> NodeRun:
        run = self._runs[key[len(self._new) :]]
        if run.result is None or self._old == self._new:
            return run
        return replace(run, result=renamed(run.result, self._old, self._new))

    def __iter__(self) -> Iterator[str]:
        return (self._new + behind for behind in self._runs)

    def __len__(self) -> int:
        return len(self._runs)


class _Quick(Scope):
    """A scope that remembers texts and values; what it gives is what `Scope` gives."""

    __slots__ = ("_question",)

    def __init__(self, question: Question, now: datetime) -> None:
        runs: Any = _Runs(question.runs, question.origin, "")
        super().__init__(question.flow, question.head, question.branch, runs, now)
        self._question = question

    def turn_to(self, head: Execution, now: datetime) -> None:
        """Show another execution."""
        question = self._question
        self._head, self.now, self._data, self._contact = head, now, None, None
        self._runs._new = head.id  # type: ignore[attr-defined]
        self.key = head.id + question.behind
        if question.branch.vars:
            vars = renamed(question.branch.vars, question.origin, head.id)
            self._branch = replace(question.branch, vars=vars)

    def evaluate(self, logic: Any) -> Any:
        """Return the value of a JSONLogic expression over the scope."""
        return evaluated(logic, self._head.context, super().evaluate)

    def render(self, template: str) -> str:
        """Return the text of a Liquid template over the scope."""
        return rendered(template, self._head.context, super().render)


class _Seen:
    """A scope that watches what is looked at."""

    def __init__(self, scope: Scope, now: datetime) -> None:
        self._scope = scope
        self.logics: list[Paths] = []
        self.now = Watched.at(now, 0, 0, untold)

    def evaluate(self, logic: Any) -> Any:
        """Return the value of a JSONLogic expression over the scope."""
        paths = reads(logic)
        if paths is None:
            raise Untracked("an expression over other things")
        self.logics.append(paths)
        return self._scope.evaluate(logic)

    def __getattr__(self, name: str) -> Any:
        if name in ("flow_id", "node_id", "time_zone"):  # the same for all of whom it is asked
            return getattr(self._scope, name)
        raise Untracked(name)


def question_of(flow: Flow, node_id: str, scope: Any, asked: Asked) -> Question:
    """Return the question that the engine puts with `scope`."""
    own = asked.head.id
    node = flow.behaviour(node_id)
    return Question(
        flow=flow,
        node_id=node_id,
        node=node,
        texts=node.texts(),
        behind=scope.key[len(own) :],
        branch=replace(scope._branch, path=list(scope._branch.path)),
        runs={key[len(own) :]: run for key, run in scope._runs.items()},
        origin=own,
        head=asked.head,
    )


def _learn(question: Question, asked: Asked, now: int) -> None:
    """Watch a node decide, and take in what it looks at.

    What is known was decided over conditions that are all among `logics`: whoever has the same
    values there decides the same. A node that looks at another condition than before is
    therefore known anew.
    """
    moment = from_ms(now)
    look = _Seen(_scope(question, asked, moment), moment)
    try:
        step = question.node.run(look)
    except (Exception, Untracked):
        question.logics = None
        return
    counted = type(step) is not Wait or isinstance(step.until, Moment)
    if not counted or type(step) not in (Next, Wait, Effect, Arrive):
        question.logics = None
        return
    assert question.logics is not None
    more = [paths for paths in look.logics if paths not in question.logics]
    if more:
        question.logics += tuple(dict.fromkeys(more))
        question.known.clear()


def _scope(question: Question, asked: Asked, now: datetime) -> Scope:
    """Return what the node sees of an execution; the next call for the question takes it back."""
    head = asked.head
    scope = question.scope
    if scope is None:
        scope = question.scope = _Quick(question, now)
    scope.turn_to(head, now)
    return scope


def answer_to(
    question: Question, asked: Asked, now: int, told: Callable[[Any], None] | None = None
) -> Any:
    """Return what distinguishes the decision of a node from others.

    A time until which the node waits is added to the times of the execution, an effect noted.

    Parameters
    ----------
    question : Question
        What is asked.
    asked : Asked
        For whom.
    now : int
        The moment of the turn, in ms.
    told : callable, optional
        Told the decision itself, or the error that the node raised.
    """
    known = None
    if question.logics is not None:
        known = question.known.get(values_of(question.logics, asked.head.context))
    if known is None:
        if question.logics is not None:
            _learn(question, asked, now)
        known = _decided(question, asked, now)
        if question.logics is not None and len(question.known) < KNOWN_MOST:
            question.known[values_of(question.logics, asked.head.context)] = known
            if not question.logics and not isinstance(known[1], Effect):
                question.always = known[0], known[2]
    key, step, by = known
    if by is not None:
        asked.times.append(now + by)
    elif type(step) is Effect:
        asked.asked[question.node_id] = step
    if told is not None:
        told(step)
    return key


def values_of(logics: tuple[Paths, ...], context: Mapping[str, Any]) -> Any:
    """Return what conditions read of contact and payload, in a form that differs where it does."""
    if not logics:
        return b""
    if len(logics) == 1:
        return logics[0].values(context)
    return tuple([paths.values(context) for paths in logics])


def _decided(question: Question, asked: Asked, now: int) -> tuple[Any, Any, int | None]:
    """Return a decision: its key, itself, and for how long it waits (ms)."""
    own = asked.head.id
    try:
        step: Any = question.node.run(_scope(question, asked, from_ms(now)))
    except Exception as failure:  # a node type's own mistake, which the engine records
        error = error_of(failure)
        return ("failed", error["code"], error["message"].replace(own, "{id}")), failure, None
    kind = type(step)
    try:
        if kind is Next:
            if step.result is None and step.vars is None:
                hash(step.handle)
                return step.handle, step, None
            return ("next", step.handle, _text([step.result, step.vars], own)), step, None
        if kind is Wait:
            by = to_ms(later(step.until)) - now
            return ("wait", step.handle, _text(step.result, own)), step, by
        if kind is Effect:
            policy = (step.kind, step.handle, step.on_unknown, step.timeout, step.retry)
            hash(policy)
            return ("effect", *policy), step, None
        return (kind, repr(step).replace(own, "{id}")), step, None
    except Exception as error:  # what the engine will refuse, or something that it knows better
        raise Untracked(f"{question.node_id} decided something odd") from error


def _text(value: Any, own: str) -> bytes | None:
    return None if value is None else marshal.dumps(value, 2).replace(own.encode(), b"{id}")
