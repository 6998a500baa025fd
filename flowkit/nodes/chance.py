"""Nodes that choose a way by lot. Imports `nodetype`, `fields`, `problems`."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flowkit.fields import field, normalise
from flowkit.nodetype import Context, Handle, Next, NodeType, check_ways
from flowkit.problems import Problem

_DRAWS = 2**52


def arm(subject: str, flow_id: str, salt: str, weights: Mapping[str, float]) -> str:
    """Return the arm of a SPLIT that is a contact's: always the same one, without any record.

    Weighted rendezvous hashing (the arm of the largest ``-weight / ln(u)``, ``u`` in (0, 1) from
    SHA-256 over subject, flow, salt and arm): shares are proportional to the weights, and a
    change of one weight moves only those whom that arm gains or loses.

    Parameters
    ----------
    subject : str
        The contact's id; where there is no contact, the execution's id.
    flow_id : str
        The flow's id.
    salt : str
        The node's ``salt``, else its id.
    weights : mapping of str to float
        Weight of each arm, at least 0; one is above 0.
    """

    def key(item: tuple[str, float]) -> float:
        name, weight = item
        if not weight:
            return -1.0
        text = "\x1f".join((subject, flow_id, salt, name))
        drawn = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 12
        return -weight / math.log((drawn + 0.5) / _DRAWS)

    return max(weights.items(), key=key)[0]


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One way out of a SPLIT, and its share."""

    id: str = field(help="Names the way out.", kind="name")
    weight: float = field(help="Its share, beside the others' weights.", ge=0, le=1_000_000)
    holdout: bool = field(
        False, help="Whether its contacts are the control group, kept from what is tried."
    )

    def __post_init__(self) -> None:
        normalise(self)


class Split(NodeType, type="SPLIT", category="LOGIC", verb="split"):
    """Divide contacts at random by weights; a contact comes to the same arm each time.

    Examples
    --------
    >>> flow = (
    ...     fk.Flow("Test of two texts", trigger="promotion")
    ...     .split(
    ...         {"price": 45, "gift": 45, "none": 10},
    ...         holdout="none",
    ...         on={
    ...             "price": lambda b: b.send(template="promotion_price", language="en_US"),
    ...             "gift": lambda b: b.send(template="promotion_gift", language="en_US"),
    ...         },
    ...     )
    ...     .end()
    ... )
    """

    branches: Sequence[Arm] = field(help="The arms.", min_length=2, max_length=50)
    salt: str | None = field(
        None,
        help="Splits of a flow with the same salt divide alike; without one by the node's id.",
        min_length=1,
        max_length=64,
    )

    handles = ()

    @classmethod
    def from_call(
        cls,
        branches: Mapping[str, float] | Sequence[Arm],
        *,
        holdout: str | None = None,
        salt: str | None = None,
    ) -> Split:
        """Return the split of weights by name, such as ``{"a": 45, "b": 45, "none": 10}``.

        `holdout` names the arm that is the control group.
        """
        if isinstance(branches, Mapping):
            branches = [
                Arm(id=id, weight=weight, holdout=id == holdout) for id, weight in branches.items()
            ]
        return cls(branches=branches, salt=salt)

    def to_call(self) -> dict[str, Any]:
        """Return the weights by name, where one arm at most is a control group."""
        held = [one.id for one in self.branches if one.holdout]
        if len(held) > 1:
            return super().to_call()
        weights = {one.id: one.weight for one in self.branches}
        given = {"holdout": held[0] if held else None, "salt": self.salt}
        return {"branches": weights} | {k: v for k, v in given.items() if v is not None}

    def outputs(self) -> tuple[Handle, ...]:
        """Return a way out for each arm."""
        return tuple(Handle(one.id, one.id) for one in self.branches)

    def check(self) -> Iterable[Problem]:
        """Require names of their own, and an arm that somebody comes to."""
        yield from check_ways("/branches", [one.id for one in self.branches])
        if not any(one.weight for one in self.branches):
            yield Problem("config.split", "/branches", "One arm must have a weight above 0.")

    def run(self, ctx: Context) -> Next:
        """Go on by the contact's arm."""
        weights = {one.id: one.weight for one in self.branches}
        subject = ctx.contact_id or ctx.execution_id
        chosen = arm(subject, ctx.flow_id, self.salt or ctx.node_id, weights)
        held = any(one.holdout for one in self.branches if one.id == chosen)
        return Next(handle=chosen, result={"arm": chosen, "holdout": held})
