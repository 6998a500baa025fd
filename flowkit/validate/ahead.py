"""What lies ahead of each node: where the ways from it come together, and the most they gather.

Owns the graph in which a loop's body leads on to what follows the loop, so that it has no cycles;
a node from which no way goes on leads to an exit that all of them share. Imports `subject`.
"""

from __future__ import annotations

from collections.abc import Sequence

from flowkit.shape import AGAIN
from flowkit.validate.subject import Subject

MOST = 1e200
"""Beyond it sums stay as they are."""


class Ahead:
    """The ways from each node to the exit. Nodes in a cycle that nothing bounds are left out."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.exit = len(subject.made)
        self.ways = self._ways()
        self.order = self._order()
        size = self.exit + 1
        self._parent, self._leap, self._depth = [self.exit] * size, [self.exit] * size, [0] * size
        for node in reversed(self.order):
            self._place(node)

    def _ways(self) -> list[dict[str | None, list[int]]]:
        back, ways = self.subject.shape.back, self.subject.ways
        if not back:
            return ways
        return [
            {
                handle: list(dict.fromkeys(t for target in targets for t in self._on(node, target)))
                for handle, targets in way.items()
            }
            for node, way in enumerate(ways)
        ]

    def _on(self, node: int, target: int) -> list[int]:
        """Return where a node leads: from the end of a loop's body to what follows the loop."""
        found: list[int] = []
        ahead, seen = [(node, target)], set()
        while ahead:
            edge = ahead.pop()
            if edge in seen:
                continue
            seen.add(edge)
            if edge in self.subject.shape.back:
                after = self.subject.ways[edge[1]]
                ahead += [(edge[1], t) for h, ts in after.items() if h != AGAIN for t in ts]
            else:
                found.append(edge[1])
        return found

    def _order(self) -> list[int]:
        waiting = [0] * self.exit
        for way in self.ways:
            for targets in way.values():
                for target in targets:
                    waiting[target] += 1
        order = [node for node, count in enumerate(waiting) if not count]
        for node in order:  # grows while it is read
            for targets in self.ways[node].values():
                for target in targets:
                    waiting[target] -= 1
                    if not waiting[target]:
                        order.append(target)
        return order

    def _place(self, node: int) -> None:
        """Put a node below the one through which all of its ways lead, with a leap further up."""
        parent = self.meeting([t for targets in self.ways[node].values() for t in targets])
        leap = self._leap[parent]
        far = (
            self._depth[parent] - self._depth[leap]
            == self._depth[leap] - self._depth[self._leap[leap]]
        )
        self._parent[node], self._depth[node] = parent, self._depth[parent] + 1
        self._leap[node] = self._leap[leap] if far else parent

    def meeting(self, nodes: Sequence[int]) -> int:
        """Return the first node through which every way from each of some nodes leads."""
        if not nodes:
            return self.exit
        met = nodes[0]
        for node in nodes[1:]:
            met = self._meeting(met, node)
        return met

    def _meeting(self, one: int, other: int) -> int:
        depth, leap, parent = self._depth, self._leap, self._parent
        if depth[one] < depth[other]:
            one, other = other, one
        while depth[one] > depth[other]:
            one = leap[one] if depth[leap[one]] >= depth[other] else parent[one]
        while one != other:
            if leap[one] != leap[other]:
                one, other = leap[one], leap[other]
            else:
                one, other = parent[one], parent[other]
        return one

    def most(self, weights: Sequence[float]) -> list[float]:
        """Return the most that an execution gathers from each node on, of weights from 0 on.

        A weight counts at each visit. Of ways that exclude each other the heavier counts, of
        branches their sum up to where they come together: exact where a JOIN brings together
        the whole of a fork, and never too little.
        """
        found = [0.0] * (self.exit + 1)
        for node in reversed(self.order):
            rounds = self.subject.rounds(node)
            best = 0.0
            ways = self.ways[node]
            for handle, targets in ways.items():
                if len(targets) == 1 and not (rounds and handle == AGAIN):
                    best = max(best, found[targets[0]])
                elif targets:
                    every = (
                        targets
                        if handle != AGAIN
                        else [target for targets in ways.values() for target in targets]
                    )
                    met = self.meeting(every)
                    times = rounds if rounds and handle == AGAIN else 1
                    best = max(
                        best, times * sum(found[t] - found[met] for t in targets) + found[met]
                    )
            found[node] = min(weights[node] * (rounds + 1) + best, MOST)
        return found
