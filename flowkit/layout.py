"""Positions on the canvas for nodes that have none: layers from top to bottom, no overlaps.

A pure function of ids and edges. Imports the standard library only.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Sequence

COLUMN = 280
"""Distance of neighbours in a layer; a node is narrower."""
ROW = 140
"""Distance of layers; a node is lower."""


def layered(
    ids: Sequence[str], edges: Iterable[tuple[str, str]], top: int = 0
) -> dict[str, tuple[int, int]]:
    """Return ``(x, y)`` for each of `ids`.

    A node's layer is the longest way to it. Within a layer nodes are ordered by the mean place
    of what leads to them, and centred. Nodes of a cycle come below the rest.

    Parameters
    ----------
    ids : sequence of str
        Nodes, in an order that settles ties.
    edges : iterable of (str, str)
        Sources and targets; those that name other nodes are left out.
    top : int, optional
        The y of the first layer.
    """
    place = {node: index for index, node in enumerate(ids)}
    after: dict[str, list[str]] = defaultdict(list)
    before: dict[str, list[str]] = defaultdict(list)
    for source, target in edges:
        if source in place and target in place:
            after[source].append(target)
            before[target].append(source)
    layer = _layers(ids, after, before)
    rows: dict[int, list[str]] = defaultdict(list)
    for node in ids:
        rows[layer[node]].append(node)
    x: dict[str, int] = {}
    for depth in sorted(rows):
        row = rows[depth]
        known = {node: [x[b] for b in before[node] if b in x] for node in row}
        row.sort(key=lambda n: (sum(known[n]) / len(known[n]) if known[n] else 0.0, place[n]))
        for index, node in enumerate(row):
            x[node] = round((index - (len(row) - 1) / 2) * COLUMN)
    return {node: (x[node], top + layer[node] * ROW) for node in ids}


def _layers(
    ids: Sequence[str], after: dict[str, list[str]], before: dict[str, list[str]]
) -> dict[str, int]:
    waiting = {node: len(before[node]) for node in ids}
    layer = dict.fromkeys(ids, 0)
    ready = deque(node for node in ids if not waiting[node])
    done = set(ready)
    while ready:
        node = ready.popleft()
        for target in after[node]:
            layer[target] = max(layer[target], layer[node] + 1)
            waiting[target] -= 1
            if not waiting[target]:
                done.add(target)
                ready.append(target)
    lowest = max((layer[node] for node in done), default=-1)
    for node in ids:
        if node not in done:
            layer[node] = lowest + 1
    return layer
