"""What a trial tells: decisions of nodes and events that came, as data and in words.

Owns the words. May import `engine`, `execution`, `flow`, `inbox`, `jsonlogic`, `nodetype`,
`scope`, `wire`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flowkit.engine import Received
from flowkit.execution import Execution, run_at
from flowkit.flow import Flow
from flowkit.inbox import awaiting
from flowkit.jsonlogic import evaluate
from flowkit.nodetype import Arrive, Await, Effect, Next, Outcome, Wait
from flowkit.scope import Scope
from flowkit.wire import iso


@dataclass(frozen=True, slots=True)
class Decision:
    """What a node decided, and why.

    `saw` are the rules that it looked at: ``{"rule", "values", "gave"}`` for a condition,
    ``{"template", "gave"}`` for a text.
    """

    at: datetime
    branch_id: str
    node_id: str
    type: str
    saw: tuple[dict[str, Any], ...]
    decided: str

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON data."""
        return {
            "at": iso(self.at),
            "branchId": self.branch_id,
            "nodeId": self.node_id,
            "type": self.type,
            "saw": list(self.saw),
            "decided": self.decided,
        }

    def __str__(self) -> str:
        first = f"{iso(self.at)}  {self.node_id} ({self.type}): {self.decided}"
        return "\n".join([first, *_rules(self.saw)])


@dataclass(frozen=True, slots=True)
class Heard:
    """An event that came, and what it did.

    `saw` are the conditions that it was held against, as those of a `Decision`.
    """

    at: datetime
    event: str
    payload: Any
    saw: tuple[dict[str, Any], ...]
    did: str

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON data."""
        return {
            "at": iso(self.at),
            "event": self.event,
            "payload": self.payload,
            "saw": list(self.saw),
            "did": self.did,
        }

    def __str__(self) -> str:
        return "\n".join([f"{iso(self.at)}  event {self.event}: {self.did}", *_rules(self.saw)])


def _rules(saw: tuple[dict[str, Any], ...]) -> Iterator[str]:
    for seen in saw:
        if "rule" in seen:
            values = ", ".join(f"{k} = {_shown(v)}" for k, v in seen["values"].items())
            rule = f"    {_shown(seen['rule'])} gave {_shown(seen['gave'])}"
            yield rule + (f", where {values}" if values else "")
        elif "{" in seen["template"]:
            yield f"    {seen['template']!r} gave {seen['gave']!r}"


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def told_of(said: Any) -> str:
    """Return a decision in words."""
    by = getattr(said, "handle", None)
    way = f" by {by!r}" if by is not None else ""
    if isinstance(said, Next):
        result = f" with {_shown(said.result)}" if said.result else ""
        ends = ", and ends the execution" if said.ends else ""
        return f"goes on{way}{result}{ends}"
    if isinstance(said, Wait):
        return f"waits until {iso(said.until)}, then goes on{way}"
    if isinstance(said, Await):
        until = "for ever" if said.until is None else f"until {iso(said.until)}"
        return f"waits for {said.event} {until}"
    if isinstance(said, Effect):
        return f"asks for {said.kind}: {_shown(said.request)}"
    if isinstance(said, Arrive):
        return "ends the branch"
    if isinstance(said, Exception):
        return f"fails: {said}"
    return str(said)


class Looking:
    """A scope that writes down what a node looks at."""

    def __init__(self, scope: Any) -> None:
        self._scope = scope
        self.saw: list[dict[str, Any]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._scope, name)

    def evaluate(self, logic: Any) -> Any:
        """Return the value of a JSONLogic expression over the scope."""
        gave = self._scope.evaluate(logic)
        values = {
            path: self._scope.evaluate({"var": path}) for path in dict.fromkeys(_paths(logic))
        }
        self.saw.append({"rule": logic, "values": values, "gave": gave})
        return gave

    def render(self, template: str) -> str:
        """Return the text of a Liquid template over the scope."""
        gave: str = self._scope.render(template)
        self.saw.append({"template": template, "gave": gave})
        return gave


def _paths(logic: Any) -> Iterator[str]:
    """Yield the paths that an expression names."""
    if isinstance(logic, list):
        for item in logic:
            yield from _paths(item)
    elif isinstance(logic, dict):
        for name, operands in logic.items():
            listed = operands if isinstance(operands, list) else [operands]
            if name == "var" and listed and isinstance(listed[0], str):
                yield listed[0]
                listed = listed[1:]
            yield from _paths(listed)


def ended_of(outcome: Outcome) -> str:
    """Return in words how an internal effect has ended."""
    if outcome.status == "suppressed":
        return f"is suppressed: {_shown(outcome.result)}"
    if outcome.status != "completed":
        return f"{outcome.status}: {_shown(outcome.error)}"
    until = "" if outcome.until is None else f", waits until {iso(outcome.until)}"
    return f"is done: {_shown(outcome.result)}{until}"


def heard_of(
    flow: Flow,
    before: Execution,
    event: Received,
    after: Execution | None,
    now: datetime,
    names: str = "",
) -> Heard:
    """Return what an event did to an execution, and why.

    Parameters
    ----------
    flow : Flow
        Whose execution it is.
    before, after : Execution, Execution or None
        The execution without and with the event; None when it was not concerned.
    event : Received
        What came.
    now : datetime
        When.
    names : str, optional
        What stands before the names of the flow's nodes.
    """
    did, saw = "nobody listens for it", []
    if before.ended_at is not None:
        did = "comes too late: the execution is over"
    elif event.type in flow.listens:
        saw = list(_held(flow, before, event, now))
        did = "is kept, for nobody waits for it now" if after is not None else "has no room"
    if after is not None and after.ended_by is not None:
        did = f"ends the execution: {why(after.ended_by)}"
    elif after is not None:
        known = {run.idempotency_key: run.status for run in before.executed_nodes}
        woken = [
            names + run.node_id
            for run in after.executed_nodes
            if run.status == "completed" and known[run.idempotency_key] == "waiting"
        ]
        if woken:
            did = f"is what {' and '.join(woken)} waited for"
        elif saw:
            did = "is kept: it is not what anybody waits for"
    return Heard(now, event.type, event.payload, tuple(saw), did)


def why(ended_by: Mapping[str, Any]) -> str:
    """Return in words why an execution has ended early."""
    facts = {name: value for name, value in ended_by.items() if name != "reason" and value}
    return f"{ended_by['reason']} ({', '.join(f'{k}: {v}' for k, v in facts.items())})"


def _held(
    flow: Flow, execution: Execution, event: Received, now: datetime
) -> Iterator[dict[str, Any]]:
    """Yield the conditions that an event is held against: of settings, and of those who wait."""
    runs = {run.idempotency_key: run for run in execution.executed_nodes}
    for branch in execution.branches:
        scope = Scope(flow, execution, branch, runs, now)
        if branch is execution.branches[0]:
            for rule in flow.options.by_event():
                if rule.event == event.type and rule.when is not None:
                    yield _held_against(rule.when, scope, event)
        if branch.status == "waiting":
            run = run_at(branch, runs.values())
            step = awaiting(flow, branch, run, scope) if run is not None else None
            if step is not None and step.event == event.type and step.match is not None:
                yield _held_against(step.match, scope, event)


def _held_against(logic: Any, scope: Scope, event: Received) -> dict[str, Any]:
    gave = scope.fits(logic, event)
    facts = scope.facts(event)
    values = {path: evaluate({"var": path}, facts) for path in dict.fromkeys(_paths(logic))}
    return {"rule": logic, "values": values, "gave": gave}
