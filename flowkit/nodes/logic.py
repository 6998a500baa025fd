"""Nodes that choose a way by what is known.

Imports `nodetype`, `fields`, `expression`, `problems`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flowkit.expression import Operation, truthy
from flowkit.fields import field, normalise
from flowkit.nodetype import Context, Handle, Next, NodeType, Way, check_ways
from flowkit.problems import Problem


class Condition(NodeType, type="CONDITION", category="LOGIC", verb="when"):
    """Go one of two ways, by what is known about the contact and the trigger.

    Examples
    --------
    >>> flow = (
    ...     fk.Flow("Greeting", trigger="signed_up")
    ...     .when(
    ...         fk.contact.country == "BR",
    ...         then=lambda b: b.send(template="welcome", language="pt_BR"),
    ...         otherwise=lambda b: b.send(template="welcome", language="en_US"),
    ...     )
    ...     .end()
    ... )
    """

    expression: Any = field(help="The condition, as JSONLogic.", kind="expression")

    handles = (Handle("true", "Yes", keyword="then"), Handle("false", "No", keyword="otherwise"))

    @classmethod
    def from_call(cls, expression: Any) -> Condition:
        """Return the condition of an expression."""
        return cls(expression=expression)

    def decides(self) -> tuple[Way, ...]:
        """Return the condition of ``true``."""
        return (Way("true", self.expression, "/expression"),)

    def run(self, ctx: Context) -> Next:
        """Go on by ``true`` or ``false``."""
        return Next(handle="true" if truthy(ctx.evaluate(self.expression)) else "false")


DEFAULT = "default"
"""The way out of a SWITCH where no case holds."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One way out of a SWITCH, and when it is taken."""

    id: str = field(help="Names the way out.", kind="name")
    expression: Any = field(help="The condition, as JSONLogic.", kind="expression")

    def __post_init__(self) -> None:
        normalise(self)


class Switch(NodeType, type="SWITCH", category="LOGIC", verb="switch"):
    """Go by the first case that holds, or by ``default`` where none does.

    Examples
    --------
    >>> flow = (
    ...     fk.Flow("By status", trigger="order_updated")
    ...     .switch(
    ...         {"paid": fk.trigger.status == "paid", "shipped": fk.trigger.status == "shipped"},
    ...         on={
    ...             "paid": lambda b: b.send(template="order_paid", language="en_US"),
    ...             "shipped": lambda b: b.send(template="order_shipped", language="en_US"),
    ...         },
    ...         otherwise=lambda b: b.end(),
    ...     )
    ...     .end()
    ... )
    """

    cases: Sequence[Case] = field(
        help="The cases, in the order in which they are tried.", min_length=1, max_length=50
    )

    handles = (Handle(DEFAULT, "Otherwise", keyword="otherwise"),)

    @classmethod
    def from_call(cls, cases: Mapping[str, Any] | Sequence[Case]) -> Switch:
        """Return the switch of conditions by name, such as ``{"vip": fk.contact.vip == True}``."""
        if isinstance(cases, Mapping):
            cases = [Case(id=id, expression=expression) for id, expression in cases.items()]
        return cls(cases=cases)

    def to_call(self) -> dict[str, Any]:
        """Return the conditions by name."""
        return {"cases": {case.id: Operation(case.expression) for case in self.cases}}

    def outputs(self) -> tuple[Handle, ...]:
        """Return a way out for each case, and ``default``."""
        return (*(Handle(case.id, case.id) for case in self.cases), *self.handles)

    def check(self) -> Iterable[Problem]:
        """Require names of their own."""
        return check_ways("/cases", [case.id for case in self.cases], taken=(DEFAULT,))

    def decides(self) -> tuple[Way, ...]:
        """Return the cases."""
        return tuple(
            Way(case.id, case.expression, f"/cases/{index}/expression")
            for index, case in enumerate(self.cases)
        )

    def run(self, ctx: Context) -> Next:
        """Go on by the first case that holds."""
        for case in self.cases:
            if truthy(ctx.evaluate(case.expression)):
                return Next(handle=case.id, result={"case": case.id})
        return Next(handle=DEFAULT, result={"case": DEFAULT})
