"""How many branches arrive at each END, computed from the forks.

Each node runs once, so what runs is what the ways that are taken lead to, and an END is reached
once from each node that runs and leads to it. Imports `subject`, `graph`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flowkit.validate.graph import convergence
from flowkit.validate.subject import Subject

if TYPE_CHECKING:
    from flowkit.flow import Flow


def arrivals(flow: Flow) -> dict[str, tuple[int, int]]:
    """Return the least and the most branches that arrive at each END, by its id.

    The least holds of executions in which no node fails. Where no branches meet before END, both
    are reached by some execution. Empty for flows with cycles or loops, or not one TRIGGER.
    """
    subject = Subject(flow)
    triggers = subject.of_type("TRIGGER")
    if len(triggers) != 1 or len(subject.order) < len(flow.nodes) or subject.of_type("REPEAT"):
        return {}
    meets = bool(subject.of_type("JOIN")) or any(True for _ in convergence(subject))
    return {
        flow.nodes[end].id: _bounds(subject, end, triggers[0], meets)
        for end in subject.of_type("END")
    }


def _bounds(subject: Subject, end: int, start: int, meets: bool) -> tuple[int, int]:
    least, most = [0] * len(subject.made), [0] * len(subject.made)
    ceiling = len(subject.before[end])
    least[end] = most[end] = 1
    for node in reversed(subject.order):
        if node == end:
            continue
        outputs = subject.outputs[node]
        handles = subject.ways[node] if outputs is None else [handle.id for handle in outputs]
        taken = [subject.ways[node].get(handle, []) for handle in handles]
        # Branches that meet are one from there on, so what is below two of them counts once.
        few = max if meets else sum
        least[node] = min((few([0, *(least[t] for t in ts)]) for ts in taken), default=0)
        most[node] = min(ceiling, max((sum(most[t] for t in ts) for ts in taken), default=0))
    return least[start], most[start]
