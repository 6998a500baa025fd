"""How the surroundings of a flow behave: what becomes of messages and other effects.

Owns the model and its randomness. Every draw follows from (seed, contact, node, attempt), so that
nothing depends on the order in which contacts are simulated, or on what happens to others.
May import `expression`, `jsonlogic`, `kin`, `nodetype`, `errors`, `problems`; pandas only in `fit`.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

from flowkit.engine import Performance
from flowkit.expression import Expr
from flowkit.flow import Flow
from flowkit.jsonlogic import check_logic, evaluate, truthy
from flowkit.kin import CALL, unanswered
from flowkit.nodetype import Outcome
from flowkit.problems import Problem, pointer

if TYPE_CHECKING:
    import pandas as pd

_NORMAL = NormalDist()
_UNIFORMS = struct.Struct("<8Q")

MESSAGE = "whatsapp.message"
"""The kind of effects that are messages."""
DRAWS = ("outcome", "latency", "delivered", "read", "replied", "clicked", "opted_out", "bought")
"""What the eight draws of an attempt decide, in their order."""


@dataclass(frozen=True, slots=True)
class After:
    """A time that passes: log-normal, by its median and how far it spreads.

    Parameters
    ----------
    median : float
        Seconds that half of all cases take at most.
    spread : float, optional
        Factor on the median within which two thirds of all cases are; 1 is always the same.
    """

    median: float
    spread: float = 1.0

    def ms(self, chance: float) -> int:
        """Return the time of a draw from 0 to 1, in whole milliseconds."""
        if self.spread == 1.0:
            return round(self.median * 1000)
        return round(self.median * 1000 * float(self.spread ** _NORMAL.inv_cdf(chance)))

    def check(self, path: str) -> list[Problem]:
        """Return what is wrong with it."""
        numbers = _number(self.median) and _number(self.spread)
        if numbers and 0 <= self.median <= 1e9 and 1 <= self.spread <= 1000:
            return []
        message = "A time has a median of 0 s to 1e9 s and a spread of 1 to 1000."
        return [Problem("behaviour.time", path, message)]


@dataclass(frozen=True, kw_only=True)
class Reaction:
    """What happens to a message, and what its reader does.

    Probabilities are of the step before: of messages that were read, so many are replied to.

    Parameters
    ----------
    node : str, optional
        Only for this message node; for every one without.
    when : Expr or JSONLogic, optional
        Only for contacts for whom this holds; it sees ``contact``.
    failed, unknown : float, optional
        Probability that the channel refuses it, and that no answer comes.
    error : mapping, optional
        What the channel says where it refuses: ``{code, message, transient}``.
    latency : After, optional
        Until the channel has answered.
    delivered, read, replied, clicked, opted_out, bought : float, optional
        Probability that it arrives; that one that arrived is read; and that the reader replies,
        clicks, asks for no more, buys.
    delivered_after, read_after, replied_after, clicked_after, bought_after : After, optional
        Since the step before.
    """

    node: str | None = None
    when: Any = None
    failed: float = 0.0
    unknown: float = 0.0
    error: Mapping[str, Any] = field(
        default_factory=lambda: {
            "code": "whatsapp_131026",
            "message": "Message undeliverable",
            "transient": False,
        }
    )
    latency: After = After(0.3, 1.5)
    delivered: float = 1.0
    read: float = 0.0
    replied: float = 0.0
    clicked: float = 0.0
    opted_out: float = 0.0
    bought: float = 0.0
    delivered_after: After = After(2, 2)
    read_after: After = After(600, 4)
    replied_after: After = After(120, 3)
    clicked_after: After = After(30, 3)
    bought_after: After = After(3600, 4)

    def __post_init__(self) -> None:
        if isinstance(self.when, Expr):
            object.__setattr__(self, "when", self.when.to_jsonlogic())

    def check(self, flow: Flow, path: str) -> list[Problem]:
        """Return what is wrong with it, for a flow."""
        found = []
        for item in fields(self):
            value, at = getattr(self, item.name), path + pointer(item.name)
            if isinstance(item.default, float) and not (_number(value) and 0 <= value <= 1):
                message = f"{item.name} is a probability from 0 to 1, not {value!r}."
                found.append(Problem("behaviour.probability", at, message))
            elif isinstance(item.default, After):
                found += value.check(at) if isinstance(value, After) else [_no_time(at)]
        if not found and self.failed + self.unknown > 1:
            message = "failed and unknown are together at most 1."
            found.append(Problem("behaviour.probability", path + "/failed", message))
        if self.node is not None and self.node not in {node.id for node in flow.nodes}:
            message = f"The flow has no node {self.node!r}."
            found.append(Problem("behaviour.node", path + "/node", message))
        return found + check_logic(self.when, path + "/when")

    def fits(self, node_id: str, contact: Mapping[str, Any]) -> bool:
        """Return whether it is about messages of that node to that contact."""
        if self.node is not None and self.node != node_id:
            return False
        return self.when is None or truthy(evaluate(self.when, {"contact": contact}))


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _no_time(at: str) -> Problem:
    return Problem("behaviour.time", at, "A time is written After(median, spread).")


PLAIN = Reaction()
"""The reaction where no other fits: everything is taken and arrives, nobody answers."""

Answer = Callable[[Performance, Mapping[str, Any]], Outcome]
"""How an effect ends that is no message, by what is asked and the contact."""


@dataclass(frozen=True, kw_only=True)
class Behaviour:
    """How channel and contacts behave in a simulation.

    Parameters
    ----------
    reactions : sequence of Reaction
        The first that fits a message and its contact counts; the default takes everything.
    answers : mapping, optional
        How effects of a kind end that should not just succeed; pure functions of the
        `flowkit.engine.Performance` and the contact.

    Examples
    --------
    >>> Behaviour(
    ...     reactions=[
    ...         Reaction(node="hello", when=contact.country == "BR", read=0.8, replied=0.2),
    ...         Reaction(failed=0.02, read=0.6),
    ...     ]
    ... )  # doctest: +SKIP
    """

    reactions: Sequence[Reaction] = ()
    answers: Mapping[str, Answer] = field(default_factory=dict)

    def check(self, flow: Flow) -> list[Problem]:
        """Return what is wrong with it, for a flow; paths begin at ``/reactions``."""
        found: list[Problem] = []
        for number, reaction in enumerate(self.reactions):
            found += reaction.check(flow, pointer("reactions", number))
        if CALL not in self.answers:
            how = f"in Behaviour(answers={{{CALL!r}: ...}})"
            found += [unanswered(n.id, how) for n in flow.nodes if n.type == "SUBFLOW"]
        return found

    def reaction(self, node_id: str, contact: Mapping[str, Any]) -> Reaction:
        """Return how messages of a node to a contact fare."""
        for reaction in self.reactions:
            if reaction.fits(node_id, contact):
                return reaction
        return PLAIN

    @classmethod
    def fit(cls, history: pd.DataFrame) -> Behaviour:
        """Return the behaviour that a history of node runs shows, node by node.

        What can be seen of an effect is how often it failed, with which error most, how often
        nobody knew, and how long the channel took. What contacts did with a message (delivery,
        reading, replies, clicks, purchases, opting out) is not in the history yet: it stays at
        its defaults.

        Parameters
        ----------
        history : pandas.DataFrame
            As `flowkit.history.node_runs` gives it; nodes without a single result or error that
            a channel gave are left out.

        Raises
        ------
        Invalid
            ``behaviour.history`` when a column is missing, or no run is of an effect.
        """
        from flowkit.simulation.fitting import reactions

        return cls(reactions=reactions(history))


def draws(seed: int, contact_id: str, node_id: str, attempt: int) -> list[float]:
    """Return eight numbers between 0 and 1, see `DRAWS`: the same for the same."""
    text = f"{seed}|{contact_id}|{node_id}|{attempt}"
    numbers = _UNIFORMS.unpack(hashlib.blake2b(text.encode()).digest())
    return [((number >> 12) + 0.5) * 2.0**-52 for number in numbers]


_TWO = struct.Struct("<2Q")


def first_draws(seed: int, contact_id: str, node_id: str, attempt: int) -> tuple[float, float]:
    """Return the first two of `draws`."""
    text = f"{seed}|{contact_id}|{node_id}|{attempt}"
    one, two = _TWO.unpack_from(hashlib.blake2b(text.encode()).digest())
    return ((one >> 12) + 0.5) * 2.0**-52, ((two >> 12) + 0.5) * 2.0**-52


def outcome(reaction: Reaction, chance: float, key: str, attempt: int) -> Outcome:
    """Return how a message ends, as the channel says at once."""
    if chance < reaction.failed:
        return Outcome("failed", error=dict(reaction.error))
    if chance < reaction.failed + reaction.unknown:
        return Outcome("unknown", error={"code": "outcome_unknown", "message": "no answer came"})
    return Outcome("completed", result={"messageId": f"sim.{key}.{attempt}"})


def after_sending(
    behaviour: Behaviour,
    seed: int,
    contact: Mapping[str, Any],
    contact_id: str,
    node_id: str,
    attempt: int,
    at: int,
    optouts: dict[str, int],
) -> tuple[int | None, ...]:
    """Return when (ms) a message was sent, delivered, read, replied to, clicked; a purchase.

    `optouts` holds since when contacts want no more messages: those do not arrive. It is added
    to; so a contact's messages are to be asked for in the order in which they were sent.
    """
    reaction = behaviour.reaction(node_id, contact)
    _, _, delivered, read, replied, clicked, opted_out, bought = draws(
        seed, contact_id, node_id, attempt
    )
    spread = draws(seed, contact_id, f"{node_id}|after", attempt)
    if delivered >= reaction.delivered or optouts.get(contact_id, at) < at:
        return (at, None, None, None, None, None)
    arrived = at + reaction.delivered_after.ms(spread[2])
    if read >= reaction.read:
        return (at, arrived, None, None, None, None)
    seen = arrived + reaction.read_after.ms(spread[3])
    if opted_out < reaction.opted_out:
        optouts.setdefault(contact_id, seen)

    def then(chance: float, probability: float, after: After, number: int) -> int | None:
        return seen + after.ms(spread[number]) if chance < probability else None

    return (
        at,
        arrived,
        seen,
        then(replied, reaction.replied, reaction.replied_after, 4),
        then(clicked, reaction.clicked, reaction.clicked_after, 5),
        then(bought, reaction.bought, reaction.bought_after, 7),
    )
