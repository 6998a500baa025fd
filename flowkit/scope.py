"""What a node sees while it runs.

May import `flow`, `jsonlogic`, `template`, `execution`, `contacts`, `errors`, `wire`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from itertools import repeat
from typing import Any

from flowkit.contacts import overlaid
from flowkit.errors import NodeFailed
from flowkit.execution import Branch, Execution, NodeRun, Received, idempotency_key
from flowkit.flow import Flow
from flowkit.jsonlogic import evaluate, truthy
from flowkit.shape import ROUNDS
from flowkit.template import render
from flowkit.wire import iso


class Scope:
    """The time, the contact and the data of a branch, for the nodes that it runs in a row.

    Its driver sets `key` before each node and calls `passed` after it, so that what was
    gathered for one node need not be gathered again for the next.
    """

    __slots__ = ("_branch", "_contact", "_data", "_flow", "_head", "_runs", "key", "now")

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
        self._contact: dict[str, Any] | None = None
        self.key = ""
        self.now = now

    @property
    def contact(self) -> dict[str, Any] | None:
        """The contact as it was when the execution started, with what the branch has changed.

        The results of the nodes on its path that change contacts say what each was changed to, so
        that the values that were used are on record.
        """
        if self._contact is None:
            self._contact = self._head.context.get("contact")
            for run in self._seen():
                changes = self._flow.behaviour(run.node_id).changes_contact
                if changes and run.status == "completed" and run.result:
                    self._contact = overlaid(self._contact, run.result)
        return self._contact

    @property
    def round(self) -> int:
        """The round of the loop that would begin now, at a REPEAT; 1 is the first."""
        return (self._flow.shape.visit(self._branch.path) - 1) % ROUNDS + 1

    @property
    def contact_id(self) -> str | None:
        """The contact's stable identity."""
        return self._head.contact_id

    @property
    def execution_id(self) -> str:
        """The execution's id."""
        return self._head.id

    @property
    def flow_id(self) -> str:
        """The flow's id."""
        return self._head.flow_id

    @property
    def node_id(self) -> str:
        """The id of the node at which the branch is."""
        return self._branch.current_node_id

    @property
    def time_zone(self) -> str | None:
        """The zone of the flow's settings."""
        zone = self._flow.settings.get("timeZone")
        return zone if isinstance(zone, str) else None

    def evaluate(self, logic: Any) -> Any:
        """Return the value of a JSONLogic expression over the scope."""
        return evaluate(logic, self._scope())

    def fits(self, logic: Any, event: Received | None = None) -> bool:
        """Return whether a condition holds, with an event; one that cannot be applied does not."""
        if logic is None:
            return True
        try:
            return truthy(evaluate(logic, self.facts(event)))
        except NodeFailed:  # events come in any shape
            return False

    def facts(self, event: Received | None = None) -> dict[str, Any]:
        """Return what a condition sees, with an event."""
        return self._scope() if event is None else self._scope() | {"event": event.payload}

    def render(self, template: str) -> str:
        """Return the text of a Liquid template over the scope."""
        return render(template, self._scope())

    def passed(self, run: NodeRun) -> None:
        """Take in what a node's run left behind for the nodes after it."""
        if self._data is not None:
            self._data["nodes"][run.node_id] = run.result or {}
            self._data["vars"] = self._branch.vars

    def _seen(self) -> Iterator[NodeRun]:
        """Yield the runs on the branch's path, in its order."""
        path = self._branch.path
        visits = self._flow.shape.visits(path) if self._flow.shape.around else repeat(1)
        for at in zip(path, visits, strict=False):
            run = self._runs.get(idempotency_key(self._head.id, *at))
            if run is not None:
                yield run

    def _scope(self) -> dict[str, Any]:
        if self._data is None:
            head = self._head
            self._data = {
                "contact": self.contact or {},
                "trigger": head.context.get("trigger"),
                "vars": self._branch.vars,
                "nodes": {run.node_id: run.result or {} for run in self._seen()},
                "flow": flow_facts(self._flow),
                "execution": {
                    "id": head.id,
                    "flowVersion": head.flow_version,
                    "createdAt": iso(head.created_at),
                },
                "now": iso(self.now),
            }
        return self._data


def flow_facts(flow: Flow) -> dict[str, Any]:
    """Return what expressions and templates see as ``flow``."""
    return {"id": flow.id, "name": flow.name, "triggerType": flow.trigger_type}
