"""Conditions that always or never hold, and cases that others leave nothing to.

A condition that only compares variables with constants tells apart finitely many classes of
values: below, at, between and above the constants, and what is no number or text at all. One value
of each class is put through the evaluator itself, so nothing is said twice about what an operator
does. What is beyond that, such as arithmetic on variables, counts as a condition that may hold or
not. Imports `subject`, `jsonlogic`, `operators`, `finding`, `problems`.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

from flowkit.errors import NodeFailed
from flowkit.jsonlogic import evaluate, truthy
from flowkit.nodetype import Way
from flowkit.problems import Problem, pointer
from flowkit.validate.finding import Finding
from flowkit.validate.subject import Subject

NEVER = Finding("decision.never", "A condition or a case never holds, whatever the data.")
ALWAYS = Finding("decision.always", "A condition always holds, whatever the data.")
SHADOWED = Finding("decision.shadowed", "Where a case holds, one before it does so already.")
UNFIT = Finding("decision.types", "A comparison fails for every value that is not missing.")

MAX_TRIALS = 500
"""Assignments of values that are tried for one node; a node with more is believed."""

_ORDER = {"<", "<=", ">", ">="}
_EQUAL = {"==", "!=", "===", "!=="}
_TRUTH = {"and", "or", "!", "!!", "if"}


def ways_that_are_never_taken(subject: Subject) -> Iterator[Problem]:
    """Warn of decisions that are none."""
    for index, made in enumerate(subject.made):
        ways = made.decides() if made is not None else ()
        for place, finding, message in _findings(ways):
            path = pointer("nodes", index, "config") + place
            yield finding.at(path, f"At {subject.show(index)} {message}")


def _findings(ways: tuple[Way, ...]) -> Iterator[tuple[str, Finding, str]]:
    reading = _Reading()
    conditions = [reading.truth(way.logic) for way in ways]
    assignments = reading.assignments() if ways else None
    if assignments is None:
        return
    holds: set[int] = set()
    taken: set[int] = set()
    answered: set[int] = set()
    otherwise = False
    for data, missing in assignments:
        answers = [_answer(condition, data) for condition in conditions]
        holds |= {number for number, answer in enumerate(answers) if answer}
        if not missing:
            answered |= {number for number, answer in enumerate(answers) if answer is not None}
        # The first that does not say no is taken, or fails; after that no other is looked at.
        first = next((n for n, answer in enumerate(answers) if answer is not False), None)
        if first is None:
            otherwise = True
        elif answers[first]:
            taken.add(first)
    for number, way in enumerate(ways):
        if number not in holds and number not in answered and _reads(conditions[number]):
            yield way.path, UNFIT, _UNFIT
        elif number not in holds:
            yield way.path, NEVER, f"the condition of {way.handle!r} never holds: {_REPAIR}"
        elif number not in taken:
            message = (
                f"{way.handle!r} is never taken: where its condition holds, one before it does "
                "already. Put it before them, or remove it."
            )
            yield way.path, SHADOWED, message
    if len(ways) == 1 and not otherwise and taken == {0}:
        yield ways[0].path, ALWAYS, f"the condition of {ways[0].handle!r} always holds: {_REPAIR}"


_REPAIR = "correct it, or lead on without asking."
_UNFIT = (
    "the comparison fails for every value that is not missing, for the types of its two sides "
    "have no order: compare numbers with numbers, and text with text."
)


class _Reading:
    """The variables of some conditions, what is asked of each, and what is not read."""

    def __init__(self) -> None:
        self.asked: dict[str, list[tuple[Any, list[Any]]]] = {}
        self.opaque: dict[str, str] = {}

    def truth(self, logic: Any) -> Any:
        """Return a condition in which all that is beyond comparing is a variable of its own."""
        if isinstance(logic, dict):
            name, operands = next(iter(logic.items()))
            listed = operands if isinstance(operands, list) else [operands]
            if name in _TRUTH:
                return {name: [self.truth(operand) for operand in listed]}
            if self._compares(name, listed, logic):
                return logic
        if not _reads(logic):
            return logic
        key = json.dumps(logic, sort_keys=True)
        return {"var": self.opaque.setdefault(key, f"?{len(self.opaque)}")}

    def _compares(self, name: str, operands: list[Any], logic: Any) -> bool:
        """Return whether an operation compares one variable with constants, and note them."""
        paths = [(i, path) for i, x in enumerate(operands) if (path := _path(x)) is not None]
        others: list[Any] = []
        if name == "var":
            path = _path(logic)
        elif len(paths) == 1 and name in {*_ORDER, *_EQUAL, "in"}:
            place, path = paths[0]
            others = [x for i, x in enumerate(operands) if i != place]
            if name == "in":
                others = others[0] if place == 0 and isinstance(others[0], list) else [others]
        else:
            path = None
        if path is None or not all(_is_plain(other) for other in others):
            return False
        texts = name in _ORDER and any(isinstance(other, str) for other in others)
        known = self.asked.setdefault(path, [])
        numbers = any(_is_number(value) for _, values in known for value in (*values, *others))
        if texts and numbers:
            return False  # a text would have a place among both
        known.append((logic, others))
        return True

    def assignments(self) -> list[tuple[dict[str, Any], bool]] | None:
        """Return data for each class of values, and whether any is missing; None of too many."""
        keys = {path: tuple(path.split(".")) for path in sorted(self.asked)}
        if any(a == b[: len(a)] for a in keys.values() for b in keys.values() if a is not b):
            return None  # one is inside the other, so that they are not free of each other
        choices = [self._classes(path, keys[path]) for path in keys]
        choices += [[True, False]] * len(self.opaque)
        if math.prod(len(choice) for choice in choices) > MAX_TRIALS:
            return None
        names = [*keys.values(), *((name,) for name in self.opaque.values())]
        made = []
        for values in itertools.product(*choices):
            data: dict[str, Any] = {}
            for name, value in zip(names, values, strict=True):
                _put(data, name, value)
            made.append((data, None in values))
        return made

    def _classes(self, path: str, keys: tuple[str, ...]) -> list[Any]:
        """Return one value for each way in which what is asked of a variable can come out."""
        asked = self.asked[path]
        found: dict[tuple[Any, ...], Any] = {}
        ordered = all(next(iter(logic)) in _ORDER for logic, _ in asked)
        constants = [constant for _, values in asked for constant in values]
        for value in _values(constants, ordered):
            data: dict[str, Any] = {}
            _put(data, keys, value)
            answers = (_answer(logic, data) for logic, _ in asked)
            found.setdefault((value is None, *answers), value)
        return list(found.values())


def _put(data: dict[str, Any], keys: tuple[str, ...], value: Any) -> None:
    for key in keys[:-1]:
        data = data.setdefault(key, {})
    data[keys[-1]] = value


def _answer(logic: Any, data: dict[str, Any]) -> bool | None:
    """Return whether a condition holds; None where it fails."""
    try:
        return truthy(evaluate(logic, data))
    except NodeFailed:
        return None


def _path(logic: Any) -> str | None:
    """Return the path of a variable that is written out, without a default."""
    if not (isinstance(logic, dict) and set(logic) == {"var"}):
        return None
    path = logic["var"]
    if isinstance(path, list):
        path = path[0] if len(path) == 1 else None
    return path if isinstance(path, str) and path else None


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, (bool, int, float, str))


def _reads(logic: Any) -> bool:
    """Return whether an expression looks at data; it nests no deeper than expressions may."""
    if isinstance(logic, list):
        return any(_reads(item) for item in logic)
    if isinstance(logic, dict):
        return any(name in ("var", "missing") or _reads(inner) for name, inner in logic.items())
    return False


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _values(constants: list[Any], ordered_only: bool) -> list[Any]:
    """Return values of every class that comparisons with the constants tell apart.

    An order takes a text that reads as a number for that number, so where nothing asks for
    equality none is needed, and one array stands for all.
    """
    texts = {value for value in constants if isinstance(value, str)}
    numbers = {value for value in constants if isinstance(value, (int, float))}
    numbers |= {number for text in texts if (number := _number(text)) is not None}
    ordered = sorted(numbers | {0, 1})  # as numbers, "" and false are 0, and true is 1
    numeric = [*ordered, *(_middle(a, b) for a, b in itertools.pairwise(ordered))]
    written = {"", "\0", *texts, *(text + "\0" for text in texts)}
    found: list[Any] = [None, True, False, [], {}, *numeric, -math.inf, math.inf]
    if ordered_only:
        return found + sorted(written)
    # As texts, numbers are tried as they are written usually and as they are not.
    written |= {form.format(number) for number in numeric for form in ("{}", " {} ")}
    written |= {"1e400", "-1e400"}
    return found + sorted(written) + [[text] for text in sorted(written)]


def _middle(a: float, b: float) -> float:
    try:
        return (a + b) / 2
    except OverflowError:  # whole numbers that are no doubles
        return (int(a) + int(b)) // 2


def _number(text: str) -> int | float | None:
    """Return the number that a text reads as, by the evaluator's own judgement."""
    try:
        value = evaluate({"+": [text]}, {})
    except NodeFailed:
        return None
    return value if isinstance(value, (int, float)) else None


def can_be_taken(ways: Sequence[Way]) -> tuple[set[str], bool]:
    """Return which of some ways can be taken, and whether none of them may be.

    All of them, and none, where it cannot be told.
    """
    reading = _Reading()
    conditions = [reading.truth(way.logic) for way in ways]
    assignments = reading.assignments()
    if assignments is None:
        return {way.handle for way in ways}, True
    taken: set[str] = set()
    otherwise = False
    for data, _ in assignments:
        answers = (_answer(condition, data) for condition in conditions)
        first = next(((n, answer) for n, answer in enumerate(answers) if answer is not False), None)
        if first is None:
            otherwise = True
        elif first[1]:
            taken.add(ways[first[0]].handle)
    return taken, otherwise
