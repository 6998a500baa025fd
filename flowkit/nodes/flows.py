"""Nodes that start and stop flows for the contact. Imports `nodetype`, `fields`, `problems`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from flowkit.fields import field
from flowkit.nodetype import Context, Effect, NodeType
from flowkit.problems import Problem
from flowkit.retry import RetryPolicy

START, STOP = "flow.start", "flow.stop"
"""Kinds of effects, which are performed in the store and under the run's key only once."""
NAMED = 100
"""Ids of stopped executions that the history names."""
SECONDS = 10.0


class StartFlow(NodeType, type="START_FLOW", category="ACTION", verb="start_flow"):
    """Start another active flow for the contact, and go on without waiting for it.

    Examples
    --------
    >>> flow = fk.Flow("Hand over", trigger="signed_up").start_flow("welcome").end()
    """

    internal = START

    flow_id: str = field(help="Id of the flow.", min_length=1, max_length=128)
    payload: Any = field(
        None,
        help="What it sees as trigger, as JSONLogic; without it this execution's own payload.",
        kind="expression",
    )

    @classmethod
    def from_call(cls, flow_id: str, **config: Any) -> StartFlow:
        """Return the start of a flow: ``start_flow("win-back")``."""
        return cls(flow_id=flow_id, **config)

    def run(self, ctx: Context) -> Effect:
        """Ask for an execution; its id follows from the run's key."""
        own = {"var": "trigger"}
        payload = ctx.evaluate(own if self.payload is None else self.payload)
        request = {"flowId": self.flow_id, "payload": payload, "contact": ctx.contact}
        return Effect(START, request, SECONDS, on_unknown="resend", retry=RetryPolicy())


class StopFlows(NodeType, type="STOP_FLOWS", category="ACTION", verb="stop_flows"):
    """Cancel the contact's other executions: of some flows, or of all.

    Examples
    --------
    >>> flow = fk.Flow("Opted out", trigger="opted_out").stop_flows(all=True).end()
    """

    needs_contact = True
    internal = STOP

    flow_ids: Sequence[str] = field((), help="Ids of the flows.", max_length=100)
    all: bool = field(False, help="Whether those of every flow are cancelled.")

    @classmethod
    def from_call(cls, flow_ids: Sequence[str] = (), *, all: bool = False) -> StopFlows:
        """Return the stop of flows: ``stop_flows(["welcome", "win-back"])``."""
        return cls(flow_ids=flow_ids, all=all)

    def check(self) -> Iterable[Problem]:
        """Require flows, or all of them."""
        if bool(self.flow_ids) == self.all:
            message = "Name the flows to stop, or say all: true; not both."
            yield Problem("config.stop", "/flowIds", message)

    def run(self, ctx: Context) -> Effect:
        """Ask for their end."""
        request = {"flowIds": None if self.all else list(self.flow_ids)}
        return Effect(STOP, request, SECONDS, on_unknown="resend", retry=RetryPolicy())
