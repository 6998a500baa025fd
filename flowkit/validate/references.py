"""What expressions and templates read of variables and results, and whether any path has set it.

For each name that is read, one bit: whether all paths to a node have set it, and whether some has.
Imports `subject`, `fields`, `kinds`, `template`, `finding`, `problems`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from flowkit import kinds
from flowkit.fields import Part, specs
from flowkit.kinds import Kind
from flowkit.problems import Problem, pointer
from flowkit.template import variables
from flowkit.validate.finding import Finding
from flowkit.validate.subject import Subject, spread

NEVER_SET = Finding(
    "reference.never_set", "A variable or a node's result is read that no path has set before."
)
MAYBE_UNSET = Finding(
    "reference.maybe_unset",
    "A variable or a node's result is read that only some of the paths have set before.",
)

Name = tuple[str, str]
"""``vars`` or ``nodes``, and a key of it."""


class Reading(NamedTuple):
    """A name that a config reads at a place; `lenient` where its absence is provided for."""

    name: Name
    path: str
    lenient: bool


def what_is_never_set(subject: Subject) -> Iterator[Problem]:
    """Warn of names that are read where nothing, or not every path, has set them."""
    readings = [
        [] if made is None else list(dict.fromkeys(_read_config(made))) for made in subject.made
    ]
    bits: dict[Name, int] = {}
    for reading in (reading for own in readings for reading in own):
        bits.setdefault(reading.name, 1 << len(bits))
    if not bits or len(subject.order) < len(readings):
        return
    always, ever = _set_before(subject, bits)
    started = spread(subject.of_type("TRIGGER"), subject.after)
    for index, own in enumerate(readings):
        for (root, key), path, lenient in own if index in started else ():
            bit = bits[root, key]
            if always[index] & bit or (ever[index] & bit and lenient):
                continue
            place = pointer("nodes", index, "config") + path
            if ever[index] & bit:
                yield MAYBE_UNSET.at(
                    place,
                    f"Some paths to {subject.show(index)} have not set {root}.{key}: it is missing "
                    "there. Set it on each, or say what stands in for it.",
                )
            else:
                what = _what(subject, root, key)
                yield NEVER_SET.at(
                    place, f"{what}: {root}.{key} is always missing at {subject.show(index)}."
                )


def _what(subject: Subject, root: str, key: str) -> str:
    if root == "vars":
        return f"No node before sets {key!r}; set it, or correct the name"
    if key not in subject.index_of:
        return f"There is no node {key!r}; correct the name"
    return f"No path leads through the node {key!r} before; lead one through it, or read another"


def _set_before(subject: Subject, bits: dict[Name, int]) -> tuple[list[int], list[int]]:
    """Return for each node the bits that all paths have set before it, and that any has."""
    everything = (1 << len(bits)) - 1
    nodes = subject.flow.nodes
    own = [
        bits.get(("nodes", node.id), 0)
        | _union(bits.get(("vars", name), 0) for name in (made.sets() if made else ()))
        for node, made in zip(nodes, subject.made, strict=True)
    ]
    always, ever = [everything] * len(nodes), [0] * len(nodes)
    for index in subject.of_type("TRIGGER"):
        always[index] = 0
    changed = True
    while changed:  # once more for each level of loops in loops
        changed = False
        for node in subject.order:
            if nodes[node].type == "JOIN":  # it goes on with what any of its branches has set
                always[node] = ever[node]
            for target in subject.after[node]:
                before = always[target], ever[target]
                always[target] &= always[node] | own[node]
                ever[target] |= ever[node] | own[node]
                changed = changed or before != (always[target], ever[target])
        changed = changed and bool(subject.of_type("REPEAT"))
    return always, ever


def _union(found: Iterator[int]) -> int:
    union = 0
    for bit in found:
        union |= bit
    return union


def _read_config(config: Any, path: str = "") -> Iterator[Reading]:
    """Yield what a config, or a part of one, reads."""
    for spec in specs(type(config)):
        value = getattr(config, spec.name)
        if value is not None:
            yield from _read_value(spec.kind, value, path + pointer(spec.wire))


def _read_value(kind: Kind, value: Any, path: str) -> Iterator[Reading]:
    if isinstance(kind, kinds.Logic):
        yield from _read_logic(value, path)
    elif isinstance(kind, kinds.Text) and kind.format == "liquid":
        lenient = "{%" in value or "default" in value
        for parts in variables(value):
            yield from _reading(parts, path, lenient)
    elif isinstance(kind, kinds.Listing):
        for index, item in enumerate(value):
            yield from _read_value(kind.item, item, path + pointer(index))
    elif isinstance(kind, kinds.Table):
        for name, item in value.items():
            yield from _read_value(kind.item, item, path + pointer(name))
    elif isinstance(kind, Part):
        yield from _read_config(value, path)


def _read_logic(logic: Any, path: str, lenient: bool = False) -> Iterator[Reading]:
    """Yield what a condition reads; it nests no deeper than conditions may."""
    if isinstance(logic, list):
        for item in logic:
            yield from _read_logic(item, path, lenient)
    elif isinstance(logic, dict):
        name, operands = next(iter(logic.items()))
        listed = operands if isinstance(operands, list) else [operands]
        if name == "var" and listed and isinstance(listed[0], str):
            yield from _reading(tuple(listed[0].split(".")), path, lenient or len(listed) > 1)
        elif name != "missing":
            # Who compares with nothing, or asks for the truth, has thought of what is missing.
            asks = None in listed or name in ("!", "!!")
            yield from _read_logic(listed, path, lenient or asks)


def _reading(parts: tuple[str, ...], path: str, lenient: bool) -> Iterator[Reading]:
    if len(parts) > 1 and parts[0] in ("vars", "nodes"):
        yield Reading((parts[0], parts[1]), path, lenient)
