"""How the surroundings of a flow behave: what becomes of messages and other effects.

Owns the model and its randomness. Every draw follows from (seed, contact, node, attempt), so that
nothing depends on the order in which contacts are simulated, or on what happens to others.
May import `expression`, `jsonlogic`, `kin`, `nodetype`, `starting`, `errors`, `problems`; pandas
only in `fit`.
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

from flowkit.engine import Performance
from flowkit.expression import Expr
from flowkit.flow import Flow
from flowkit.jsonlogic import check_logic, evaluate, truthy
from flowkit.kin import CALL
from flowkit.nodetype import Outcome
from flowkit.problems import Problem, pointer
from flowkit.starting import nodes_of
from flowkit.whatsapp import INBOUND, is_inbound
from flowkit.whatsapp import MESSAGE as MESSAGE
from flowkit.wire import canonical

if TYPE_CHECKING:
    import pandas as pd

_NORMAL = NormalDist()
_UNIFORMS = struct.Struct("<8Q")

CLOSED_CODE = "whatsapp_131047"
"""The error of a free-form message outside the service window."""
NAMES = {
    "replied": INBOUND,
    "clicked": "click",
    "opted_out": "opt_out",
    "bought": "purchase",
}
"""Types of the events that reactions are, by what happened."""
ANSWERED = f"in Behaviour(answers={{{CALL!r}: ...}})"
"""How the end of what runs another flow can be said."""
VISIT = re.compile(r"_v[0-9]+$")
"""What a visit of a node in a loop adds to its id."""
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
    replies : mapping, optional
        What is replied, and how often beside the others, such as ``{"Yes": 3, "Stop": 1}``: the
        id of a button or row of the message, the payload of a template's quick reply, or a text.
        Without, any of the message's buttons or rows alike, and "Ok" where it has none.
    order : mapping, optional
        What the event of a purchase says beside the contact, such as ``{"total": 80}``.
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
    replies: Mapping[str, float] = field(default_factory=dict)
    order: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if isinstance(self.when, Expr):
            object.__setattr__(self, "when", self.when.to_jsonlogic())

    def check(self, nodes: Collection[str], path: str) -> list[Problem]:
        """Return what is wrong with it, where there are these nodes."""
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
        if self.node is not None and self.node not in nodes:
            message = f"The flow has no node {self.node!r}."
            found.append(Problem("behaviour.node", path + "/node", message))
        for text, weight in self.replies.items():
            if not (isinstance(text, str) and text and _number(weight) and weight > 0):
                message = "Replies are texts with weights above 0, such as {'Yes': 3}."
                found.append(Problem("behaviour.reply", path + pointer("replies", text), message))
        found += _payload_problems(self.order, path + "/order")
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


def _payload_problems(payload: Any, at: str) -> list[Problem]:
    """Return what is wrong with what an event says beside its contact."""
    try:
        if isinstance(payload, Mapping):
            canonical(dict(payload))
            return []
    except (TypeError, ValueError, RecursionError):
        pass
    message = "What an event says is a mapping of JSON data, such as {'total': 80}."
    return [Problem("behaviour.payload", at, message)]


@dataclass(frozen=True, kw_only=True)
class Occurrence:
    """An event that happens to a contact by itself, whether or not a message came.

    Parameters
    ----------
    event : str
        Its type, such as purchase.
    when : Expr or JSONLogic, optional
        Only for contacts for whom this holds; it sees ``contact``.
    probability : float, optional
        How many of them it happens to.
    after : After, optional
        Since the flow was first triggered for the contact.
    payload : mapping, optional
        What the event says beside the contact.
    """

    event: str
    when: Any = None
    probability: float = 1.0
    after: After = After(86_400, 3)
    payload: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if isinstance(self.when, Expr):
            object.__setattr__(self, "when", self.when.to_jsonlogic())

    def check(self, path: str) -> list[Problem]:
        """Return what is wrong with it."""
        found = []
        if not (isinstance(self.event, str) and 0 < len(self.event) <= 128):
            message = "An event has a type of 1 to 128 characters, such as purchase."
            found.append(Problem("behaviour.event", path + "/event", message))
        if not (_number(self.probability) and 0 <= self.probability <= 1):
            message = f"probability is one from 0 to 1, not {self.probability!r}."
            found.append(Problem("behaviour.probability", path + "/probability", message))
        at = path + "/after"
        found += self.after.check(at) if isinstance(self.after, After) else [_no_time(at)]
        found += _payload_problems(self.payload, path + "/payload")
        return found + check_logic(self.when, path + "/when")

    def fits(self, contact: Mapping[str, Any]) -> bool:
        """Return whether it can happen to a contact."""
        return self.when is None or truthy(evaluate(self.when, {"contact": contact}))


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
        `flowkit.engine.Performance` and the contact. An answer for a kind of internal effects
        (of UPDATE_CONTACT, RATE_LIMIT, FREQUENCY_CAP, START_FLOW, STOP_FLOWS) is taken in place
        of what would really be decided.
    events : sequence of Occurrence, optional
        What happens to contacts beside their reactions.
    names : mapping, optional
        Types of the events that reactions are, by what happened, where they differ from `NAMES`.
    window : bool, optional
        Whether free-form messages fail with 131047 more than 24 hours after the contact's last
        message. By default they do where the flow is triggered by a message of the contact, so
        that it is known when that was. Where they do for another flow, the contact's field
        ``last_inbound_at`` (ISO 8601) tells; without it the contact has not written yet.

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
    events: Sequence[Occurrence] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    window: bool | None = None

    def check(self, flow: Flow, others: Iterable[Flow] = ()) -> list[Problem]:
        """Return what is wrong with it, for a flow; paths begin at its fields' names.

        Parameters
        ----------
        flow, others : Flow, iterable of Flow
            Whose nodes reactions may be for: of the flows that it starts as ``"id/node"``.
        """
        found: list[Problem] = []
        names = nodes_of(flow, others)
        for number, reaction in enumerate(self.reactions):
            found += reaction.check(names, pointer("reactions", number))
        for number, occurrence in enumerate(self.events):
            found += occurrence.check(pointer("events", number))
        for name, event in self.names.items():
            if name not in NAMES or not (isinstance(event, str) and event):
                message = f"names gives types of events to {', '.join(NAMES)}."
                found.append(Problem("behaviour.name", pointer("names", name), message))
        return found

    def answers_for(self, flow: Flow, node_id: str) -> bool:
        """Return whether it says itself how a node ends that would start a flow."""
        return flow.behaviour(node_id).internal in self.answers

    def name(self, happened: str) -> str:
        """Return the type of the event that a reaction is."""
        return self.names.get(happened, NAMES[happened])

    def tells(self) -> frozenset[str]:
        """Return the types of the events that can come of it."""
        return frozenset(
            [self.name(what) for what in NAMES for r in self.reactions if getattr(r, what) > 0]
            + [occurrence.event for occurrence in self.events if occurrence.probability > 0]
        )

    def judges_window(self, flow: Flow) -> bool:
        """Return whether messages outside the service window of 24 hours fail."""
        return is_inbound(flow.trigger_type) if self.window is None else self.window

    def reaction(self, node_id: str, contact: Mapping[str, Any]) -> Reaction:
        """Return how messages of a node to a contact fare."""
        for reaction in self.reactions:
            if reaction.fits(node_id, contact):
                return reaction
        return PLAIN

    @classmethod
    def fit(
        cls,
        history: pd.DataFrame,
        *,
        messages: pd.DataFrame | None = None,
        segments: Sequence[Any] = (),
        triggers: pd.DataFrame | None = None,
    ) -> Behaviour:
        """Return the behaviour that a history shows, node by node, and then for all other nodes.

        Of an effect it is seen how often an attempt failed, with which error most, how often
        nobody knew, and how long the channel took. What contacts did with a message stands in
        `messages`: a service does not record it yet, a simulation does. What has not come yet
        counts as never; who asked for no more is not seen. Without, these stay at their defaults.

        Parameters
        ----------
        history : pandas.DataFrame
            As `flowkit.history.node_runs` gives it; nodes without a single result or error that
            a channel gave are left out.
        messages : pandas.DataFrame, optional
            As `Simulation.messages`: node_id and the times at which messages were sent,
            delivered, read, replied to, clicked, and at which their readers bought.
        segments : sequence of Expr or JSONLogic, optional
            Conditions on ``contact``: a reaction is fitted for each, of a contact's the first
            that holds, and one for the contacts in none.
        triggers : pandas.DataFrame, optional
            As `flowkit.history.triggers` gives it: who the contacts of the segments were.

        Raises
        ------
        Invalid
            ``behaviour.history`` when a column or frame is missing, or no run is of a message;
            ``config.expression`` when a segment is no condition.
        """
        from flowkit.simulation.fitting import reactions

        return cls(reactions=reactions(history, messages, segments, triggers))


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
    reaction: Reaction,
    seed: int,
    contact_id: str,
    visit: str,
    attempt: int,
    at: int,
    optouts: dict[str, int],
) -> tuple[int | None, ...]:
    """Return when (ms) a message was sent, delivered, read, replied to, clicked; a purchase.

    `optouts` holds since when contacts want no more messages: those do not arrive. It is added
    to; so a contact's messages are to be asked for in the order in which they were sent.
    """
    _, _, delivered, read, replied, clicked, opted_out, bought = draws(
        seed, contact_id, visit, attempt
    )
    spread = draws(seed, contact_id, f"{visit}|after", attempt)
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
