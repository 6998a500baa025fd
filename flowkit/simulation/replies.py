"""What contacts say to a message: the payload of the event that a reply is.

Owns its shape: the inbound message as WhatsApp's Cloud API gives it (``type`` and what belongs to
it), beside the ``contact``. May import nothing of flowkit.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Iterator, Mapping
from itertools import accumulate
from typing import Any

PLAIN = "Ok"
"""What is said to a message that offers no choice."""


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
