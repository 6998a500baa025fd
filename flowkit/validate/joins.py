"""Rules about JOINs and loops: what the engine takes for granted of them.

Imports `subject`, `shape` and `problems`.
"""

from __future__ import annotations

from collections.abc import Iterator

from flowkit.problems import Problem, pointer
from flowkit.shape import AGAIN
from flowkit.validate.subject import Subject


def one_join_a_fork(subject: Subject) -> Iterator[Problem]:
    """Require that each fork is closed by one JOIN: the branch that forked goes on only once."""
    closed: dict[tuple[int, str | None], int] = {}
    for join, gate in subject.shape.gates.items():
        if not gate.forks:
            yield Problem(
                "join.no_fork",
                pointer("nodes", join),
                f"No parallel branches come together at {subject.show(join)}: it lets through "
                "whoever comes. Lead two or more branches of one fork to it, or remove it.",
                "warning",
            )
        for fork in gate.forks:
            other = closed.setdefault(fork, join)
            if other != join:
                yield Problem(
                    "join.shared_fork",
                    pointer("nodes", join),
                    f"Branches that part at {subject.show(fork[0])} come together both at "
                    f"{subject.show(other)} and at {subject.show(join)}. Give those of each JOIN "
                    "a fork of their own.",
                )


def loops(subject: Subject) -> Iterator[Problem]:
    """Require that loops are entered at their REPEAT, nest, and come back with one branch.

    So a round is told by the path of the branch, and forks in a body are closed in it.
    """
    shape = subject.shape
    for repeat, body in shape.bodies.items():
        if not body:
            yield Problem(
                "repeat.no_return",
                pointer("nodes", repeat),
                f"Nothing that follows {subject.show(repeat)} by 'again' leads back to it alone: "
                "lead the end of the part to be repeated back to this node.",
                "warning",
            )
        yield from _entrances(subject, repeat, body)
        for node in (repeat, *sorted(body)):
            for handle, targets in subject.ways[node].items():
                if len(targets) < 2 or (node == repeat and handle != AGAIN):
                    continue
                joins = {
                    join
                    for join, gate in shape.gates.items()
                    if join in body and (node, handle) in gate.forks
                }
                if _comes_back(subject, repeat, targets, body - joins):
                    yield Problem(
                        "repeat.open_fork",
                        pointer("nodes", node),
                        f"Branches that part at {subject.show(node)} lead back to "
                        f"{subject.show(repeat)} one by one. Bring them together in a JOIN before.",
                    )


def _entrances(subject: Subject, repeat: int, body: frozenset[int]) -> Iterator[Problem]:
    bodies = subject.shape.bodies
    for other in sorted(body & bodies.keys()):
        if not bodies[other] < body:
            yield Problem(
                "repeat.tangled",
                pointer("nodes", other),
                f"The loops of {subject.show(repeat)} and {subject.show(other)} overlap. Let one "
                "be inside the other: it ends by 'done' before the outer one comes back.",
            )
    for node in sorted(body):
        strangers = [s for s in subject.before[node] if s not in body and s != repeat]
        if strangers:
            yield Problem(
                "repeat.entered",
                pointer("nodes", node),
                f"{subject.show(node)} is inside the loop of {subject.show(repeat)}, but "
                f"{subject.show(strangers[0])} leads to it from outside. Lead to the REPEAT.",
            )


def _comes_back(subject: Subject, repeat: int, targets: list[int], within: frozenset[int]) -> bool:
    """Return whether a way leads from one of `targets` to a REPEAT, by nodes of `within` only."""
    seen: set[int] = set()
    ahead = list(targets)
    while ahead:
        node = ahead.pop()
        if node == repeat:
            return True
        if node in within and node not in seen:
            seen.add(node)
            ahead += subject.after[node]
    return False
