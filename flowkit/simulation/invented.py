"""Contacts and payloads made up for flows: with the fields that they read, and values that matter.

Owns what is read out of conditions and templates, and which values stand for it: those with which
a field is compared, and others, so that every way of a decision is likely to be gone. Imports
`flow`, `template`, `population`.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from flowkit.flow import Flow
from flowkit.simulation.population import Population
from flowkit.template import variables

Path = tuple[str, ...]
IDENTITY = {("contact", name) for name in ("id", "user_id", "phone")}
DAYS = (-400, 1, 30)


def invented(
    flows: Sequence[Flow], size: int, seed: int, at: datetime
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yield contacts and the payloads of their triggers, always the same ones.

    Parameters
    ----------
    flows : sequence of Flow
        All of which are to find there what they read.
    size : int
        How many.
    seed : int
        Another seed, others.
    at : datetime
        The moment around which dates lie.
    """
    chance = random.Random(seed)
    fields = _fields(flows, at)
    for contact in Population(size=size, seed=seed):
        roots: dict[str, Any] = {"contact": contact, "trigger": {}}
        for path, values in fields.items():
            value = chance.choice(values)
            if value is not None:
                _put(roots, path, value)
        yield contact, {**roots["trigger"], "contact": contact}


def _fields(flows: Iterable[Flow], at: datetime) -> dict[Path, list[Any]]:
    """Return what the flows read of contact and payload, and the values that it may have."""
    found: dict[Path, list[Any]] = {}
    for flow in flows:
        for config in (flow.settings, *(node.config for node in flow.nodes)):
            for path, value in _read(config):
                if path[:2] == ("trigger", "contact"):
                    path = path[1:]
                if len(path) < 2 or path[0] not in ("contact", "trigger") or path in IDENTITY:
                    continue
                values = found.setdefault(path, [])
                values += [one for one in value if not any(_same(one, two) for two in values)]
    # What is only shown is text; as a date it can be waited for, too.
    dates = [(at + timedelta(days=days)).date().isoformat() for days in DAYS]
    return {path: found[path] or dates for path in sorted(found)}


def _read(config: Any) -> Iterator[tuple[Path, list[Any]]]:
    """Yield the places that a config reads, with values that make a difference there."""
    if isinstance(config, str):
        yield from ((path, []) for path in variables(config))
    elif isinstance(config, list):
        for item in config:
            yield from _read(item)
    elif isinstance(config, dict):
        for name, item in config.items():
            operands = item if isinstance(item, list) else [item]
            if name == "var" and operands and isinstance(operands[0], str):
                yield tuple(operands[0].split(".")), []
                continue
            yield from ((path, _matters(name, operands)) for path in _direct(operands))
            yield from _read(item)


def _direct(operands: list[Any]) -> Iterator[Path]:
    """Yield the places that are operands themselves."""
    for operand in operands:
        if isinstance(operand, dict) and len(operand) == 1 and "var" in operand:
            path = operand["var"][0] if isinstance(operand["var"], list) else operand["var"]
            if isinstance(path, str):
                yield tuple(path.split("."))


def _matters(name: str, operands: list[Any]) -> list[Any]:
    """Return the values that an operator tells apart, of what stands beside its constants."""
    if name in ("!", "!!", "and", "or", "if"):
        return [True, False]
    constants: list[Any] = []
    for operand in operands:
        constants += operand if isinstance(operand, list) else [operand]
    constants = [one for one in constants if one is None or isinstance(one, (str, int, float))]
    if name == "in" and isinstance(operands[-1], dict):  # a list of the contact's, such as tags
        return [[one] for one in constants] + [[]] if constants else []
    found: list[Any] = []
    for one in constants:
        if one is None:
            found += [None, "given"]
        elif isinstance(one, bool):
            found += [True, False]
        elif isinstance(one, str):
            found += [one, "another"]
        else:
            found += [one - 1, one, one + 1]
    return found


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and bool(one == other)


def _put(root: dict[str, Any], path: Path, value: Any) -> None:
    for name in path[:-1]:
        inner = root.get(name)
        if not isinstance(inner, dict):
            inner = root[name] = {}
        root = inner
    root[path[-1]] = value
