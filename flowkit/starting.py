"""An execution that another one starts for the same contact, for every driver.

Owns how deep they may follow each other, what each knows of the one before, what the node that
asked is answered, which flows those are that a flow starts, and what their nodes are called.
May import `engine`, `execution`, `flow`, `kin`, `nodetype`, `size`, `errors`, `problems`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from flowkit import engine
from flowkit.engine import Limits
from flowkit.errors import NotFound
from flowkit.execution import Execution
from flowkit.flow import Flow
from flowkit.kin import CALL, STARTED_BY, child_id
from flowkit.nodetype import Outcome
from flowkit.problems import Problem, errors, pointer
from flowkit.size import size_of_execution

MAX_DEPTH = 10
"""How many executions may have started one another in a row: flows that go round end there."""
FILTERED = "the flow's filter does not hold"
"""Why an execution that was asked for is not there."""
Started = Mapping[tuple[str, "int | None"], Flow]
"""Flows by their id and the version that is asked for, which is None for the newest."""


def started_by(
    asking: Execution,
    key: str,
    flow: Flow,
    request: dict[str, Any],
    *,
    now: datetime,
    limits: Limits,
    waits: bool = False,
) -> Execution | None:
    """Return the execution of `flow` that an effect under `key` asks for; always the same one.

    With `waits`, its end concerns the one that asks.

    Returns
    -------
    Execution or None
        None where the flow's filter says no.

    Raises
    ------
    Invalid
        When the flow cannot be started so.
    NotFound
        When too many executions have started one another.
    """
    depth = asking.context.get(STARTED_BY, {}).get("depth", 0) + 1
    if depth > MAX_DEPTH:
        raise NotFound(f"{MAX_DEPTH} executions have started one another in a row already")
    execution = engine.start(
        flow,
        request["payload"],
        execution_id=child_id(asking.id, key),
        now=now,
        limits=limits,
        contact=request["contact"],
    )
    if execution is not None:
        by = {"executionId": asking.id, "depth": depth}
        execution.context[STARTED_BY] = by | ({"waits": True} if waits else {})
        execution.owes = waits
        execution.bytes = size_of_execution(execution)
    return execution


def answer_of(started: str | None, refused: str, *, waits: bool) -> Outcome:
    """Return how the effect ends that asked for an execution.

    Parameters
    ----------
    started : str or None
        Its id; None where it may not be.
    refused : str
        Why it may not be.
    waits : bool
        Whether the one that asked waits for its end.
    """
    if started is not None:
        return Outcome("completed", result={"executionId": started}, awaits=waits)
    result = {"executionId": None, "reason": refused}
    if not waits:
        return Outcome("completed", result=result)
    return Outcome("completed", result=result | {"status": "refused"}, handle="failed")


def names_before(flow: Flow, other_id: str | None) -> str:
    """Return what stands before the ids of nodes where `flow` starts another: ``"id/"``."""
    return "" if other_id == flow.id else f"{other_id}/"


def nodes_of(flow: Flow, others: Iterable[Flow]) -> set[str]:
    """Return what the nodes of a flow and of those that it starts are called."""
    return {names_before(flow, one.id) + node.id for one in (flow, *others) for node in one.nodes}


def started_flows(
    flow: Flow, flows: Iterable[Flow], settled: Callable[[Flow, str], bool], how: str
) -> tuple[Started, list[Problem]]:
    """Return the flows that a flow starts, and those start in turn, and what is wrong with them.

    Parameters
    ----------
    flow : Flow
        The one that starts others.
    flows : iterable of Flow
        Those that there are, it among them if it can be started anew. One without a version
        stands for whichever is asked for.
    settled : callable
        Told a flow and the id of a node that runs another: whether its end is known without.
    how : str
        How else the end of such a node can be said.

    Returns
    -------
    dict, list of Problem
        A flow that START_FLOW names may be missing, one that SUBFLOW runs may not.
    """
    there = list(flows)
    started: dict[tuple[str, int | None], Flow] = {}
    found = [
        Problem(
            "simulate.flows",
            pointer("flows", number),
            f"{other.name!r} has no id, by which others could start it: give it one.",
        )
        for number, other in enumerate(there)
        if other.id is None
    ]
    ahead = [flow]
    while ahead:
        asking = ahead.pop()
        for node in asking.nodes:
            behaviour = asking.behaviour(node.id)
            asked = behaviour.starts()
            if asked is None or asked in started or settled(asking, node.id):
                continue
            other = _version(there, *asked)
            if other is not None:
                started[asked] = other if other.version else other.replace(version=asked[1] or 1)
                at = pointer("flows", there.index(other))
                wrong = errors(other.validate()) if other is not flow else []
                found += [replace(problem, path=at + problem.path) for problem in wrong]
                if not wrong:
                    ahead.append(other)
            elif behaviour.internal == CALL:
                message = (
                    f"{node.id} runs flow {asked[0]}, version {asked[1]}, which is not here. Give "
                    f"it, as in flows=[...]; or say how it ends: {how}, with an "
                    'Outcome("completed", handle="completed", result={"vars": {...}}).'
                )
                found.append(Problem("simulate.subflow", "", message))
    return started, found


def _version(flows: Collection[Flow], flow_id: str, version: int | None) -> Flow | None:
    """Return a version of a flow, or what stands for it; the newest for None."""
    known = [flow for flow in flows if flow.id == flow_id]
    if version is not None:
        known = [flow for flow in known if flow.version in (version, 0)]
    return max(known, key=lambda flow: flow.version, default=None)
