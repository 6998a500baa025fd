"""Rules about how the nodes of a flow are joined. All of them are iterative and near linear.

Imports `subject` and `problems`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from flowkit.problems import Problem, pointer
from flowkit.validate.subject import Subject, spread

MAX_CYCLES = 20
"""Cycles that are named; mending these shows the rest."""
MAX_NAMED = 50
"""Nodes of one cycle that are named."""
MAX_TRACKED = 1_000_000
"""Bound on the work of `convergence`, which is advice: beyond it a flow gets no more of it."""


def ends(subject: Subject) -> Iterator[Problem]:
    """Require exactly one TRIGGER and at least one END."""
    triggers = subject.of_type("TRIGGER")
    if not triggers:
        yield Problem("graph.no_trigger", "/nodes", "A flow begins with a TRIGGER node; add one.")
    for index in triggers[1:]:
        message = "A flow has exactly one TRIGGER node; remove this one."
        yield Problem("graph.many_triggers", pointer("nodes", index), message)
    if not subject.of_type("END"):
        yield Problem("graph.no_end", "/nodes", "A flow ends with an END node; add one.")


def edges(subject: Subject) -> Iterator[Problem]:
    """Require edges that join two nodes by a handle that exists, each once."""
    ids: set[str] = set()
    ways: set[tuple[str, str | None, str]] = set()
    for index, edge in enumerate(subject.flow.edges):
        path = pointer("edges", index)
        if edge.id in ids:
            message = f"There is another edge {edge.id!r}; ids are unique in a flow."
            yield Problem("edge.duplicate_id", path + "/id", message)
        ids.add(edge.id)
        way = (edge.source, edge.source_handle, edge.target)
        if way in ways:
            message = f"Another edge leads from {edge.source!r} to {edge.target!r} by this handle."
            yield Problem("edge.duplicate", path, message)
        ways.add(way)
        source, target = subject.index_of.get(edge.source), subject.index_of.get(edge.target)
        if target is None:
            message = f"There is no node {edge.target!r}."
            yield Problem("edge.unknown_target", path + "/target", message)
        elif subject.flow.nodes[target].type == "TRIGGER":
            message = "No edge leads into TRIGGER: a flow starts there."
            yield Problem("edge.into_trigger", path + "/target", message)
        elif not subject.executed(target):
            message = f"No edge leads into {subject.show(target)}: it is only read."
            yield Problem("edge.into_note", path + "/target", message)
        if source is None:
            message = f"There is no node {edge.source!r}."
            yield Problem("edge.unknown_source", path + "/source", message)
        elif subject.flow.nodes[source].type == "END":
            message = "No edge leaves END: a flow ends there."
            yield Problem("edge.out_of_end", path + "/source", message)
        else:
            handles = subject.outputs[source]
            if handles is not None and edge.source_handle not in {h.id for h in handles}:
                names = ", ".join(h.id if h.id is not None else "null" for h in handles)
                message = (
                    f"{subject.show(source)} has no handle {edge.source_handle!r}; "
                    f"it has {names or 'none'}."
                )
                yield Problem("edge.unknown_handle", path + "/sourceHandle", message)


def handles(subject: Subject) -> Iterator[Problem]:
    """Require an edge at every handle that needs one."""
    for index, outputs in enumerate(subject.outputs):
        for handle in outputs or ():
            if handle.required and not subject.ways[index].get(handle.id):
                name = "" if handle.id is None else f" by its handle {handle.id!r}"
                message = f"Nothing follows {subject.show(index)}{name}; lead it on or to END."
                yield Problem("handle.unconnected", pointer("nodes", index), message)


def reachable(subject: Subject) -> Iterator[Problem]:
    """Require that every node can be reached from TRIGGER."""
    triggers = subject.of_type("TRIGGER")
    if not triggers:
        return  # said already, and true of every node
    seen = spread(triggers, subject.after)
    for index in range(len(subject.flow.nodes)):
        if index not in seen and subject.executed(index):
            message = f"No way leads from TRIGGER to {subject.show(index)}; join or remove it."
            yield Problem("graph.unreachable", pointer("nodes", index), message)


def able_to_end(subject: Subject) -> Iterator[Problem]:
    """Require that every node can reach an END."""
    found = subject.of_type("END")
    if not found:
        return
    seen = spread(found, subject.before)
    for index in range(len(subject.flow.nodes)):
        if index not in seen and subject.executed(index):
            message = f"No way leads from {subject.show(index)} to an END; lead it on."
            yield Problem("graph.dead_end", pointer("nodes", index), message)


def acyclic(subject: Subject) -> Iterator[Problem]:
    """Refuse cycles other than those that a REPEAT bounds, naming the nodes of each."""
    left = set(range(len(subject.flow.nodes))) - set(subject.order)
    before: dict[int, list[int]] = {node: [] for node in left}
    for node in left:
        for target in subject.onward[node]:
            before[target].append(node)
    into = {node: len(sources) for node, sources in before.items()}
    out = {node: len(subject.onward[node]) for node in left}

    def drop(nodes: list[int]) -> None:
        """Remove nodes, and those that are then in no cycle any more."""
        for node in nodes:  # grows while it is read
            if node not in left:
                continue
            left.discard(node)
            for degrees, others in ((into, subject.onward[node]), (out, before[node])):
                for other in others:
                    if other in left:
                        degrees[other] -= 1
                        if not degrees[other]:
                            nodes.append(other)

    drop([node for node in left if not out[node]])
    for _ in range(MAX_CYCLES):
        if not left:
            return
        cycle = _walk_in_circle(subject, min(left), left)
        shown = [subject.show(node) for node in cycle[:MAX_NAMED]]
        if len(cycle) > MAX_NAMED:
            shown.append(f"... {len(cycle) - MAX_NAMED} more")
        names = " -> ".join([*shown, shown[0]])
        message = (
            f"These nodes form a cycle: {names}. Remove one of its edges, or let it be a loop: "
            "only a REPEAT may be led back to, from what follows it by 'again'."
        )
        yield Problem("graph.cycle", pointer("nodes", cycle[0]), message)
        drop(cycle)


def _walk_in_circle(subject: Subject, node: int, within: set[int]) -> list[int]:
    """Return a cycle, which is found because every node of `within` leads to another of it."""
    place: dict[int, int] = {}
    while node not in place:
        place[node] = len(place)
        node = next(target for target in subject.onward[node] if target in within)
    cycle = list(place)[place[node] :]
    first = cycle.index(min(cycle))
    return cycle[first:] + cycle[:first]


class _Line(NamedTuple):
    """Concurrent progress below one fork: where its parts last met, and the children in it."""

    met_at: int | None
    children: frozenset[int]


def convergence(subject: Subject) -> Iterator[Problem]:
    """Warn where branches of one fork can meet at a node other than END and JOIN.

    Each node carries, for every fork above it, the lines that can pass through it. Lines of
    different children meet where they enter one node by different edges; from there on they are
    one line, because only the first to arrive goes on. The two sides of a CONDITION are one line:
    a branch takes only one of them. Behind a JOIN the branches of the forks that it closes are
    none any more.
    """
    flow = subject.flow
    if len(subject.order) < len(flow.nodes):
        return  # a cycle, which is an error anyway
    meeting = [
        index
        for index, sources in enumerate(subject.before)
        if flow.nodes[index].type != "END" and _arrivals(subject, index, sources) > 1
    ]
    started = spread(subject.of_type("TRIGGER"), subject.after)
    relevant = spread(meeting, subject.before) & started
    # For each node: what arrives by each edge, as lines by fork (its node and handle).
    arriving: list[list[dict[tuple[int, str | None], frozenset[_Line]]]] = [[] for _ in flow.nodes]
    tracked = 0
    for node in subject.order:
        if node not in relevant:
            continue
        lines, forks_met = _meet(arriving[node], node)
        arriving[node] = []
        if flow.nodes[node].type == "JOIN":
            closed = forks_met | subject.shape.gates[node].forks
            lines = {fork: line for fork, line in lines.items() if fork not in closed}
        elif forks_met:
            forks = {fork for fork, _ in forks_met}
            source = subject.show(min(forks))
            yield Problem(
                "graph.convergence",
                pointer("nodes", node),
                f"Parallel branches that part at {source} can meet at {subject.show(node)}: the "
                "first to arrive goes on, the others end there. If each is to go on, give each "
                "its own nodes up to END.",
                "warning",
            )
        for handle, targets in subject.ways[node].items():
            children = [target for target in targets if target in relevant]
            for number, target in enumerate(children):
                parted = dict(lines)
                if len(children) > 1:
                    parted[node, handle] = frozenset({_Line(None, frozenset({number}))})
                tracked += len(parted) + 1
                if tracked > MAX_TRACKED:
                    return
                arriving[target].append(parted)


def _arrivals(subject: Subject, index: int, sources: list[int]) -> int:
    return sum(
        targets.count(index) for source in sources for targets in subject.ways[source].values()
    )


def _meet(
    arrivals: list[dict[tuple[int, str | None], frozenset[_Line]]], node: int
) -> tuple[dict[tuple[int, str | None], frozenset[_Line]], set[tuple[int, str | None]]]:
    """Return the lines that go on from a node, and the forks whose branches meet at it."""
    if len(arrivals) == 1:
        return arrivals[0], set()
    together: dict[tuple[int, str | None], frozenset[_Line]] = {}
    met: set[tuple[int, str | None]] = set()
    for arrival in arrivals:
        for fork, lines in arrival.items():
            known = together.get(fork, frozenset())
            if any(
                one != other and len(one.children | other.children) > 1
                for one in known
                for other in lines
            ):
                met.add(fork)
            together[fork] = known | lines
    for fork in met:
        children = frozenset(child for line in together[fork] for child in line.children)
        together[fork] = frozenset({_Line(node, children)})
    return together, met
