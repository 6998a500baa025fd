"""Flows, payloads and executions for tests: some fixed, some drawn by Hypothesis.

May import the core of `flowkit` and Hypothesis.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

import flowkit
from flowkit import engine
from flowkit.execution import Execution
from flowkit.flow import Flow
from flowkit.nodetype import NodeType, Outcome, example

EPOCH = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
"""The moment at which tests begin."""


SIMPLE = Flow.from_dict(
    {
        "id": "flow",
        "name": "Simple",
        "triggerType": "test",
        "isActive": True,
        "version": 1,
        "nodes": [
            {"id": "start", "type": "TRIGGER", "config": {}},
            {"id": "hello", "type": "SEND_MESSAGE", "config": {"kind": "text", "text": "Hello"}},
            {"id": "end", "type": "END", "config": {}},
        ],
        "edges": [
            {"id": "e0", "source": "start", "target": "hello"},
            {"id": "e1", "source": "hello", "target": "end"},
        ],
        "createdAt": "2026-01-05T09:00:00.000Z",
        "updatedAt": "2026-01-05T09:00:00.000Z",
    }
)


JOINED = Flow.from_dict(
    {
        "id": "flow",
        "name": "Six branches and a JOIN",
        "triggerType": "test",
        "isActive": True,
        "version": 1,
        "nodes": [
            {"id": "start", "type": "TRIGGER", "config": {}},
            *(
                {"id": f"n{i}", "type": "CONDITION", "config": {"expression": True}}
                for i in range(6)
            ),
            {"id": "join", "type": "JOIN", "config": {}},
            {"id": "end", "type": "END", "config": {}},
        ],
        "edges": [
            *({"id": f"a{i}", "source": "start", "target": f"n{i}"} for i in range(6)),
            *(
                {"id": f"{way}{i}", "source": f"n{i}", "sourceHandle": way, "target": target}
                for i in range(6)
                for way, target in (("true", "join"), ("false", "end"))
            ),
            {"id": "last", "source": "join", "target": "end"},
        ],
    }
)


def example_of(cls: type[NodeType]) -> Flow:
    """Return the flow of a node type's example.

    Raises
    ------
    ValueError
        When the docstring has no example, or the example makes no ``flow`` with such a node.
    """
    names: dict[str, Any] = {"fk": flowkit, "__name__": cls.__module__}
    exec(example(cls) or "", names)
    flow = names.get("flow")
    if not isinstance(flow, Flow) or cls.type not in {node.type for node in flow.nodes}:
        message = f"the docstring of {cls.__qualname__} shows no `flow` with a {cls.type}"
        raise ValueError(message)
    return flow


def started(number: int, *, flow: Flow = SIMPLE, now: datetime = EPOCH) -> list[Execution]:
    """Return `number` fresh executions of a flow, a millisecond apart."""
    payload = {"contact": {"id": "c1", "phone": "+5511999990000"}, "coin": True}
    executions = [
        engine.start(flow, payload, execution_id=f"x{i:06}", now=now + timedelta(milliseconds=i))
        for i in range(number)
    ]
    return [execution for execution in executions if execution is not None]


@st.composite
def flows(draw: st.DrawFn, *, timeouts: bool = True) -> Flow:
    """Draw small valid flows: messages, delays, waits, conditions, forks, JOINs and convergence.

    Without `timeouts` no JOIN has one, and nobody waits for an event, so that the way does not
    depend on when work is done.
    """
    nodes: list[dict[str, Any]] = [{"id": "start", "type": "TRIGGER", "config": {}}]
    edges: list[dict[str, Any]] = []
    ends = draw(st.sampled_from([("end",), ("meet", "meet", "pause", "end")]))
    steps = STEPS if timeouts else tuple(step for step in STEPS if step != "WAIT_FOR_EVENT")
    joins = [config for config in CONFIGS["JOIN"] if timeouts or "timeout" not in config]

    def node(type_: str, config: dict[str, Any]) -> str:
        nodes.append({"id": f"n{len(nodes)}", "type": type_, "config": config})
        return str(nodes[-1]["id"])

    def edge(source: str, handle: str | None, target: str) -> None:
        edges.append(
            {"id": f"e{len(edges)}", "source": source, "target": target, "sourceHandle": handle}
        )

    def grow(source: str, handle: str | None, depth: int, ends: tuple[str, ...] = ends) -> None:
        kind = draw(st.sampled_from(steps[source == "start" :] if depth else ("END",)))
        if kind == "END":
            edge(source, handle, draw(st.sampled_from(ends)))
        elif kind == "FORK":
            for _ in range(draw(st.integers(2, 3))):
                grow(source, handle, depth - 1, ends)
        elif kind == "GATHER":
            here = node("JOIN", dict(draw(st.sampled_from(joins))))
            fork = node("CONDITION", {"expression": True})  # of its own: no fork has two JOINs
            edge(source, handle, fork)
            edge(fork, "false", "end")
            for _ in range(draw(st.integers(2, 3))):
                grow(fork, "true", depth - 1, (here, here, here, "end"))
            if all(e["target"] != here for e in edges):
                edge(fork, "true", here)
            if "timeout" in nodes[int(here[1:])]["config"]:
                grow(here, "timeout", 0, ends)
            grow(here, None, depth - 1, ends)
        elif kind == "RACE":
            for _ in range(draw(st.integers(2, 3))):
                here = node("CONDITION", {"expression": True})
                edge(source, handle, here)
                edge(here, "true", "meet")
                edge(here, "false", "end")
        elif kind == "CONDITION":
            test = {"==": [{"var": "trigger.coin"}, draw(st.booleans())]}
            here = node("CONDITION", {"expression": test})
            edge(source, handle, here)
            grow(here, "true", depth - 1, ends)
            grow(here, "false", depth - 1, ends)
        elif kind == "WAIT_FOR_EVENT":
            config = dict(draw(st.sampled_from(CONFIGS[kind])))
            here = node(kind, config)
            edge(source, handle, here)
            for way in ("received", "timeout") if "timeout" in config else ("received",):
                grow(here, way, depth - 1, ends)
        else:
            here = node(kind, dict(draw(st.sampled_from(CONFIGS[kind]))))
            edge(source, handle, here)
            grow(here, None, depth - 1, ends)

    grow("start", None, 3)
    if any(e["target"] == "pause" for e in edges):
        nodes.append({"id": "pause", "type": "DELAY", "config": CONFIGS["DELAY"][0]})
        edge("pause", None, "meet")
    if any(e["target"] == "meet" for e in edges):
        nodes.append({"id": "meet", "type": "SEND_MESSAGE", "config": CONFIGS["SEND_MESSAGE"][0]})
        edge("meet", None, "end")
    nodes.append({"id": "end", "type": "END", "config": {}})
    # Two edges of one handle into one node say nothing that one does not.
    distinct = {(e["source"], e["sourceHandle"], e["target"]): e for e in edges}
    return Flow.from_dict(
        {
            "id": "flow",
            "name": "drawn",
            "triggerType": "test",
            "isActive": True,
            "version": 1,
            "nodes": nodes,
            "edges": list(distinct.values()),
        }
    )


STEPS = (
    *("END", "FORK", "FORK", "GATHER", "GATHER", "RACE", "CONDITION"),
    *("SEND_MESSAGE", "SEND_MESSAGE", "DELAY", "WAIT_FOR_EVENT"),
)
CONFIGS: dict[str, list[dict[str, Any]]] = {
    "SEND_MESSAGE": [
        {"kind": "text", "text": "Hello"},
        {"kind": "text", "text": "Hello", "onUnknown": "resend"},
        {"kind": "text", "text": "Hello", "retry": {"maximumAttempts": 2, "initialInterval": 31}},
        {"kind": "text", "text": "{{ vars.nothing }}"},
    ],
    "WAIT_FOR_EVENT": [
        {"event": "paid", "timeout": {"amount": 5, "unit": "seconds"}},
        {"event": "paid", "timeout": {"amount": 1, "unit": "days"}},
        {"event": "paid", "never": True, "match": {"==": [{"var": "event"}, 1]}},
    ],
    "JOIN": [
        {},
        {"mode": "any"},
        {"mode": "atLeast", "number": 2},
        {"timeout": {"amount": 5, "unit": "seconds"}},
        {"timeout": {"amount": 1, "unit": "days"}},
    ],
    "DELAY": [{"amount": 5, "unit": "seconds"}, {"amount": 1, "unit": "days"}],
}

PAYLOADS: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    dict[str, st.SearchStrategy[Any]](
        contact=st.just({"id": "c1", "phone": "+5511999990000"}), coin=st.booleans()
    ),
    optional={
        "free": st.dictionaries(
            st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
            st.one_of(st.none(), st.integers(), st.text(max_size=8), st.just({}), st.just([])),
            max_size=3,
        )
    },
)
OUTCOMES = st.sampled_from(
    [
        Outcome("completed", result={"messageId": "wamid.1"}),
        Outcome("completed", result={"messageId": "wamid.1"}),
        Outcome("failed", error={"code": "whatsapp_131026", "message": "no", "transient": False}),
        Outcome("failed", error={"code": "whatsapp_2", "message": "later", "transient": True}),
        Outcome("unknown", error={"code": "outcome_unknown", "message": "?", "transient": False}),
    ]
)
