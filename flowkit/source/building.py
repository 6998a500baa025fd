"""How a flow would have been built: the calls of the builder that make its graph.

Builds the flow anew, step by step, from what its edges say, and notes each step. Owns the choice
of the steps; what the builder cannot make is left out, for the caller to add. Imports `flow`,
`nodetype`, `fields`, `wire`, `errors`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from flowkit.calling import branch_keywords, signature
from flowkit.errors import Invalid
from flowkit.fields import unparse
from flowkit.flow import Edge, Flow
from flowkit.nodetype import NodeType
from flowkit.wire import canonical

MAX_DEPTH = 30
"""Levels of branches in branches that are built."""

MAX_TRIES = 100
"""How often branches are built a second time."""

End = tuple[str, str | None]
"""A way out: a node's id and a handle."""


@dataclass
class Step:
    """One call of a builder's method.

    `node` is the node type's instance, None for ``parallel`` and ``end``; `call` the arguments
    that make it, None where its method cannot. `id` is the node's, `named` whether it has to be
    said because the builder would choose another.
    """

    verb: str
    id: str = ""
    named: bool = False
    node: NodeType | None = None
    call: dict[str, Any] | None = None
    ways: dict[str, Branch] = field(default_factory=dict)
    """What follows each handle; for ``parallel`` the branches, by number."""


@dataclass
class Branch:
    """Steps that a function of its own makes; `first` is the node with which they begin."""

    first: str | None
    steps: list[Step]


def built(flow: Flow, empty: Flow) -> tuple[Flow, list[Step]]:
    """Return `flow` as far as the builder makes it from `empty`, which has its TRIGGER, and how.

    What is left out are nodes and edges; nothing is there that `flow` has not.
    """
    return _Building(flow).chain(empty, 0, (), close=True)


