"""Creating executions under their flows' entry policies.

May import `flowkit` and `service.store.base`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from flowkit.entry import refusal_of
from flowkit.execution import Execution
from flowkit.flow import Flow
from flowkit.problems import Problem
from service.store.base import Store


def create(
    store: Store, version: Callable[[str, int], Flow], executions: Sequence[Execution]
) -> dict[str, Problem]:
    """Create those executions that may enter their flow and are not there yet.

    Parameters
    ----------
    store : Store
        Where they are created.
    version : callable
        Returns a flow's published version, the one that says who may enter.
    executions : sequence of Execution
        Those to create.

    Returns
    -------
    dict
        By id, why the others were not created.
    """
    flows = {e.flow_id: version(e.flow_id, e.flow_version) for e in executions}
    entry = {
        flow_id: flow.options.entry
        for flow_id, flow in flows.items()
        if flow.options.entry.policy != "always"
    }
    refused = store.create(executions, absent=True, entry=entry)
    return {
        e.id: Problem(
            "entry.refused",
            "",
            refusal_of(flows[e.flow_id], e),
            "warning",
        )
        for e in executions
        if e.id in refused
    }
