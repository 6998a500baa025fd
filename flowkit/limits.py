"""Limits that executions share: token buckets, and caps by calendar day or week.

Each function takes the state of a limit, None at first, and returns its next state and an answer.
May import `wire`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from flowkit.wire import to_ms


def take_token(
    state: Any, *, per_second: float, burst: int, now: datetime
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Take a token from a bucket; the answer is when whoever takes it may go on.

    Nobody is refused: who comes while the bucket is empty gets the next token that drips in after
    those of all who came before. The answer is ``{until}``, in milliseconds, at or after `now`.

    Parameters
    ----------
    state : dict or None
        ``{next}``: the moment, in milliseconds, at which the bucket would be full again.
    per_second : float
        How many tokens drip in.
    burst : int
        How many the bucket holds.
    now : datetime
        The moment of taking.
    """
    step = 1000 / per_second
    full = max((state or {}).get("next", 0), to_ms(now))
    until = max(to_ms(now), full - (burst - 1) * step)
    return {"next": full + step}, {"until": until}


def take_turn(state: Any, *, period: str, maximum: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Take a turn of those that a period allows; the answer is ``{allowed, count}``.

    Parameters
    ----------
    state : dict or None
        ``{period, count}`` of the last turn that was taken.
    period : str
        The day or week; with another one the count begins anew.
    maximum : int
        How many turns it allows. Who is refused takes none.
    """
    count = state["count"] if state and state["period"] == period else 0
    allowed = count < maximum
    count += allowed
    return {"period": period, "count": count}, {"allowed": allowed, "count": count}