class _Building:
    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.types = {node.id: node.type for node in flow.nodes}
        self.into: dict[str, set[End]] = {node.id: set() for node in flow.nodes}
        for source, handle, target in _forward(flow):
            self.into[target].add((source, handle))
        self._after: dict[str, set[str]] = {node.id: set() for node in flow.nodes}
        self._place: dict[End, int] = {}
        self._entered: dict[str, End] = {}
        self._last: dict[str, int] = {}
        for place, edge in enumerate(flow.edges):
            if edge.source in self.types and edge.target in self.types:
                self._after[edge.source].add(edge.target)
            self._place.setdefault((edge.source, edge.source_handle), place)
            self._entered.setdefault(edge.target, (edge.source, edge.source_handle))
            self._last[edge.source] = place
        self._led: set[tuple[str, str | None, str]] = set()
        # While a branch of a fork is built: the edges of the fork that are for the others.
        self._others: set[tuple[str, str | None, str]] = set()
        self._taken: tuple[Edge, ...] = ()
        self._tries = 0
        self._calls: dict[str, dict[str, Any] | None] = {}

    def chain(
        self, made: Flow, depth: int, first: tuple[str, ...], *, close: bool
    ) -> tuple[Flow, list[Step]]:
        """Build on as long as all open ends lead to the same.

        Parameters
        ----------
        made : Flow
            What has been built, with open ends.
        depth : int
            How many branches this is in.
        first : tuple of str
            Where the open ends lead at first, of more places; empty for all of them.
        close : bool
            Whether ends may be led to an END at which others arrive elsewhere.
        """
        steps: list[Step] = []
        while made.open_ends and depth <= MAX_DEPTH:
            noted = self._note(made)
            if noted is not None:
                made, step = noted
                steps.append(step)
                continue
            ends = list(dict.fromkeys((end.node_id, end.handle) for end in made.open_ends))
            targets = first or self._remaining(made, ends)
            first = ()
            if not targets:
                break
            if len(targets) == 1:
                found = self._single(made, targets[0], ends, depth, close=close)
            else:
                found = self._parallel(made, targets, ends, depth)
            if found is None:
                break
            made, step = found
            steps.append(step)
        return made, steps

    def _remaining(self, made: Flow, ends: list[End]) -> tuple[str, ...]:
        """Return where the ends lead and have not been led yet; nothing unless it is the same."""
        self._take(made)
        found = set()
        for end in ends:
            targets = dict.fromkeys(self.flow.targets(*end))
            past = self._led | self._others if self._others else self._led
            found.add(tuple(target for target in targets if (*end, target) not in past))
        return found.pop() if len(found) == 1 else ()

    def _take(self, made: Flow) -> None:
        """Take in the edges that have been made since; or all, if others have been given up."""
        known = len(self._taken)
        if known and (known > len(made.edges) or made.edges[known - 1] is not self._taken[-1]):
            known = 0
            self._led.clear()
        for edge in made.edges[known:]:
            self._led.add((edge.source, edge.source_handle, edge.target))
        self._taken = made.edges

    def _single(
        self, made: Flow, target: str, ends: list[End], depth: int, *, close: bool
    ) -> tuple[Flow, Step] | None:
        """Build the node to which all ends lead, if nothing else leads there."""
        if target not in self.types:
            return None
        own = self.into[target] <= set(ends)
        if self.types[target] == "END":
            close = close or own or self._next(made, target, ends)
            return self._end(made, target, close=close, own=own)
        node = self._behaviour(target)
        if not own or node is None or any(known.id == target for known in made.nodes):
            return None
        step, chosen = self._step(made, target, node)
        ways = [h.id for h in node.outputs() if h.id and self.flow.targets(target, h.id)]
        required = {handle.id for handle in node.outputs() if handle.required}
        ending = {handle.id for handle in node.outputs() if handle.ends}
        rest = self._rest(target, ways)
        rest = rest if rest in required - ending else None
        # What is left open of these is led back: what ends must end by itself, and what goes on
        # with the rest is no branch.
        back = {handle.id for handle in node.outputs() if handle.back}
        if back and len({self.flow.targets(target, way) for way in ways}) == 1:
            ways, step.call = [], None

        def grow(close: bool) -> Flow:
            step.ways = {}
            on = {
                way: self._branch(
                    step, way, depth, (), close=close or rest is not None or way in back
                )
                for way in ways
                if way != rest
            }
            return made.then(node, id=chosen, on=on)

        grown = self._until_they_meet(grow)
        # What stays open needs no branch, unless the builder would end it.
        step.ways = {
            h: way for h, way in step.ways.items() if way.steps or h not in required or h in ending
        }
        return grown, step

    def _note(self, made: Flow) -> tuple[Flow, Step] | None:
        """Build the next node of the document if it is one to which nothing leads."""
        if len(made.nodes) >= len(self.flow.nodes):
            return None
        target = self.flow.nodes[len(made.nodes)].id
        node = self._behaviour(target)
        if node is None or node.executed or any(known.id == target for known in made.nodes):
            return None
        step, chosen = self._step(made, target, node)
        return made.then(node, id=chosen), step

    def _rest(self, node_id: str, ways: list[str]) -> str | None:
        """Return the handle that the flow goes on from, if the others have ended before it."""
        if len(ways) < 2:
            return None
        *others, rest = sorted(ways, key=lambda way: self._place[node_id, way])
        targets = {t for way in others for t in self.flow.targets(node_id, way)}
        ended = self._reached(targets, node_id)
        if not all(self._last.get(node, 0) < self._place[node_id, rest] for node in ended):
            return None
        following = self.flow.targets(node_id, rest)
        shared = ended & self._reached(following, node_id)
        if any(self.types[node] != "END" or node in following for node in shared):
            return None
        return rest

    def _reached(self, starts: Iterable[str], past: str) -> set[str]:
        """Return the nodes that can be reached, the starts among them, but not by way of `past`."""
        seen = {node for node in starts if node in self.types and node != past}
        queue = list(seen)
        for node in queue:  # grows while it is read
            fresh = self._after[node] - seen - {past}
            seen |= fresh
            queue += fresh
        return seen

    def _next(self, made: Flow, target: str, ends: list[End]) -> bool:
        """Return whether the edges that lead the ends to a node are the next in the document."""
        count = len(made.edges)
        following = self.flow.edges[count : count + len(ends)]
        return [(e.source, e.source_handle, e.target) for e in following] == [
            (node_id, handle, target) for node_id, handle in ends
        ]

    def _end(self, made: Flow, target: str, *, close: bool, own: bool) -> tuple[Flow, Step] | None:
        """Lead the ends to an END: the flow's first one may be led to from several places."""
        present = next((node.id for node in made.nodes if node.type == "END"), None)
        if not close or (present not in (None, target) and not own):
            return None
        new = present != target
        chosen = target if new and (present or made._new_id("END", None) != target) else None
        return made.end(id=chosen), Step("end", target, chosen is not None)

    def _parallel(
        self, made: Flow, targets: tuple[str, ...], ends: list[End], depth: int
    ) -> tuple[Flow, Step] | None:
        """Fork to what only these ends lead to; the rest is where the branches may meet."""
        firsts: dict[tuple[str, ...], None] = {}
        for target in targets:
            own = target in self.types and self.into[target] <= set(ends)
            if own or self.types.get(target) == "END":
                firsts[target,] = None
            elif self._entered.get(target) in ends:
                firsts = {(): None, **firsts}
            else:
                firsts[()] = None
        step = Step("parallel")
        leads: dict[tuple[str, ...], tuple[str, ...]] = {}

        def fork(firsts: Iterable[tuple[str, ...]]) -> Callable[[bool], Flow]:
            def grow(close: bool) -> Flow:
                step.ways = {}
                branches = [
                    self._branch(step, str(number), depth, first, targets, close=close, leads=leads)
                    for number, first in enumerate(firsts)
                ]
                return made.parallel(*branches)

            return grow

        branches = list(firsts)
        while (grown := self._met(fork(branches))) is None:
            grouped = self._grouped(targets, branches, leads)
            if grouped == branches or len(grouped) == 1:
                grown = fork(firsts)(True)
                break
            branches = grouped
        return (grown, step) if any(way.steps for way in step.ways.values()) else None

    def _grouped(
        self,
        targets: tuple[str, ...],
        firsts: list[tuple[str, ...]],
        leads: dict[tuple[str, ...], tuple[str, ...]],
    ) -> list[tuple[str, ...]]:
        """Return branches of which those that meet before the others are one, forking at once.

        `leads` says where each branch leads on, of those that begin somewhere.
        """
        started = [first for first in firsts if first]
        grouped = {target for first in started for target in first}
        rest = [target for target in targets if target not in grouped]
        for met in dict.fromkeys((*rest, *(place for led in leads.values() for place in led))):
            others = [target for target in rest if target != met]
            inner = [
                first
                for first in started
                if self.types.get(first[0]) != "END"
                and (met in self._reached(first, "") if met in rest else leads.get(first) == (met,))
            ]
            few = 1 if met in rest else 2
            if len(inner) < few or (len(inner) == len(started) and not others):
                continue
            group = {met}.union(*inner)
            place = started.index(inner[0])
            started = [first for first in started if first not in inner]
            started.insert(place, tuple(target for target in targets if target in group))
            rest = others
        empty = [()] if rest else []
        return [*empty, *started] if firsts[0] == () else [*started, *empty]

    def _branch(
        self,
        step: Step,
        way: str,
        depth: int,
        first: tuple[str, ...],
        targets: tuple[str, ...] = (),
        *,
        close: bool,
        leads: dict[tuple[str, ...], tuple[str, ...]] | None = None,
    ) -> Callable[[Flow], Flow]:
        """Return a function that builds a branch of a step, and notes it there."""

        def branch(made: Flow) -> Flow:
            if step.verb == "parallel" and not first:
                step.ways[way] = Branch(None, [])
                return made
            count = len(made.nodes)
            ends = [(end.node_id, end.handle) for end in made.open_ends]
            before = self._others
            self._others = before | {(*e, t) for e in ends for t in targets if t not in first}
            grown, steps = self.chain(made, depth + 1, first, close=close)
            self._others = before
            if leads is not None:
                ends = [(end.node_id, end.handle) for end in grown.open_ends]
                leads[first] = self._remaining(grown, ends)
            begun = grown.nodes[count].id if len(grown.nodes) > count else None
            step.ways[way] = Branch(begun, steps)
            return grown

        return branch

    def _until_they_meet(self, grow: Callable[[bool], Flow]) -> Flow:
        """Let branches go on to where they meet; where they do not, let them end by themselves."""
        return self._met(grow) or grow(True)

    def _met(self, grow: Callable[[bool], Flow]) -> Flow | None:
        """Let branches go on to where they meet; return None where they do not."""
        if self._tries >= MAX_TRIES:
            return None
        grown = grow(False)
        ends = [(end.node_id, end.handle) for end in grown.open_ends]
        if not ends or self._remaining(grown, ends):
            return grown
        self._tries += 1
        return None

    def _step(self, made: Flow, node_id: str, node: NodeType) -> tuple[Step, str | None]:
        """Return the step that makes a node, and the id if it has to be given."""
        chosen = None if made._new_id(node.type, None) == node_id else node_id
        if node_id not in self._calls:
            self._calls[node_id] = _call(node)
        call = self._calls[node_id]
        return Step(node.verb or "then", node_id, chosen is not None, node, call), chosen

    def _behaviour(self, node_id: str) -> NodeType | None:
        """Return a node's type and config; None when no call can make it."""
        try:
            return self.flow.behaviour(node_id)
        except Invalid:
            return None


