"""What goes into a turn of the engine and what comes out of it.

Owns the bounds, the events and the result; `walk` is what happens in between, `engine` the public
face of both. May import `nodetype`, `execution`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flowkit.execution import Branch, Claim, Patch
from flowkit.nodetype import Effect, Outcome


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds that the driver sets.

    Parameters
    ----------
    fork_queue : int
        A fork into at least this many branches is handed to whichever worker is free.
    result_bytes : int
        Largest result of a node, as UTF-8 JSON.
    execution_bytes : int
        Largest execution, by the estimate of `flowkit.size`. A node for which there is no room
        fails instead of being entered, and a fork instead of being made.
    effects : int, optional
        How many effects the driver can begin now. Branches that come to one beyond that stay
        ready in front of it, so that no effect is recorded as begun before someone can perform it.
    hold : bool
        Whether branches stay where they are: what has just ended is recorded, and each branch is
        left ready in front of its next node.
    """

    fork_queue: int = 10
    result_bytes: int = 16_384
    execution_bytes: int = 1_048_576
    effects: int | None = None
    hold: bool = False


@dataclass(frozen=True, slots=True)
class Resume:
    """A claimed branch is to go on: it was ready, its time has come, or its worker died."""

    branch_id: str


@dataclass(frozen=True, slots=True)
class Ended:
    """An effect that this driver performed has ended."""

    branch_id: str
    outcome: Outcome
    at: datetime


Event = Resume | Ended


@dataclass(frozen=True, slots=True)
class Performance:
    """An effect to perform once the patch is committed, for a branch and under a key."""

    branch_id: str
    key: str
    attempt: int
    effect: Effect


@dataclass(slots=True)
class Turn:
    """What `advance` decided.

    Attributes
    ----------
    patch : Patch
        To be committed before anything else.
    effects : list of Performance
        To be performed after the patch is committed, each to be reported as `Ended`.
    claim : Claim
        What the driver holds once the patch is committed: the branches inside an effect.
    shared : int
        How many branches the patch leaves ready for whoever is free; none under `Limits.hold`.
    crowded : bool
        Whether some of them are in front of an effect for which there was no room.
    """

    patch: Patch
    effects: list[Performance]
    claim: Claim
    shared: int = 0
    crowded: bool = False


def asks_again(branch: Branch) -> bool:
    """Return whether a branch that waits comes back to the node where it is."""
    ahead = (branch.resume_data or {}).get("nextNodeIds")
    return bool(ahead == [branch.current_node_id])


def resume_data(branch: Branch, next_node_ids: Iterable[str]) -> dict[str, Any]:
    """Return what a branch that was asked to resume at these nodes needs to know."""
    return {
        "nextNodeIds": list(next_node_ids),
        "context": branch.vars,
        "branchId": branch.branch_id,
    }
