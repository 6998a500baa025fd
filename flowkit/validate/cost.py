"""What an execution can cost at most, by a dated table of prices (W22).

Owns the bound; the prices are the caller's. Imports `subject`, `ahead`, `finding`, `problems`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Protocol

from flowkit.problems import Problem, pointer
from flowkit.validate.ahead import Ahead
from flowkit.validate.finding import Finding
from flowkit.validate.subject import Subject

if TYPE_CHECKING:
    from flowkit.flow import Flow

STALE = Finding(
    "cost.stale",
    "The table of prices has no date, or one more than 180 days before.",
    rules=("W22",),
)
UNPRICED = Finding(
    "cost.unpriced", "No price is known of a message, so the bound is without it.", rules=("W22",)
)

OLD_DAYS = 180


class PriceTable(Protocol):
    """What is asked of `flowkit.Prices`."""

    @property
    def as_of(self) -> date | None:
        """The day for which they hold."""
        ...

    @property
    def currency(self) -> str:
        """The currency."""
        ...

    @property
    def rates(self) -> Mapping[tuple[str, str], float]:
        """Price by calling code and category."""
        ...

    def of(self, node_id: str, phone: str) -> float | None:
        """Return the price of a message of a node to a phone number."""
        ...


@dataclass(frozen=True, slots=True)
class CostBound:
    """The most that the messages of one execution cost.

    Attributes
    ----------
    amount : float
        In `currency`; each message counts as delivered once. Exact where a JOIN brings together
        each fork, and never too little. Not counted are messages sent again by hand, or by
        ``onUnknown: resend``, and flows that this one starts.
    currency : str
    calling_code : str
        Of the country where it costs as much; of the phone number when that was given.
    problems : list of Problem
        What makes the bound doubtful: ``cost.stale``, ``cost.unpriced``.
    """

    amount: float
    currency: str
    calling_code: str
    problems: list[Problem]


def cost_bound(
    flow: Flow, prices: PriceTable, *, phone: str | None = None, at: date | None = None
) -> CostBound:
    """Return the most that the messages of one execution cost; see `flowkit.Flow.cost_bound`."""
    subject = Subject(flow)
    ahead = Ahead(subject)
    sends = [i for i, made in enumerate(subject.made) if made is not None and made.sends()]
    triggers = subject.of_type("TRIGGER")
    problems = [*_stale(prices, at)]
    priced: set[int] = set()
    best = (0.0, "" if phone is None else phone)
    for code in _codes(prices) if phone is None else [phone]:
        weights = [0.0] * len(subject.made)
        for node in sends:
            price = prices.of(flow.nodes[node].id, code)
            if price is not None:
                priced.add(node)
                weights[node] = price
        found = ahead.most(weights)
        best = max(best, (sum(found[node] for node in triggers), code), key=lambda pair: pair[0])
    problems += [
        UNPRICED.at(
            pointer("nodes", node),
            f"No price is known of {subject.show(node)}'s message: add the rate of its category "
            f"(prices.categories) and country to the table.",
        )
        for node in sends
        if node not in priced
    ]
    return CostBound(round(best[0], 9), prices.currency, best[1], problems)


def _codes(prices: PriceTable) -> Iterable[str]:
    return sorted({code for code, _ in prices.rates})


def _stale(prices: PriceTable, at: date | None) -> Iterable[Problem]:
    day = at.date() if isinstance(at, datetime) else at
    if prices.as_of is None:
        yield STALE.at("", "The table of prices has no date: say as_of, for prices change.")
    elif day is not None and (day - prices.as_of).days > OLD_DAYS:
        yield STALE.at(
            "",
            f"The table of prices is of {prices.as_of}, more than {OLD_DAYS} days before {day}: "
            "Meta changes prices each quarter, so fetch a newer one.",
        )
