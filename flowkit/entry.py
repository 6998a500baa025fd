"""Who may enter a flow again: the rule, for stores to ask while they create an execution.

May import `flow`, `options`, `execution`.
"""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from flowkit.execution import Execution
from flowkit.flow import Flow
from flowkit.options import Entry


class Entered(NamedTuple):
    """A contact's last entry into a flow, and whether that execution is still under way."""

    execution_id: str
    at: datetime
    live: bool


def may_enter(entry: Entry, execution: Execution, last: Entered | None) -> bool:
    """Return whether an execution may begin under a policy, given its contact's last entry.

    What has entered already may, so that a trigger that is delivered again is answered alike.
    """
    if last is None or last.execution_id == execution.id or entry.policy == "always":
        return True
    if entry.policy == "once_active":
        return not last.live
    return entry.after is not None and execution.created_at >= last.at + entry.after.delta


def refusal_of(flow: Flow, execution: Execution) -> str:
    """Return what is said of an execution that the policy keeps out."""
    return (
        f"flow {execution.flow_id} ({flow.name}) was not started: contact {execution.contact_id} "
        f"has entered it before, and its entry policy is {flow.options.entry.policy}"
    )
