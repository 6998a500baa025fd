"""What follows from the way a flow's nodes are joined, and the engine must know: JOINs and loops.

Knows nodes as hashable names with types and ways, so that the validator can ask about flows that
have mistakes. Imports the standard library only.

A JOIN *closes* a fork when two or more of the fork's ways lead to it. Seen from a JOIN, what lies
behind another JOIN is one way: that of the branch that forked and goes on there. The nearest fork
through which every way to the JOIN leads is the last that it can close; forks in between count
only where the execution did not come through that one. Edges that lead back to a REPEAT from its
body are left out: a round of a loop has nothing to do with the next.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Generic, NamedTuple, TypeVar

N = TypeVar("N", bound=Hashable)
Ways = Mapping[str | None, Sequence[N]]

AGAIN, DONE = "again", "done"
"""The handles of a REPEAT."""
ROUNDS = 1000
"""More than a loop has rounds."""
LATE = "timeout"
"""The handle of a JOIN whose time has run out."""


class Gate(NamedTuple, Generic[N]):
    """A JOIN: the nodes from which a branch can still come to it, itself among them, and its forks.

    A fork is a node and the handle that several edges leave. Of those through which a branch has
    come the outermost counts.
    """

    inside: frozenset[N]
    forks: frozenset[tuple[N, str | None]]


class Shape(NamedTuple, Generic[N]):
    """The JOINs and the loops of a flow.

    `bodies` has for each REPEAT the nodes that lead back to it, `back` the edges that do, and
    `around` for each node that can be visited more than once the REPEATs in whose rounds it is,
    the outermost first; a REPEAT is in its own.
    """

    gates: Mapping[N, Gate[N]]
    bodies: Mapping[N, frozenset[N]]
    back: frozenset[tuple[N, N]]
    around: Mapping[N, tuple[N, ...]]

    def visits(self, path: Iterable[N]) -> Iterator[int]:
        """Yield for each node of a path the number of its visit.

        In a loop that is the number of the round, counted since the path came to its REPEAT from
        outside of the body; in a loop within a loop each further round outside adds 1000. So the
        number depends on the rounds alone, and not on what branches did in them.
        """
        rounds: dict[N, int] = {}
        before: N | None = None
        for node in path:
            body = self.bodies.get(node)
            if body is not None:
                rounds[node] = rounds.get(node, 0) + 1 if before in body else 1
            visit = 0
            for repeat in self.around.get(node, ()):
                visit = visit * ROUNDS + rounds.get(repeat, 1) - 1
            yield visit + 1
            before = node

    def visit(self, path: Sequence[N]) -> int:
        """Return the number of the visit to the last node of a path."""
        if path[-1] not in self.around:
            return 1
        return list(self.visits(path))[-1]


def shape_of(types: Mapping[N, str], ways: Callable[[N], Ways[N]]) -> Shape[N]:
    """Return the shape of a graph; nodes in a cycle that no REPEAT bounds have no gates.

    Parameters
    ----------
    types : mapping
        Node type by node.
    ways : callable
        Returns a node's targets by handle; the targets are nodes of `types`.
    """
    if not {"JOIN", "REPEAT"} & set(types.values()):
        return Shape({}, {}, frozenset(), {})
    leads = {node: [t for targets in ways(node).values() for t in targets] for node in types}
    alone = {
        node: _body(node, ways(node), leads) for node, type_ in types.items() if type_ == "REPEAT"
    }
    back = frozenset((node, repeat) for repeat, body in alone.items() for node in body
                     if repeat in leads[node])  # fmt: skip
    bodies = {repeat: _leading_back(repeat, body, leads) for repeat, body in alone.items()}
    around: dict[N, tuple[N, ...]] = {}
    for repeat in sorted(bodies, key=lambda repeat: -len(bodies[repeat])):
        for node in (*bodies[repeat], repeat) if bodies[repeat] else ():
            around[node] = (*around.get(node, ()), repeat)
    sources: dict[N, list[tuple[N, str | None]]] = {node: [] for node in types}
    for node in types:
        for handle, targets in ways(node).items():
            for target in dict.fromkeys(targets):
                if (node, target) not in back:
                    sources[target].append((node, handle))
    gates: dict[N, Gate[N]] = {}
    if "JOIN" in types.values():
        place = _places(sources)
        for node in place:
            if types[node] == "JOIN":
                gates[node] = _gate(node, sources, place, gates, bodies)
    return Shape(gates, bodies, back, around)


def _body(repeat: N, ways: Ways[N], leads: Mapping[N, list[N]]) -> set[N]:
    """Return what can be reached by going round again only."""
    reached = [_spread(ways.get(handle, ()), leads, repeat) for handle in (AGAIN, DONE)]
    return reached[0] - reached[1]


def _leading_back(repeat: N, body: set[N], leads: Mapping[N, list[N]]) -> frozenset[N]:
    before: dict[N, list[N]] = {}
    for node in body:
        for target in leads[node]:
            before.setdefault(target, []).append(node)
    return frozenset(_spread(before.get(repeat, ()), before, repeat))


def _spread(starts: Iterable[N], leads: Mapping[N, Iterable[N]], avoiding: N) -> set[N]:
    seen: set[N] = set()
    ahead = list(starts)
    while ahead:
        node = ahead.pop()
        if node != avoiding and node not in seen:
            seen.add(node)
            ahead += leads.get(node, ())
    return seen


def _places(sources: Mapping[N, Sequence[tuple[N, str | None]]]) -> dict[N, int]:
    """Return the nodes that are below no cycle, each after all that lead to it, numbered."""
    waiting = {node: len(into) for node, into in sources.items()}
    leads: dict[N, list[N]] = {}
    for node, into in sources.items():
        for source, _ in into:
            leads.setdefault(source, []).append(node)
    order = [node for node, count in waiting.items() if not count]
    for node in order:  # grows while it is read
        for target in leads.get(node, ()):
            waiting[target] -= 1
            if not waiting[target]:
                order.append(target)
    return {node: number for number, node in enumerate(order)}


def _gate(
    join: N,
    sources: Mapping[N, Sequence[tuple[N, str | None]]],
    place: Mapping[N, int],
    gates: Mapping[N, Gate[N]],
    bodies: Mapping[N, frozenset[N]],
) -> Gate[N]:
    """Look back from a JOIN until everything has come together in a fork that it closes."""
    inside: set[N] = {join}
    closed: set[tuple[N, str | None]] = set()
    # By which of a fork's ways the JOIN is reached, a JOIN before it being a way of its own.
    reached: dict[tuple[N, str | None], set[N]] = {}
    handles: dict[N, set[str | None]] = {join: set()}
    at = {place[join]: join}
    latest = [-place[join]]
    while latest:
        node = at[-heapq.heappop(latest)]
        inside.add(node)
        closing = {(node, handle) for handle in handles[node] if len(reached[node, handle]) > 1}
        closed |= closing
        if closing and not latest:
            break
        gate = gates.get(node) if node != join else None
        if gate is not None and gate.forks:
            inside |= gate.inside
            into: Iterable[tuple[N, str | None]] = gate.forks
        else:
            into = sources[node]
        for source, handle in into:
            reached.setdefault((source, handle), set()).add(node)
            if source not in handles:
                handles[source] = set()
                at[place[source]] = source
                heapq.heappush(latest, -place[source])
            handles[source].add(handle)
    # Who is in a loop that is on the way can still come, though the way back is no way here.
    forks = {fork for fork, _ in closed}
    for repeat in inside & bodies.keys() - forks:
        if join not in bodies[repeat]:
            inside |= bodies[repeat]
    return Gate(frozenset(inside), frozenset(closed))
