"""What a node sees while it runs.

May import `flow`, `jsonlogic`, `template`, `execution`, `wire`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from flowkit.execution import Branch, Execution, NodeRun, idempotency_key
from flowkit.flow import Flow
from flowkit.jsonlogic import evaluate
from flowkit.template import render
from flowkit.wire import iso


class Scope:
    """The time, the contact and the data of a branch, for the nodes that it runs in a row.

    Its driver sets `key` before each node and calls `passed` after it, so that what was
    gathered for one node need not be gathered again for the next.
    """

    __slots__ = ("_branch", "_data", "_flow", "_head", "_runs", "key", "now")

    def __init__(
        self,
        flow: Flow,
        head: Execution,
        branch: Branch,
        runs: Mapping[str, NodeRun],
        now: datetime,
    ) -> None:
        self._flow = flow
        self._head = head
        self._branch = branch
        self._runs = runs
        self._data: dict[str, Any] | None = None
        self.key = ""
        self.now = now

    @property
    def contact(self) -> dict[str, Any] | None:
        """The contact as it was when the execution started."""
        return self._head.context.get("contact")

    @property
    def round(self) -> int:
        """The round of the loop that would begin now, at a REPEAT; 1 is the first.

        It counts since the branch came to the loop from outside, as the path says.
        """
        node_id, path = self._branch.current_node_id, self._branch.path
        body = self._flow.shape.bodies.get(node_id, frozenset())
        rounds = 0
        for index in range(len(path) - 1, -1, -1):
            if path[index] == node_id:
                rounds += 1
                if not index or path[index - 1] not in body:
                    break
        return rounds

    def evaluate(self, logic: Any) -> Any:
        """Return the value of a JSONLogic expression over the scope."""
        return evaluate(logic, self._scope())

    def render(self, template: str) -> str:
        """Return the text of a Liquid template over the scope."""
        return render(template, self._scope())

    def passed(self, run: NodeRun) -> None:
        """Take in what a node's run left behind for the nodes after it."""
        if self._data is not None:
            self._data["nodes"][run.node_id] = run.result or {}
            self._data["vars"] = self._branch.vars

    def _scope(self) -> dict[str, Any]:
        if self._data is None:
            head = self._head
            seen = (self._last_run(*item) for item in Counter(self._branch.path).items())
            self._data = {
                "contact": self.contact or {},
                "trigger": head.context.get("trigger"),
                "vars": self._branch.vars,
                "nodes": {run.node_id: run.result or {} for run in seen if run is not None},
                "flow": flow_facts(self._flow),
                "execution": {
                    "id": head.id,
                    "flowVersion": head.flow_version,
                    "createdAt": iso(head.created_at),
                },
                "now": iso(self.now),
            }
        return self._data

    def _last_run(self, node_id: str, visits: int) -> NodeRun | None:
        """Return the run of the latest visit; that before, while a visit is under way."""
        run = self._runs.get(idempotency_key(self._head.id, node_id, visits))
        if run is None and visits > 1:
            run = self._runs.get(idempotency_key(self._head.id, node_id, visits - 1))
        return run


def flow_facts(flow: Flow) -> dict[str, Any]:
    """Return what expressions and templates see as ``flow``."""
    return {"id": flow.id, "name": flow.name, "triggerType": flow.trigger_type}
