"""Nodes that hold executions to limits which they share.

Imports `nodetype`, `fields`, `sharing`, `retry`, `zones`, `errors`.
"""

from __future__ import annotations

import math
from typing import Literal

from flowkit.errors import NodeFailed
from flowkit.fields import field
from flowkit.nodetype import Context, Effect, Handle, NodeType
from flowkit.retry import PATIENT
from flowkit.sharing import CAP_TAKE, LIMIT_TAKE
from flowkit.zones import zone_for

MAX_KEY = 256


class RateLimit(NodeType, type="RATE_LIMIT", category="TIME", verb="rate_limit"):
    """Let executions pass at a steady rate: each takes a token, and waits for it if need be.

    All nodes with the same key share a bucket, in whatever flow they are. Tokens are given in the
    order in which executions come.

    Examples
    --------
    >>> flow = (
    ...     fk.Flow("Gently", trigger="order_paid")
    ...     .rate_limit(key="crm", per_second=5)
    ...     .send(template="order_paid", language="en_US")
    ...     .end()
    ... )
    """

    key: str = field(
        help="Which bucket, as Liquid, such as crm or {{ contact.country }}.",
        kind="template",
        min_length=1,
    )
    per_second: float = field(
        help="How many pass in a second; 0.1 is one in ten seconds.", ge=0.0001, le=10_000
    )
    burst: int = field(
        1, help="How many pass at once after a pause.", ge=1, le=1_000_000
    )  # fmt: skip

    internal = LIMIT_TAKE

    def takes(self, handle: str | None) -> tuple[float, float]:
        """Return no bound: how many wait before it is not the flow's to know."""
        return 0.0, math.inf

    def run(self, ctx: Context) -> Effect:
        """Take a token."""
        return Effect(
            kind=LIMIT_TAKE,
            request={
                "key": _key(ctx, self.key),
                "perSecond": self.per_second,
                "burst": self.burst,
            },
            timeout=10,
            on_unknown="resend",
            retry=PATIENT,
        )


class FrequencyCap(NodeType, type="FREQUENCY_CAP", category="LOGIC", verb="frequency_cap"):
    """Let a contact pass so many times in a calendar day or week, and no more.

    Days and weeks (from Monday) are those of the contact's time zone, else of the flow's, else
    UTC. Whoever passes counts, whether or not what follows succeeds; whoever does not is
    ``suppressed``. All nodes with the same key and period share the count, in whatever flow.

    Examples
    --------
    >>> flow = (
    ...     fk.Flow("At most one a day", trigger="back_in_stock")
    ...     .frequency_cap(maximum=1, period="day")
    ...     .send(template="back_in_stock", language="en_US")
    ...     .end()
    ... )
    """

    maximum: int = field(help="How many times a contact passes.", ge=1, le=1_000)
    period: Literal["day", "week"] = field(help="The calendar period that the count is of.")
    key: str = field(
        "messages", help="What is counted, as Liquid.", kind="template", min_length=1
    )  # fmt: skip

    handles = (Handle("allowed", "Allowed"), Handle("suppressed", "Suppressed", ends=True))
    needs_contact = True
    internal = CAP_TAKE

    def takes(self, handle: str | None) -> tuple[float, float]:
        """Return what all attempts can take."""
        return 0.0, PATIENT.longest(10)

    def run(self, ctx: Context) -> Effect:
        """Take a turn."""
        if ctx.contact_id is None:
            raise NodeFailed("contact_missing", "There is no contact to count for.")
        zone = zone_for(None, ctx.contact, ctx.time_zone)
        today = ctx.now.astimezone(zone.info).date()
        year, week, _ = today.isocalendar()
        return Effect(
            kind=CAP_TAKE,
            request={
                "key": f"{ctx.contact_id}:{self.period}:{_key(ctx, self.key)}",
                "period": today.isoformat() if self.period == "day" else f"{year}-W{week:02}",
                "maximum": self.maximum,
                "zone": zone.facts(),
            },
            timeout=10,
            on_unknown="resend",
            handle="allowed",
            retry=PATIENT,
        )


def _key(ctx: Context, template: str) -> str:
    key = ctx.render(template).strip()
    if not key or len(key) > MAX_KEY:
        message = f"The key must have 1 to {MAX_KEY} characters; it came out with {len(key)}."
        raise NodeFailed("key_invalid", message)
    return key
