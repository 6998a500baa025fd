"""One contact's way through a flow, tried out: which messages go out when, and why.

Owns `test` for tests of flows, and what `Flow.explain` gives: the engine itself under a virtual
clock, with each node's decision written down, the rule and the values that led to it.
May import `course`, `engine`, `execution`, `flow`, `kin`, `nodetype`, `errors`, `problems`,
`watching`, `wire`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from flowkit import engine
from flowkit.course import Alone, Course, run
from flowkit.engine import Performance
from flowkit.errors import Invalid, NotFound
from flowkit.execution import Execution, NodeRun, run_order
from flowkit.flow import Flow
from flowkit.kin import unanswered
from flowkit.nodetype import Arrive, Effect, Next, Outcome, Wait
from flowkit.problems import Problem, errors
from flowkit.watching import watched
from flowkit.wire import cut, iso, parse_iso, to_ms

MESSAGE = "whatsapp.message"
NAME = "trial"
"""Id of the execution that is tried."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A message that went to the channel: from which node, when, and what it asked for."""

    node_id: str
    at: datetime
    request: dict[str, Any]
    attempt: int = 0

    @property
    def text(self) -> str | None:
        """The text, of a text message."""
        body: str | None = self.request.get("text", {}).get("body")
        return body


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
        lines = [f"{iso(self.at)}  {self.node_id} ({self.type}): {self.decided}"]
        for seen in self.saw:
            if "rule" in seen:
                values = ", ".join(f"{k} = {_shown(v)}" for k, v in seen["values"].items())
                rule = f"    {_shown(seen['rule'])} gave {_shown(seen['gave'])}"
                lines.append(rule + (f", where {values}" if values else ""))
            elif "{" in seen["template"]:
                lines.append(f"    {seen['template']!r} gave {seen['gave']!r}")
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Journey:
    """What happened to a contact.

    Attributes
    ----------
    started : bool
        False when the flow's filter said no; nothing happened then.
    execution : Execution or None
        Its record.
    messages : list of Sent
        What went to the channel, in the order of time; each attempt is one.
    decisions : list of Decision
        What each node decided, in the order of time.
    """

    execution: Execution | None
    messages: list[Sent]
    decisions: list[Decision]

    @property
    def started(self) -> bool:
        """Whether the flow was started at all."""
        return self.execution is not None

    @property
    def status(self) -> str | None:
        """Status of the execution at the end."""
        return None if self.execution is None else self.execution.status

    @property
    def sent(self) -> list[tuple[str, str]]:
        """Node and moment of each message: ``[("hello", "2026-12-01T09:00:00.000Z"), ...]``."""
        return [(message.node_id, iso(message.at)) for message in self.messages]

    @property
    def path(self) -> list[str]:
        """The nodes that ran, in order."""
        return [run.node_id for run in self._runs()]

    def run_of(self, node_id: str) -> NodeRun:
        """Return the run of a node.

        Raises
        ------
        NotFound
            When the contact did not come to it; the message says where it went.
        """
        for node_run in self._runs():
            if node_run.node_id == node_id:
                return node_run
        raise NotFound(f"the contact did not come to {node_id!r}, but to {', '.join(self.path)}")

    def _runs(self) -> list[NodeRun]:
        return (
            [] if self.execution is None else sorted(self.execution.executed_nodes, key=run_order)
        )

    def to_records(self) -> list[dict[str, Any]]:
        """Return the decisions as JSON data."""
        return [decision.to_dict() for decision in self.decisions]

    def __str__(self) -> str:
        if self.execution is None:
            return "The flow was not started: its filter does not hold for this contact."
        failures = [
            f"{r.node_id} failed: {(r.error or {}).get('message')}"
            for r in self._runs()
            if r.status == "failed"
        ]
        ending = f"The execution is {self.execution.status}."
        return "\n".join([*map(str, self.decisions), *failures, ending])


