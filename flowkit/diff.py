"""What differs between two flows, by meaning: nodes, their config, edges and settings.

Nodes are the same by id. A node without its like by id is taken as *renamed* when there is exactly
one node of another id with the same type, config and neighbours; neighbours are compared by their
own likes, or by type as long as these are unknown. Edges are the same by source, handle and
target; one that has kept two of the three was *moved*. What changes nothing about executions
(positions, labels, other keys of a canvas) is told apart, as changes of the view.
Imports `flow`, `problems`, `wire`; `picture` only when asked.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from flowkit.flow import Edge, Flow, Node
from flowkit.problems import pointer
from flowkit.wire import canonical

Kind = Literal["added", "removed", "changed", "renamed", "moved", "reordered"]
SIGNS = {"added": "+", "removed": "-"}
_SHOWN = 60


class Way(NamedTuple):
    """An edge by its meaning."""

    source: str
    handle: str | None
    target: str

    def __str__(self) -> str:
        handle = "" if self.handle is None else f"[{self.handle}]"
        return f"{self.source}{handle} -> {self.target}"


@dataclass(frozen=True, slots=True)
class Change:
    """One difference.

    Parameters
    ----------
    kind : str
        added, removed, changed, renamed, moved or reordered.
    what : {"flow", "node", "edge"}
        What differs.
    id : str
        The node's id in the new flow, if it is there; of an edge its source, handle and target.
    path : str
        JSON pointer inside the node or the flow's document, such as ``/config/amount``; empty
        for the whole.
    old, new : JSON data
        The values; None where there is none.
    """

    kind: Kind
    what: Literal["flow", "node", "edge"]
    id: str
    path: str = ""
    old: Any = None
    new: Any = None

    def __str__(self) -> str:
        place = " ".join(part for part in (self.what, self.id, self.path) if part)
        line = f"{SIGNS.get(self.kind, '~')} {place}"
        if self.kind in ("renamed", "moved"):
            return f"{line}: was {self.old}"
        if self.kind in SIGNS:
            said = self.new if self.kind == "added" else self.old
            if self.what == "node" and not self.path:
                config = ", ".join(f"{k}={json.dumps(v)}" for k, v in said["config"].items())
                return f"{line}: {_cut(said['type'] + '(' + config + ')')}"
            return line if self.what == "edge" else f"{line}: {_short(said)}"
        values = f"{_short(self.old)} -> {_short(self.new)}"
        return f"{line}: {'order ' if self.kind == 'reordered' else ''}{values}"


@dataclass(frozen=True)
class Diff:
    """The differences of two flows; true when there is one of meaning.

    Parameters
    ----------
    old, new : Flow
        The flows.
    changes : tuple of Change
        What executions see.
    view : tuple of Change
        What only a canvas shows.
    """

    old: Flow
    new: Flow
    changes: tuple[Change, ...]
    view: tuple[Change, ...]

    def __bool__(self) -> bool:
        return bool(self.changes)

    def __str__(self) -> str:
        lines = [str(change) for change in self.changes] or ["no change"]
        if self.view:
            lines.append(f"  (and {len(self.view)} in what a canvas shows)")
        return "\n".join(lines)

    def to_svg(self) -> str:
        """Return a picture of both flows: added +, removed -, changed ~."""
        from flowkit.picture import diff_svg

        return diff_svg(self)

    def _repr_html_(self) -> str:
        return self.to_svg()


def diff(old: Flow, new: Flow) -> Diff:
    """Return what differs from `old` to `new`."""
    names = _likes(old, new)
    changes = [*_flow_changes(old, new), *_node_changes(old, new, names)]
    changes += _edge_changes(old, new, names)
    return Diff(old, new, tuple(changes), tuple(_view_changes(old, new, names)))


Key = tuple[str, int]
"""A node's id, and which of the nodes of that id it is: a draft may have several."""


def _by_key(flow: Flow) -> dict[Key, Node]:
    seen: Counter[str] = Counter()
    found = {}
    for node in flow.nodes:
        found[node.id, seen[node.id]] = node
        seen[node.id] += 1
    return found


def _likes(old: Flow, new: Flow) -> dict[str, str]:
    """Return the id in `new` of each node of `old` that has its like there."""
    there = {node.id for node in new.nodes}
    names = {node.id: node.id for node in old.nodes if node.id in there}
    while True:
        back = {new_id: old_id for old_id, new_id in names.items()}
        own = {new_id: new_id for new_id in back}
        sides = []
        for flow, known in ((old, names), (new, own)):
            types = {node.id: f"?{node.type}" for node in flow.nodes}
            near: dict[str, list[Any]] = defaultdict(list)
            for edge in flow.edges:
                handle = edge.source_handle or ""
                near[edge.source].append(["to", handle, _named(edge.target, known, types)])
                near[edge.target].append(["from", handle, _named(edge.source, known, types)])
            alike: dict[str, list[str]] = defaultdict(list)
            for node in flow.nodes:
                if node.id not in known:
                    about = [node.type, node.config, sorted(near[node.id])]
                    alike[canonical(about)].append(node.id)
            sides.append(alike)
        before, after = sides
        fresh = {
            ids[0]: after[about][0]
            for about, ids in before.items()
            if len(ids) == 1 and len(after.get(about, ())) == 1
        }
        if not fresh:
            return names
        names |= fresh


