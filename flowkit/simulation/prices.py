"""What messages cost, by a table of prices with a date.

Owns the table and the sum. Prices change four times a year, so none are built in. May import
`errors`, `problems`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

from flowkit.errors import Invalid
from flowkit.problems import Problem, pointer


@dataclass(frozen=True, kw_only=True)
class Prices:
    """Prices of delivered messages.

    Parameters
    ----------
    as_of : datetime.date
        The day for which they hold.
    currency : str
        Such as ``USD``.
    rates : mapping
        Price of a message by calling code and category, such as ``{("55", "MARKETING"): 0.0625}``;
        the longest calling code with which the phone number begins counts, ``""`` fits all.
    categories : mapping, optional
        Category by message node, of a flow that another starts as ``"id/node"``; ``MARKETING`` for
        nodes that it does not name.

    Raises
    ------
    Invalid
        ``prices.rate`` when a price is no number from 0 on.
    """

    as_of: date
    currency: str
    rates: Mapping[tuple[str, str], float]
    categories: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        found = [
            Problem("prices.rate", pointer("rates", *key), f"{rate!r} is no price from 0 on.")
            for key, rate in self.rates.items()
            if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not rate >= 0
        ]
        if found:
            raise Invalid(found)

    def of(self, node_id: str, phone: str) -> float | None:
        """Return what a message of a node to a phone number costs; None where no price is known."""
        category = self.categories.get(node_id, "MARKETING")
        digits = "".join(filter(str.isdigit, phone))
        for length in range(min(len(digits), 7), -1, -1):
            rate = self.rates.get((digits[:length], category))
            if rate is not None:
                return rate
        return None
