"""What passes between a node and the engine: what a node sees, and what it does next.

Owns these records; says nothing of node types. Imports `retry`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Protocol

from flowkit.retry import ONCE, RetryPolicy


@dataclass(frozen=True, slots=True)
class Next:
    """Go on at once by `handle`, with a result for the history and changes of ``vars``.

    With `ends` the execution is over: all other branches end where they are, and this one goes on
    to its END. With `suppressed` a limit did not let the node do its work, and its run says so.
    """

    handle: str | None = None
    result: dict[str, Any] | None = None
    vars: dict[str, Any] | None = None
    ends: bool = False
    suppressed: bool = False


@dataclass(frozen=True, slots=True)
class Wait:
    """Go on by `handle` at the moment `until`; the node run is ``waiting`` till then.

    With `again` the node is asked anew then, and may wait once more: whoever wakes late goes on
    only if it is still right.
    """

    until: datetime
    handle: str | None = None
    result: dict[str, Any] | None = None
    again: bool = False


@dataclass(frozen=True, slots=True)
class Await:
    """Go on by `received` with an event that fits, or by `handle` when none has come by `until`.

    The node run is ``waiting`` till then. An event that has come since the execution's start
    fits too, unless this line of branches has gone on with it before.

    Parameters
    ----------
    event : str
        Type of the event.
    until : datetime or None
        When the wait is over; an event of that moment comes too late. None is never.
    match : JSONLogic, optional
        Condition on the scope and the event, which it sees as ``event``.
    handle, received : str, optional
        The ways out.
    taken : callable, optional
        Makes of the event's payload the way out and the result, in place of `received` and the
        event itself.
    """

    event: str
    until: datetime | None
    match: Any = None
    handle: str | None = "timeout"
    received: str | None = "received"
    taken: Callable[[Any], Next] | None = None


@dataclass(frozen=True, slots=True)
class Effect:
    """Do something outside, then go on by `handle`.

    Parameters
    ----------
    kind : str
        Names the channel that performs it.
    request : dict
        What the channel needs; JSON data.
    timeout : float
        Seconds after which the outcome counts as unknown.
    on_unknown : {"fail", "resend"}, optional
        What to do when nobody knows whether it happened: at most once, or at least once.
    handle : str, optional
        The way out on success.
    retry : RetryPolicy, optional
        How often and how soon it is tried again after a transient error; not at all without.
    then : Await, optional
        What the branch waits for afterwards, when the outcome says that it `awaits`.
    """

    kind: str
    request: dict[str, Any]
    timeout: float
    on_unknown: Literal["fail", "resend"] = "fail"
    handle: str | None = None
    retry: RetryPolicy = ONCE
    then: Await | None = None


@dataclass(frozen=True, slots=True)
class Arrive:
    """The branch ends here: what END returns."""


@dataclass(frozen=True, slots=True)
class Gather:
    """The branch ends here, and the branch that forked goes on: what JOIN returns."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an effect ended.

    Parameters
    ----------
    status : {"completed", "failed", "unknown", "suppressed"}
        Suppressed is what a limit did not let happen.
    result : dict, optional
        JSON data for the nodes behind it.
    error : dict, optional
        ``{code, message, transient}`` of one that failed.
    handle : str, optional
        The way out, where it is not the effect's own.
    until : datetime, optional
        The moment at which the branch goes on; at once without.
    awaits : bool
        Whether the branch now waits for what the effect has set in motion: see `Effect.then`.
    """

    status: Literal["completed", "failed", "unknown", "suppressed"]
    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    handle: str | None = None
    until: datetime | None = None
    awaits: bool = False


class Context(Protocol):
    """What a node sees while it runs."""

    @property
    def now(self) -> datetime:
        """The time of this run."""
        ...

    @property
    def key(self) -> str:
        """The run's idempotency key."""
        ...

    @property
    def round(self) -> int:
        """Of the loop's body, at a REPEAT: the one that would begin now; 1 is the first."""
        ...

    @property
    def contact(self) -> dict[str, Any] | None:
        """The execution's contact."""
        ...

    @property
    def contact_id(self) -> str | None:
        """The contact's stable identity."""
        ...

    @property
    def execution_id(self) -> str:
        """The execution's id."""
        ...

    @property
    def flow_id(self) -> str:
        """The flow's id."""
        ...

    @property
    def node_id(self) -> str:
        """The id of the node that runs."""
        ...

    @property
    def time_zone(self) -> str | None:
        """The zone of the flow's settings, for contacts without one."""
        ...

    def evaluate(self, logic: Any) -> Any:
        """Return the value of a JSONLogic expression over the scope."""
        ...

    def render(self, template: str) -> str:
        """Return the text of a Liquid template over the scope."""
        ...
