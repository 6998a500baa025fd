"""What contacts do with a message, as events that come of it.

Owns their payloads. A reply is the inbound message as WhatsApp's Cloud API gives it (``type`` and
what belongs to it); whoever delivers an event puts the ``contact`` beside it.
May import `behaviour`, and `engine`.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterator, Mapping
from itertools import accumulate
from typing import Any, NamedTuple

from flowkit.engine import Performance
from flowkit.simulation.behaviour import Behaviour, Reaction, after_sending, draws

PLAIN = "Ok"
"""What is said to a message that offers no choice."""


class Follows(NamedTuple):
    """An event that comes of a message: its name, which no other has, type, payload, and when."""

    name: str
    type: str
    payload: Mapping[str, Any]
    at: int


def consequences(
    behaviour: Behaviour,
    reaction: Reaction,
    seed: int,
    contact_id: str,
    drawn: str,
    performance: Performance,
    at: int,
    optouts: dict[str, int],
) -> tuple[tuple[int | None, ...], list[Follows]]:
    """Return what becomes of a message, and the events that come of it.

    Parameters
    ----------
    behaviour, reaction : Behaviour, Reaction
        How contacts behave, and how this one does now.
    seed, contact_id, drawn : int, str, str
        What the draws depend on; `drawn` names the visit of the node.
    performance : Performance
        The message.
    at : int
        When the channel has taken it (ms).
    optouts : dict
        See `after_sending`, of which the first value is.
    """
    key, attempt = performance.key, performance.attempt
    before = optouts.get(contact_id)
    fate = after_sending(reaction, seed, contact_id, drawn, attempt, at, optouts)
    *_, replied, clicked, bought = fate
    opted_out = optouts.get(contact_id) if before is None else None
    moments = {"replied": replied, "clicked": clicked, "opted_out": opted_out, "bought": bought}
    follows = []
    for what, then in moments.items():
        if then is None:
            continue
        said: Mapping[str, Any] = reaction.order if what == "bought" else {}
        if what == "replied":
            chance = draws(seed, contact_id, f"{drawn}|said", attempt)[0]
            said = reply_to(performance.effect.request, reaction.replies, chance)
        name = f"sim.{key}.{attempt}.{what}"
        follows.append(Follows(name, behaviour.name(what), said, then))
    return fate, follows


def reply_to(request: Mapping[str, Any], replies: Mapping[str, float], chance: float) -> Any:
    """Return the message with which a contact answers.

    Parameters
    ----------
    request : mapping
        The message that was sent, as the channel was asked for it.
    replies : mapping
        What may be said, with weights; without any, the choices of the message alike.
    chance : float
        A draw from 0 to 1.
    """
    choices = dict(_choices(request))
    weights = replies or dict.fromkeys(choices, 1.0) or {PLAIN: 1.0}
    sums = list(accumulate(weights.values()))
    said = list(weights)[bisect(sums, chance * sums[-1], hi=len(sums) - 1)]
    return choices.get(said, {"type": "text", "text": {"body": said}})


def _choices(request: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the choices that a message offers, by id, each with the answer that it is."""
    action = request.get("interactive", {}).get("action", {})
    for button in action.get("buttons", ()):
        reply = dict(button["reply"])
        yield reply["id"], _interactive("button_reply", reply)
    for section in action.get("sections", ()):
        for row in section["rows"]:
            yield row["id"], _interactive("list_reply", dict(row))
    for component in request.get("template", {}).get("components", ()):
        if component.get("sub_type") == "quick_reply":
            for parameter in component["parameters"]:
                payload = parameter["payload"]
                answer = {"payload": payload, "text": payload}
                yield payload, {"type": "button", "button": answer}


def _interactive(kind: str, reply: dict[str, Any]) -> dict[str, Any]:
    return {"type": "interactive", "interactive": {"type": kind, kind: reply}}
