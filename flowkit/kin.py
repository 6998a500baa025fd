"""What an execution and those that it waits for know of each other.

Owns the id of what SUBFLOW starts, the record of who started it, and the event by which it tells
its end. May import `execution`, `size`, `nodetype`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from flowkit.execution import TERMINAL, Execution, NodeRun, Received, branch_order, derived_id
from flowkit.nodetype import Next
from flowkit.size import size_of

if TYPE_CHECKING:
    from flowkit.flow import Flow

CALL = "flow.call"
"""Kind of the effect that starts an execution for which its branch then waits."""
ENDED = "flow:ended"
"""Type of the event by which an execution tells its end; no trigger can have such a type."""
STARTED_BY = "startedBy"
"""Where in its context an execution has ``{executionId, depth, waits}``, if another started it."""
_BESIDE = 1_024
"""Bytes that a report has beside its variables, at most."""


def child_id(execution_id: str, key: str) -> str:
    """Return the id of the execution that a node starts under its key: always the same one."""
    return derived_id(execution_id, key)


def parent_of(execution: Execution) -> str | None:
    """Return the id of the execution that waits for this one, or None."""
    by: dict[str, Any] = execution.context.get(STARTED_BY, {})
    return by.get("executionId") if by.get("waits") else None


def let_go(flow: Flow, execution: Execution) -> Iterator[tuple[NodeRun, str]]:
    """Yield the runs that no longer wait for the execution that they have started, and its id."""
    for run in execution.executed_nodes:
        if ENDED not in flow.behaviour(run.node_id).listens():
            continue
        if (run.result or {}).get("status") in TERMINAL:  # it has told its end
            continue
        if execution.ended_at is None and run.status not in ("completed", "cancelled"):
            continue  # it waits, or may yet try again to start it
        yield run, child_id(execution.id, run.idempotency_key)


def told(flow: Flow, execution: Execution, most: int) -> Received:
    """Return the event by which an execution that has ended tells so; its result fits `most` bytes.

    The payload has ``executionId``, ``status``, ``vars`` (those of the branches that came to an
    END, put together as a JOIN does it), and ``endedBy`` or ``error`` where there is one.
    """
    assert execution.ended_at is not None
    arrived = {
        branch_id
        for run in execution.executed_nodes
        if flow.behaviour(run.node_id).type == "END"
        for branch_id in run.arrivals
    }
    vars: dict[str, Any] = {}
    for branch in sorted(execution.branches, key=lambda b: branch_order(b.branch_id)):
        if branch.branch_id in arrived:
            vars |= branch.vars
    payload: dict[str, Any] = {"executionId": execution.id, "status": execution.status}
    if execution.ended_by is not None:
        payload["endedBy"] = {"reason": execution.ended_by["reason"]}
    failed = next((run for run in execution.executed_nodes if run.status == "failed"), None)
    if execution.status == "failed" and failed is not None:
        payload["error"] = {"nodeId": failed.node_id, "code": (failed.error or {}).get("code")}
    size = size_of(vars)
    if size + _BESIDE > most:
        payload |= {"vars": {}, "omitted": f"the variables have {size} bytes: too many to keep"}
    else:
        payload["vars"] = vars
    return Received(id=execution.id, type=ENDED, payload=payload, at=execution.ended_at)


def taken(payload: Any) -> Next:
    """Return the way out and the result of a branch that hears of an end."""
    return Next("completed" if payload["status"] == "completed" else "failed", payload)
