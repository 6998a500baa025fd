"""Flows as Python source: what one would write with the builder to make a given flow.

Owns how a `recipe` is written down. Imports `flow`, `nodes.system` and its own modules.
"""

from __future__ import annotations

import re

from flowkit.flow import Flow
from flowkit.nodes.system import Trigger
from flowkit.source.building import Branch, Step, keyword_of, positions, takes_on
from flowkit.source.recipe import Recipe, recipe
from flowkit.source.text import (
    Args,
    Atom,
    Chain,
    Lambda,
    Piece,
    arguments,
    call,
    literal,
    mapping,
    written,
)
from flowkit.source.values import constructed, named_arguments

MAX_STEPS = 3
"""Steps of a branch that is written as a lambda; a longer one is a function with a name."""


def to_python(flow: Flow) -> str:
    """Return Python source that makes `flow` and assigns it to ``flow``."""
    made = recipe(flow)
    if made is None:
        blocks = ["\n", _assigned(call("fk.Flow.from_dict", literal(flow.to_dict())))]
    else:
        blocks = _blocks(made)
    return "import flowkit as fk\n" + "".join(blocks)


def _blocks(made: Recipe) -> list[str]:
    writer = _Writer()
    start = call("fk.Flow", literal(made.name), **named_arguments(Trigger, made.begin))
    chain = writer.chain(start, made.steps)
    blocks = [*writer.functions, "\n\n" if writer.functions else "\n", _assigned(chain)]
    if made.nodes or made.edges:
        blocks.append(_assigned(_added(made)))
    if made.view:
        blocks.append(_assigned(call("flow.with_view", literal(made.view))))
    return blocks


def _added(made: Recipe) -> Piece:
    """Return the source that adds nodes and edges to ``flow``."""
    nodes = [
        call(
            "fk.Node",
            *map(literal, (node.id, node.type)),
            **({"config": literal(node.config)} if node.config else {}),
        )
        for node in made.nodes
    ]
    ends = [(edge.id, edge.source, edge.target, edge.source_handle) for edge in made.edges]
    edges = [call("fk.Edge", *(literal(v) for v in end if v is not None)) for end in ends]
    return call(
        "flow.replace",
        **{
            name: Args("(", ")", [("", Atom(f"*flow.{name}")), *(("", piece) for piece in added)])
            for name, added in (("nodes", nodes), ("edges", edges))
            if added
        },
    )


def _assigned(piece: Piece) -> str:
    return f"flow = {written(piece, 0, len('flow = '))}\n"


class _Writer:
    """Writes steps, with a function for each branch that is too long for a lambda."""

    def __init__(self) -> None:
        self.functions: list[str] = []
        self._names: set[str] = set()

    def chain(self, head: Piece, steps: list[Step]) -> Piece:
        """Return the source of steps, one after the other."""
        return Chain(head, [self._step(step) for step in steps]) if steps else head

    def _step(self, step: Step) -> tuple[str, Args]:
        named: dict[str, Piece] = {}
        positional: list[Piece] = []
        verb = step.verb
        on: dict[str, Piece] = {}
        if verb == "parallel":
            positional = [
                self._branch(branch, f"from_{branch.first}") for branch in step.ways.values()
            ]
        elif step.node is not None:
            words = {handle: keyword_of(step.node, handle) for handle in step.ways}
            if step.call is None or (None in words.values() and not takes_on(step.node)):
                verb, words = "then", dict.fromkeys(words)
                positional = [constructed(step.node)]
            else:
                named = named_arguments(type(step.node), step.call)
                positional = [named.pop(name) for name in positions(step.node, named)]
            for handle, branch in step.ways.items():
                word = words[handle]
                name = f"{step.id}_{word or handle}"
                (on if word is None else named)[word or handle] = self._branch(branch, name)
        if on:
            named["on"] = mapping(on)
        if step.named:
            named["id"] = literal(step.id)
        return verb, arguments(positional, named)

    def _branch(self, branch: Branch, name: str) -> Piece:
        body = self.chain(Atom("b"), branch.steps)
        if len(branch.steps) <= MAX_STEPS and not any(step.ways for step in branch.steps):
            return Lambda("b", body)
        name = self._named(name)
        source = written(body, 4, len("return "))
        self.functions.append(f"\n\ndef {name}(b: fk.Flow) -> fk.Flow:\n    return {source}\n")
        return Atom(name)

    def _named(self, name: str) -> str:
        stem = re.sub(r"\W", "_", name, flags=re.ASCII)
        stem = stem if stem.isidentifier() else f"_{stem}"
        number, name = 1, stem
        while name in self._names:
            number += 1
            name = f"{stem}_{number}"
        self._names.add(name)
        return name