def _named(node_id: str, known: dict[str, str], types: dict[str, str]) -> str:
    return f"={known[node_id]}" if node_id in known else types.get(node_id, "?")


def _flow_changes(old: Flow, new: Flow) -> Iterator[Change]:
    for key in ("name", "triggerType", "settings"):
        one, other = old.content()[key], new.content()[key]
        for kind, path, before, after in _differences(one, other, pointer(key)):
            yield Change(kind, "flow", "", path, before, after)


def _node_changes(old: Flow, new: Flow, names: dict[str, str]) -> Iterator[Change]:
    before = {(names.get(i, i), n): node for (i, n), node in _by_key(old).items() if i in names}
    after = _by_key(new)
    for key, node in _by_key(old).items():
        if key[0] not in names or (names[key[0]], key[1]) not in after:
            yield Change("removed", "node", node.id, old=_shown(node))
    for key, node in after.items():
        was = before.get(key)
        if was is None:
            yield Change("added", "node", node.id, new=_shown(node))
            continue
        if was.id != node.id:
            yield Change("renamed", "node", node.id, "", was.id, node.id)
        if was.type != node.type:
            yield Change("changed", "node", node.id, "/type", was.type, node.type)
        for kind, path, one, other in _differences(was.config, node.config, "/config"):
            yield Change(kind, "node", node.id, path, one, other)


def _shown(node: Node) -> dict[str, Any]:
    return {"type": node.type, "config": node.config}


def _edge_changes(old: Flow, new: Flow, names: dict[str, str]) -> Iterator[Change]:
    before, after = _ways(old.edges, names), _ways(new.edges, {})
    gone = list((Counter(before) - Counter(after)).elements())
    come = list((Counter(after) - Counter(before)).elements())
    for kept in ((0, 1), (0, 2), (1, 2)):  # the edge's end has moved, its handle, its beginning
        for way in list(gone):
            match = next((c for c in come if all(way[i] == c[i] for i in kept)), None)
            if match is not None:
                gone.remove(way)
                come.remove(match)
                yield Change("moved", "edge", str(match), "", str(way), str(match))
    yield from (Change("removed", "edge", str(way)) for way in gone)
    yield from (Change("added", "edge", str(way)) for way in come)
    # The order of the edges of one handle numbers the branches.
    one = _orders(before, without=Counter(before) - Counter(after))
    other = _orders(after, without=Counter(after) - Counter(before))
    for end, targets in other.items():
        if targets != one[end]:
            shown = end[0] if end[1] is None else f"{end[0]}[{end[1]}]"
            yield Change("reordered", "edge", shown, "", one[end], targets)


def _ways(edges: Iterable[Edge], names: dict[str, str]) -> list[Way]:
    return [
        Way(names.get(e.source, e.source), e.source_handle, names.get(e.target, e.target))
        for e in edges
    ]


def _orders(
    ways: list[Way], without: Counter[Way]
) -> defaultdict[tuple[str, str | None], list[str]]:
    """Return the targets of each handle, in order, but for edges that the other flow has not."""
    found: defaultdict[tuple[str, str | None], list[str]] = defaultdict(list)
    for way in ways:
        if without[way]:
            without[way] -= 1
        else:
            found[way.source, way.handle].append(way.target)
    return found


def _view_changes(old: Flow, new: Flow, names: dict[str, str]) -> Iterator[Change]:
    for kind, path, one, other in _differences(old.extra, new.extra, ""):
        yield Change(kind, "flow", "", path, one, other)
    before = {names[node.id]: node for node in old.nodes if node.id in names}
    places = [{n["id"]: n.get("position") for n in flow.to_dict()["nodes"]} for flow in (old, new)]
    for node in new.nodes:
        was = before.get(node.id)
        if was is not None:
            one = was.extra | {"position": places[0][was.id]}
            other = node.extra | {"position": places[1][node.id]}
            for kind, path, x, y in _differences(one, other, ""):
                yield Change(kind, "node", node.id, path, x, y)
    edges = dict(zip(_ways(old.edges, names), old.edges, strict=True))
    for way, edge in zip(_ways(new.edges, {}), new.edges, strict=True):
        if way in edges:
            one, other = ({"id": e.id, "label": e.label} | e.extra for e in (edges[way], edge))
            for kind, path, x, y in _differences(one, other, ""):
                yield Change(kind, "edge", str(way), path, x, y)


def _differences(old: Any, new: Any, path: str) -> Iterator[tuple[Kind, str, Any, Any]]:
    """Yield how and where JSON data differs, as deep as both are objects or lists as long."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in {**old, **new}:
            place = path + pointer(key)
            if key not in new:
                yield "removed", place, old[key], None
            elif key not in old:
                yield "added", place, None, new[key]
            else:
                yield from _differences(old[key], new[key], place)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (one, other) in enumerate(zip(old, new, strict=True)):
            yield from _differences(one, other, path + pointer(index))
    elif canonical(old) != canonical(new):
        yield "changed", path, old, new


def _short(value: Any) -> str:
    return _cut(json.dumps(value, ensure_ascii=False))


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
