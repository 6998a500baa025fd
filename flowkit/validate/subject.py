"""The flow as the rules see it: its nodes by position, their handles, and the edges that hold.

Imports `snapshot`, `flow`, `nodetype`, `nodes`, `options`, `fields`, `shape`, `problems`, `errors`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from functools import cached_property
from typing import TypeVar

from flowkit.errors import NotFound
from flowkit.fields import parse
from flowkit.flow import Flow
from flowkit.nodes.control import Repeat
from flowkit.nodetype import Handle, NodeType, node_type
from flowkit.options import QuietHours
from flowkit.problems import Problem, pointer
from flowkit.shape import Shape, shape_of
from flowkit.validate.snapshot import Templates

T = TypeVar("T")


class Subject:
    """One flow under validation. Nodes are named by their index, so that ids may be wrong."""

    def __init__(self, flow: Flow, templates: Templates | None = None) -> None:
        self.flow = flow
        self.templates = templates
        self._known: dict[Callable[[Subject], object], object] = {}
        self.types: list[type[NodeType] | None] = []
        self.config_problems: list[Problem] = []
        self.outputs: list[tuple[Handle, ...] | None] = []
        self.made: list[NodeType | None] = []
        for index, node in enumerate(flow.nodes):
            self._read(index, node.type)

    def _read(self, index: int, name: str) -> None:
        """Take in one node's type and config; its outputs are None where they cannot be known."""
        try:
            cls = node_type(name)
        except NotFound as error:
            self.types.append(None)
            self.outputs.append(None)
            self.made.append(None)
            path = pointer("nodes", index, "type")
            self.config_problems.append(Problem("node.unknown_type", path, str(error)))
            return
        config = self.flow.nodes[index].config
        made, found = parse(cls, config, pointer("nodes", index, "config"))
        self.types.append(cls)
        self.made.append(made)
        self.config_problems += found
        if made is not None:
            self.outputs.append(made.outputs())
        else:
            fixed = cls.outputs is NodeType.outputs
            self.outputs.append(cls.handles if fixed else None)

    def once(self, work: Callable[[Subject], T]) -> T:
        """Return what `work` makes of the subject, which is done once for all rules."""
        if work not in self._known:
            self._known[work] = work(self)
        return self._known[work]  # type: ignore[return-value]

    def rounds(self, index: int) -> int:
        """Return how often the loop of a node goes round at most; 0 of what is no loop."""
        made = self.made[index]
        return made.maximum if isinstance(made, Repeat) and self.shape.bodies.get(index) else 0

    def of_type(self, name: str) -> list[int]:
        """Return the nodes of a type."""
        return [i for i, node in enumerate(self.flow.nodes) if node.type == name]

    def executed(self, index: int) -> bool:
        """Return whether a node does anything, for all that is known of its type."""
        known = self.types[index]
        return known is None or known.executed

    def show(self, index: int) -> str:
        """Return a node's id as messages write it."""
        return repr(self.flow.nodes[index].id)

    @cached_property
    def index_of(self) -> dict[str, int]:
        """Index of each node by id; the first where an id is used twice."""
        found: dict[str, int] = {}
        for index, node in enumerate(self.flow.nodes):
            found.setdefault(node.id, index)
        return found

    @cached_property
    def _quiet(self) -> QuietHours | None:
        return parse(QuietHours, self.flow.settings.get("quietHours"))[0]

    def held(self, index: int) -> float:
        """Return for how many seconds the settings can keep a node from beginning."""
        made = self.made[index]
        if made is None or made.sends() is None or self._quiet is None:
            return 0.0
        return self._quiet.longest(made.takes(None)[1])

    def takes(self, index: int, handle: str | None) -> tuple[float, float]:
        """Return how many seconds a node takes, at least and at most, that is left by `handle`."""
        made = self.made[index]
        least, most = (0.0, 0.0) if made is None else made.takes(handle)
        return least, most + self.held(index)

    @cached_property
    def ways(self) -> list[dict[str | None, list[int]]]:
        """For each node its targets by handle, each once, in the order of the edges."""
        ways: list[dict[str | None, list[int]]] = [{} for _ in self.flow.nodes]
        seen: set[tuple[int, str | None, int]] = set()
        for edge in self.flow.edges:
            source, target = self.index_of.get(edge.source), self.index_of.get(edge.target)
            if source is None or target is None or (source, edge.source_handle, target) in seen:
                continue
            seen.add((source, edge.source_handle, target))
            ways[source].setdefault(edge.source_handle, []).append(target)
        return ways

    @cached_property
    def after(self) -> list[list[int]]:
        """The nodes to which each node leads, each once."""
        return [list(dict.fromkeys(t for ts in way.values() for t in ts)) for way in self.ways]

    @cached_property
    def before(self) -> list[list[int]]:
        """The nodes that lead to each node, each once."""
        before: list[list[int]] = [[] for _ in self.flow.nodes]
        for source, targets in enumerate(self.after):
            for target in targets:
                before[target].append(source)
        return before

    @cached_property
    def shape(self) -> Shape[int]:
        """The JOINs and loops."""
        return shape_of(
            {index: node.type for index, node in enumerate(self.flow.nodes)}, self.ways.__getitem__
        )

    @cached_property
    def onward(self) -> list[list[int]]:
        """The nodes to which each node leads, but not back to a REPEAT from its body."""
        back = self.shape.back
        if not back:
            return self.after
        return [
            [target for target in targets if (source, target) not in back]
            for source, targets in enumerate(self.after)
        ]

    @cached_property
    def order(self) -> list[int]:
        """The nodes that are in no cycle and below none, each after all that lead to it.

        A loop that a REPEAT bounds is no cycle.
        """
        waiting = [0] * len(self.before)
        for targets in self.onward:
            for target in targets:
                waiting[target] += 1
        order = [node for node, count in enumerate(waiting) if not count]
        for node in order:  # grows while it is read
            for target in self.onward[node]:
                waiting[target] -= 1
                if not waiting[target]:
                    order.append(target)
        return order


def spread(starts: Iterable[int], leads: list[list[int]]) -> set[int]:
    """Return what can be reached from `starts`, them included (breadth first)."""
    seen = set(starts)
    queue = deque(seen)
    while queue:
        for node in leads[queue.popleft()]:
            if node not in seen:
                seen.add(node)
                queue.append(node)
    return seen