def _forward(flow: Flow) -> Iterator[tuple[str, str | None, str]]:
    """Yield the edges that can be reached from TRIGGER, without those that lead back in a loop."""
    after: dict[str, list[tuple[str | None, str]]] = {node.id: [] for node in flow.nodes}
    for edge in flow.edges:
        if edge.source in after and edge.target in after:
            after[edge.source].append((edge.source_handle, edge.target))
    seen, above = {flow.start}, {flow.start}
    stack = [(flow.start, iter(after[flow.start]))]
    while stack:
        node, rest = stack[-1]
        for handle, target in rest:
            if target in above:
                continue
            yield node, handle, target
            if target not in seen:
                seen.add(target)
                above.add(target)
                stack.append((target, iter(after[target])))
                break
        else:
            stack.pop()
            above.discard(node)


def _call(node: NodeType) -> dict[str, Any] | None:
    """Return the arguments with which the builder's method makes a node, the fewest."""
    if node.verb is None:
        return None
    wanted = canonical(unparse(node))

    def makes(named: dict[str, Any]) -> bool:
        try:
            return canonical(unparse(type(node).from_call(**named))) == wanted
        except (Invalid, TypeError):
            return False

    named = node.to_call()
    if not makes(named):
        return None
    for name in list(named):
        fewer = {key: value for key, value in named.items() if key != name}
        if makes(fewer):
            named = fewer
    return named


def positions(node: NodeType, named: Iterable[str]) -> list[str]:
    """Return which arguments of the builder's method are given without their names."""
    found = []
    for name, parameter in signature(type(node)).parameters.items():
        if parameter.kind is not parameter.POSITIONAL_OR_KEYWORD or name not in named:
            break
        found.append(name)
    return found


def keyword_of(node: NodeType, handle: str) -> str | None:
    """Return the argument of the builder's method that takes what follows a handle."""
    words = {way: word for word, way in branch_keywords(type(node)).items()}
    return words.get(handle)


def takes_on(node: NodeType) -> bool:
    """Return whether the builder's method takes ``on``: what follows handles, by their ids."""
    return "on" in signature(type(node)).parameters
