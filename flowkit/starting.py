"""An execution that another one starts for the same contact, for every driver.

Owns how deep they may follow each other, and what each knows of the one before.
May import `engine`, `execution`, `flow`, `kin`, `size`, `errors`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from flowkit import engine
from flowkit.engine import Limits
from flowkit.errors import NotFound
from flowkit.execution import Execution
from flowkit.flow import Flow
from flowkit.kin import STARTED_BY, child_id
from flowkit.size import size_of_execution

MAX_DEPTH = 10
"""How many executions may have started one another in a row: flows that go round end there."""
FILTERED = "the flow's filter does not hold"
"""Why an execution that was asked for is not there."""


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
