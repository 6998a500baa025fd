"""Nodes that choose a way. Imports `nodetype`, `fields` and `expression`."""

from __future__ import annotations

from typing import Any

from flowkit.expression import truthy
from flowkit.fields import field
from flowkit.nodetype import Context, Handle, Next, NodeType


class Condition(NodeType, type="CONDITION", category="LOGIC", verb="when"):
    """Go one of two ways, by what is known about the contact and the trigger."""

    expression: Any = field(help="The condition, as JSONLogic.", kind="expression")

    handles = (Handle("true", "Yes", keyword="then"), Handle("false", "No", keyword="otherwise"))

    @classmethod
    def from_call(cls, expression: Any) -> Condition:
        """Return the condition of an expression."""
        return cls(expression=expression)

    def run(self, ctx: Context) -> Next:
        """Go on by ``true`` or ``false``."""
        return Next(handle="true" if truthy(ctx.evaluate(self.expression)) else "false")
