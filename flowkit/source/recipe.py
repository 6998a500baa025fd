"""All that makes a flow in Python: its beginning, the builder's steps, and what follows them.

Owns what stands in for what the builder cannot make: nodes and edges of their own, and a view.
Imports `flow`, `graph`, `nodes.system`, `view`, `building`, `errors`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flowkit.errors import Invalid
from flowkit.flow import Flow
from flowkit.graph import Edge, Node
from flowkit.nodes.system import Trigger
from flowkit.source.building import Step, built
from flowkit.view import taken_from


@dataclass(frozen=True)
class Recipe:
    """How a flow is made: arguments of `Flow`, steps, then what `replace` and a view add."""

    name: str
    begin: dict[str, Any]
    steps: list[Step]
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    view: dict[str, Any]


def recipe(flow: Flow) -> Recipe | None:
    """Return how the builder makes a flow; None where it makes little or nothing of it."""
    begin = _begin(flow)
    if begin is None:
        return None
    made, steps = built(flow, Flow(flow.name, **begin))
    there = {node.id for node in made.nodes}
    nodes = tuple(
        Node(node.id, node.type, config=node.config) for node in flow.nodes if node.id not in there
    )
    ways = {(edge.source, edge.source_handle, edge.target) for edge in made.edges}
    edges = tuple(
        Edge(edge.id, edge.source, edge.target, edge.source_handle)
        for edge in flow.edges
        if (edge.source, edge.source_handle, edge.target) not in ways
    )
    if len(nodes) > len(made.nodes):
        return None
    whole = made.replace(nodes=made.nodes + nodes, edges=made.edges + edges)
    view = taken_from(flow, whole)
    return None if view is None else Recipe(flow.name, begin, steps, nodes, edges, view)


def _begin(flow: Flow) -> dict[str, Any] | None:
    """Return the arguments beside the name with which `Flow` begins a flow; None when it cannot."""
    if len({node.id for node in flow.nodes}) < len(flow.nodes):
        return None
    try:
        trigger = flow.behaviour(flow.start)
        assert isinstance(trigger, Trigger)
        named: dict[str, Any] = {"trigger": flow.trigger_type, "id": flow.id}
        named |= {"settings": flow.settings or None} | trigger.to_call()
        if any(node.id == flow.start and "contact" in node.config for node in flow.nodes):
            named["contact"] = trigger.contact
        named["start"] = None if flow.start == "trigger_1" else flow.start
        named = {name: value for name, value in named.items() if value is not None}
        Flow(flow.name, **named)
    except Invalid:
        return None
    return named
