"""Internal effects: what executions share is changed by whoever drives the engine, once per key.

A node asks, with an effect of one of `KINDS`; the driver keeps the cells (a store, or a simulator's
memory), changes the one that is named by the function that is given here, atomically and once per
idempotency key, and reports the outcome of its answer. Since the answer of a key never changes,
such an effect can be performed again without harm.
May import `contacts`, `limits`, `nodetype`, `wire`, `errors`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from flowkit.contacts import Contact, cell_of, changed
from flowkit.errors import NotFound
from flowkit.limits import take_token, take_turn
from flowkit.nodetype import Effect, Outcome
from flowkit.wire import from_ms

CONTACT_UPDATE, LIMIT_TAKE, CAP_TAKE = "contact.update", "limit.take", "cap.take"
KINDS = frozenset({CONTACT_UPDATE, LIMIT_TAKE, CAP_TAKE})
"""Kinds of effects that are answered from shared state."""
CAP_DAYS = 30
"""How long a cap's count is kept: longer than any period."""


@dataclass(frozen=True, slots=True)
class Sharing:
    """How a cell is to be changed.

    Attributes
    ----------
    cell_id : str
        Which cell.
    change : callable
        Takes its state, None at first, and returns the next state and an answer; both JSON data.
    expires_at : datetime or None
        From when on the state is of no use.
    """

    cell_id: str
    change: Callable[[Any], tuple[Any, Any]]
    expires_at: datetime | None = None


def sharing(effect: Effect, now: datetime, contact: Callable[[str], Contact]) -> Sharing:
    """Return what an internal effect asks for.

    Parameters
    ----------
    effect : Effect
        Of one of `KINDS`.
    now : datetime
        The moment at which it is performed.
    contact : callable
        Returns the contact with an id; raises `NotFound`.
    """
    asked = effect.request
    if effect.kind == CONTACT_UPDATE:
        contact_id = asked["contactId"]
        try:
            told = contact(contact_id)
        except NotFound:  # as the execution knows it
            told = Contact(id=contact_id, attributes=asked["known"], created_at=now, updated_at=now)

        def update(state: Any) -> tuple[Any, Any]:
            return changed(told, state, asked, now)

        return Sharing(cell_of(contact_id), update)
    if effect.kind == LIMIT_TAKE:
        take = partial(take_token, per_second=asked["perSecond"], burst=asked["burst"], now=now)
        # A bucket that nobody has taken from since it was full is as good as a new one.
        idle = timedelta(days=1, seconds=asked["burst"] / asked["perSecond"])
        return Sharing(f"limit:{asked['key']}", take, now + idle)
    turn = partial(take_turn, period=asked["period"], maximum=asked["maximum"])
    return Sharing(f"cap:{asked['key']}", turn, now + timedelta(days=CAP_DAYS))


def outcome_of(effect: Effect, answer: dict[str, Any]) -> Outcome:
    """Return how an internal effect has ended whose cell gave this answer."""
    if effect.kind == LIMIT_TAKE:
        return Outcome("completed", result=answer, until=from_ms(answer["until"]))
    if effect.kind == CAP_TAKE:
        result = {**answer, "period": effect.request["period"], **effect.request["zone"]}
        if not answer["allowed"]:
            return Outcome("suppressed", result=result, handle="suppressed")
        return Outcome("completed", result=result)
    return Outcome("completed", result=answer)