@dataclass(frozen=True)
class Trial:
    """A flow that is to be tried with a contact; each method returns another trial.

    Examples
    --------
    >>> from flowkit import Flow
    >>> from flowkit.trial import test
    >>> flow = Flow("Hi", trigger="signed_up").delay(hours=1).send(text="Hi!", id="hi").end()
    >>> contact = {"id": "c1", "phone": "+5511999990000"}
    >>> test(flow).with_contact(contact).at("2026-12-01T09:00Z").run().sent
    [('hi', '2026-12-01T10:00:00.000Z')]
    """

    flow: Flow
    contact: Mapping[str, Any] | None = None
    payload: Any = None
    start: datetime = datetime(2026, 1, 5, 9, tzinfo=UTC)
    end: datetime | None = None
    outcomes: Mapping[str, tuple[Outcome, ...]] = field(default_factory=dict)
    seconds: float = 0.0

    def with_contact(self, contact: Mapping[str, Any]) -> Trial:
        """Try it with this contact; the payload holds it unless another is given."""
        return replace(self, contact=dict(contact))

    def with_payload(self, payload: Any) -> Trial:
        """Start it with this payload; without a contact of its own the flow finds it there."""
        return replace(self, payload=payload)

    def at(self, moment: datetime | str) -> Trial:
        """Start it at a moment: aware, or ISO 8601 with its zone."""
        return replace(self, start=_moment(moment))

    def until(self, moment: datetime | str) -> Trial:
        """Look at a moment; to the end without."""
        return replace(self, end=_moment(moment))

    def taking(self, seconds: float) -> Trial:
        """Let every effect take so long; none takes any time without."""
        return replace(self, seconds=seconds)

    def failing(
        self,
        node_id: str,
        code: str = "refused",
        *,
        transient: bool = False,
        times: int | None = None,
    ) -> Trial:
        """Let the effect of a node fail, each time or so many times.

        Raises
        ------
        Invalid
            When the flow has no such node.
        """
        error = {"code": code, "message": f"the trial lets {node_id} fail", "transient": transient}
        failed = Outcome("failed", error=error)
        return self.ending(node_id, *([failed] if times is None else [failed] * times + [DONE]))

    def ending(self, node_id: str, *outcomes: Outcome) -> Trial:
        """Let the attempts of a node's effect end so, the last of them for all that follow.

        Raises
        ------
        Invalid
            When the flow has no such node.
        """
        if node_id not in {node.id for node in self.flow.nodes}:
            message = f"The flow has no node {node_id!r}."
            raise Invalid([Problem("trial.node", "/node", message)])
        return replace(self, outcomes={**self.outcomes, node_id: outcomes})

    def run(self) -> Journey:
        """Let it happen.

        Raises
        ------
        Invalid
            When the flow has errors or cannot be started so.
        """
        found = errors(self.flow.validate()) + [
            unanswered(node.id, f"by ending({node.id!r}, ...)")
            for node in self.flow.nodes
            if node.type == "SUBFLOW" and node.id not in self.outcomes
        ]
        if found:
            raise Invalid(found)
        flow = self.flow.replace(id=self.flow.id or NAME, version=self.flow.version or 1)
        payload = {"contact": self.contact} if self.payload is None else self.payload
        contact = None if self.contact is None else dict(self.contact)
        execution = engine.start(flow, payload, execution_id=NAME, now=self.start, contact=contact)
        journey = Journey(execution, [], [])
        if execution is None:
            return journey
        course = _Watched(flow, execution, journey.decisions)
        end = None if self.end is None else to_ms(self.end)

        def answers(_: Course, performance: Performance, now: int) -> tuple[Outcome, int]:
            node_id = course.node_of(performance.branch_id)
            effect, at = performance.effect, self.start + timedelta(milliseconds=now - begun)
            if effect.kind == MESSAGE:
                sent = Sent(node_id, at, effect.request, performance.attempt)
                journey.messages.append(sent)
            known = self.outcomes.get(node_id, (DONE,))
            outcome = known[min(performance.attempt, len(known) - 1)]
            if outcome is DONE and effect.kind == MESSAGE:
                outcome = Outcome("completed", result={"messageId": f"trial.{performance.key}"})
            return outcome, now + round(self.seconds * 1000)

        begun = to_ms(cut(self.start))
        run([(course, begun)], answers, end)
        return replace(journey, execution=course.execution)


DONE = Outcome("completed")


def test(flow: Flow) -> Trial:
    """Return a trial of a flow, for tests: ``test(flow).with_contact({...}).run().sent``."""
    return Trial(flow)


test.__test__ = False  # type: ignore[attr-defined]  # pytest is not to take it for a test


def explain(
    flow: Flow, contact: Mapping[str, Any], *, at: datetime | str | None = None, payload: Any = None
) -> Journey:
    """Return what happens to a contact and why; see `Flow.explain`."""
    trial = test(flow).with_contact(contact).with_payload(payload)
    return (trial if at is None else trial.at(at)).run()


def _moment(moment: datetime | str) -> datetime:
    try:
        return parse_iso(moment) if isinstance(moment, str) else cut(moment)
    except ValueError as error:
        message = f"{moment!r} is no moment: give an aware datetime or ISO 8601 with its zone."
        raise Invalid([Problem("trial.time", "/at", message)]) from error


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


class _Watched:
    """A course on which each decision is written down."""

    index = 0

    def __init__(self, flow: Flow, execution: Execution, decisions: list[Decision]) -> None:
        self._flow = flow
        self._decisions = decisions
        self._ended: str | None = None
        self._alone = Alone(0, watched(flow, self.asked), execution)

    @property
    def execution(self) -> Execution:
        """The record."""
        return self._alone.execution

    def node_of(self, branch_id: str) -> str:
        """Return where a branch is."""
        branches = self.execution.branches
        return next(b.current_node_id for b in branches if b.branch_id == branch_id)

    def step(
        self, branch_id: str, outcome: Outcome | None, now: int
    ) -> tuple[list[Performance], list[tuple[str, int]]]:
        """See `Course`."""
        # Of a failed effect the engine asks its policies: that is no decision.
        self._ended = None if outcome is None else self.node_of(branch_id)
        return self._alone.step(branch_id, outcome, now)

    def asked(self, node_id: str, scope: Any) -> Any:
        """Let a node decide, and write it down."""
        node = self._flow.behaviour(node_id)
        look = _Looking(scope)
        said: Any = None
        try:
            said = node.run(look)
            return said
        except Exception as failure:
            said = failure
            raise
        finally:
            if node_id != self._ended:
                branch_id = scope._branch.branch_id
                self._decisions.append(
                    Decision(scope.now, branch_id, node_id, node.type, tuple(look.saw), _told(said))
                )


def _told(said: Any) -> str:
    """Return a decision in words."""
    by = getattr(said, "handle", None)
    way = f" by {by!r}" if by is not None else ""
    if isinstance(said, Next):
        result = f" with {_shown(said.result)}" if said.result else ""
        return f"goes on{way}{result}"
    if isinstance(said, Wait):
        return f"waits until {iso(said.until)}, then goes on{way}"
    if isinstance(said, Effect):
        return f"asks for {said.kind}: {_shown(said.request)}"
    if isinstance(said, Arrive):
        return "ends the branch"
    if isinstance(said, Exception):
        return f"fails: {said}"
    return str(said)


class _Looking:
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
