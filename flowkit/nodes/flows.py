"""Nodes that start and stop flows for the contact.

Imports `nodetype`, `duration`, `fields`, `kin`, `retry`, `problems`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from flowkit.duration import Duration
from flowkit.fields import field
from flowkit.kin import CALL, ENDED, child_id, taken
from flowkit.nodetype import Await, Context, Effect, Handle, NodeType
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

    def starts(self) -> tuple[str, int | None]:
        """Return the flow, in its newest version."""
        return self.flow_id, None

    def run(self, ctx: Context) -> Effect:
        """Ask for an execution; its id follows from the run's key."""
        own = {"var": "trigger"}
        payload = ctx.evaluate(own if self.payload is None else self.payload)
        request = {"flowId": self.flow_id, "payload": payload, "contact": ctx.contact}
        return Effect(START, request, SECONDS, on_unknown="resend", retry=RetryPolicy())


_COMPLETED = Handle("completed", "Completed")
_FAILED = Handle("failed", "Failed")
_LATE = Handle("timeout", "Timed out", keyword="on_timeout")


class Subflow(NodeType, type="SUBFLOW", category="LOGIC", verb="subflow"):
    """Run a published version of another flow for the contact, and wait until it has ended.

    The result is ``executionId``, ``status`` and ``vars``: the variables that it set. It lives no
    longer than it is waited for: it is cancelled when the time is up or this execution ends.

    Examples
    --------
    >>> flow = (
    ...     fk.Flow("Ask first", trigger="order_paid")
    ...     .subflow("welcome", 1, timeout={"amount": 2, "unit": "hours"})
    ...     .end()
    ... )
    """

    internal = CALL
    handles = (_COMPLETED, _FAILED, _LATE)

    flow_id: str = field(help="Id of the flow.", min_length=1, max_length=128)
    version: int = field(
        help="The version that runs, whatever is published later.", ge=1, le=1_000_000_000
    )
    input: Mapping[str, Any] | None = field(
        None,
        help="What it sees as trigger: value by name, as JSONLogic; without it this execution's "
        "own payload.",
        kind="expression",
        max_length=50,
    )
    timeout: Duration | None = field(
        None, help="How long to wait at most, from its start; without, as long as it takes."
    )

    @classmethod
    def from_call(cls, flow_id: str, version: int, **config: Any) -> Subflow:
        """Return the run of a flow's version: ``subflow("ask-consent", 3)``."""
        return cls(flow_id=flow_id, version=version, **config)

    def outputs(self) -> tuple[Handle, ...]:
        """Return the ways out: without a time-out only two."""
        return (_COMPLETED, _FAILED) if self.timeout is None else self.handles

    def takes(self, handle: str | None) -> tuple[float, float]:
        """Return the time-out, and up to it for an end."""
        most = math.inf if self.timeout is None else self.timeout.delta.total_seconds()
        return (most if handle == _LATE.id else 0.0), most

    def listens(self) -> tuple[str, ...]:
        """Return the event by which an execution tells its end."""
        return (ENDED,)

    def starts(self) -> tuple[str, int | None]:
        """Return the flow, in the version that is pinned."""
        return self.flow_id, self.version

    def run(self, ctx: Context) -> Effect:
        """Ask for an execution, to wait for its end; its id follows from the run's key."""
        given = {name: ctx.evaluate(logic) for name, logic in (self.input or {}).items()}
        request = {
            "flowId": self.flow_id,
            "version": self.version,
            "payload": ctx.evaluate({"var": "trigger"}) if self.input is None else given,
            "contact": ctx.contact,
        }
        way = _COMPLETED if self.timeout is None else _LATE
        end = Await(
            ENDED,
            None if self.timeout is None else ctx.now + self.timeout.delta,
            {"==": [{"var": "event.executionId"}, child_id(ctx.execution_id, ctx.key)]},
            handle=way.id,
            received=_COMPLETED.id,
            taken=taken,
        )
        retry = RetryPolicy()
        return Effect(CALL, request, SECONDS, "resend", handle=way.id, retry=retry, then=end)


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
