"""What can be said of a flow before it runs: the part of `Flow` that asks the validator.

Owns the methods; imports `problems`, and `validate` only when asked.
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any, cast

from flowkit.problems import Problem

if TYPE_CHECKING:
    from flowkit.flow import Flow
    from flowkit.validate.cost import CostBound, PriceTable
    from flowkit.validate.timing import Timing
    from flowkit.validate.window import Window


class Judged:
    """What a flow's proofs are asked for by; only `Flow` is one."""

    @property
    def _flow(self) -> Flow:
        return cast("Flow", self)

    def validate(self, *, templates: Any = None) -> list[Problem]:
        """Return what is wrong with the flow, errors and warnings; see `flowkit.validate`.

        Parameters
        ----------
        templates : list, dict, str or path, optional
            The account's message templates as the Cloud API lists them, or the JSON file.

        Raises
        ------
        Invalid
            When `templates` are none, or not all of them.
        """
        from flowkit.validate import check_flow, read_templates

        return check_flow(self._flow, None if templates is None else read_templates(templates))

    def cost_bound(
        self, prices: PriceTable, *, phone: str | None = None, at: date | None = None
    ) -> CostBound:
        """Return the most that the messages of one execution cost.

        Parameters
        ----------
        prices : Prices
            The table; ``prices.categories`` says of which category a node's message is.
        phone : str, optional
            Number of the contact, with its country code; without one the dearest country counts.
        at : datetime.date, optional
            The day for which the bound is wanted; a table older than 180 days is remarked on.
        """
        from flowkit.validate.cost import cost_bound

        return cost_bound(self._flow, prices, phone=phone, at=at)

    def timing(self) -> list[Timing]:
        """Return when each node can run, in the order in which they follow each other.

        The latest moment of an END is the flow's worst-case duration. Empty for a flow whose
        graph has errors; see `flowkit.validate.timing`.
        """
        from flowkit.validate.timing import timing

        return timing(self._flow)

    def window(self) -> list[Window]:
        """Return what is proved of WhatsApp's 24-hour window at each message, in their order.

        Open, or may be closed, or closed, with the age that the contact's last message has then.
        Empty for a flow whose graph has errors; see `flowkit.validate.window`.
        """
        from flowkit.validate.window import window

        return window(self._flow)
