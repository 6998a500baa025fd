"""The proofs: each by examples, and all of them held against the engine."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowkit import contact, results, trigger, variables
from flowkit.errors import NodeFailed
from flowkit.flow import Flow
from flowkit.jsonlogic import evaluate, truthy
from flowkit.nodes.logic import Case, Switch
from flowkit.nodetype import node_types, read_node
from flowkit.validate.arrivals import arrivals
from flowkit.validate.decisions import _findings
from flowkit.validate.finding import FINDINGS
from flowkit.validate.window import CLOSING, DAY
from tests.engine.driver import PAYLOAD, World
from tests.sdk.strategies import behaviours, json_values

HOUR = timedelta(hours=1)


def start(trigger_type: str = "whatsapp.message") -> Flow:
    return Flow("Proofs", trigger=trigger_type)


def codes(flow: Flow) -> list[str]:
    return [problem.code for problem in flow.validate()]


def ways_of(flow: Flow) -> list[tuple[str, str]]:
    return [(p.code, p.path.partition("/config")[2]) for p in flow.validate()]


# --- decisions --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (contact.age > 5, None),
        ((contact.age > 5) & (contact.age < 3), "decision.never"),
        ((contact.age > 5) & (contact.age < 7), None),
        ((contact.age > 5) | (contact.age <= 5), None),  # neither where it is missing
        ((contact.country == "BR") & (contact.country == "US"), "decision.never"),
        ((contact.country == "BR") | (contact.country != "BR"), "decision.always"),
        (contact.country.is_in(["BR", "US"]) & (contact.country == "AR"), "decision.never"),
        (contact.country.is_in(["BR", "US"]) & (contact.country == "US"), None),
        ((contact.name >= "b") & (contact.name < "a"), "decision.never"),
        ((contact.name >= "a") & (contact.name < "b"), None),
        ((contact.code > "7") & (contact.code < 100), None),  # a text is among both
        ((contact.a > 1) & (trigger.b > 2), None),
        ((contact.a > 1) & (trigger.b > 2) & ~(contact.a > 0), "decision.never"),
        (contact.tags.contains("vip") & ~contact.tags.contains("vip"), "decision.never"),
        ({"==": [1, 2]}, "decision.never"),
        ({"<": [{"+": [1, 1]}, 3]}, "decision.always"),
        (True, "decision.always"),
        ({"and": [False, {">": [{"+": [{"var": "contact.a"}, 1]}, 2]}]}, "decision.never"),
        (contact.age > True, "decision.types"),
        ((contact == None) & (contact.age > 5) & (contact.age < 3), None),  # noqa: E711
        ({"==": [{"var": "contact.a"}, {"var": "contact.b"}]}, None),
    ],
)
def test_conditions(condition: Any, expected: str | None) -> None:
    flow = start().when(condition, then=lambda b: b.delay(hours=1)).end()
    assert codes(flow) == ([expected] if expected else [])


def test_cases_that_others_leave_nothing_to() -> None:
    spent = trigger.total
    flow = start().switch({"some": spent > 10, "much": spent > 100, "none": spent <= 10}).end()
    assert ways_of(flow) == [("decision.shadowed", "/cases/1/expression")]
    flow = start().switch({"much": spent > 100, "some": spent > 10, "none": spent <= 10}).end()
    assert ways_of(flow) == []
    flow = start().switch({"all": True, "none": contact.vip}).end()
    assert ways_of(flow) == [("decision.shadowed", "/cases/1/expression")]


atoms = st.builds(
    lambda op, path, value, turned: {
        op: [value, {"var": path}] if turned else [{"var": path}, value]
    },
    st.sampled_from(["==", "!=", "===", "!==", "<", "<=", ">", ">="]),
    st.sampled_from(["contact.a", "contact.b"]),
    st.sampled_from([0, 1, 5, 5.5, -2, "", "5", "a", "b", " 5", True, False, None]),
    st.booleans(),
)
comparisons = st.recursive(
    atoms | st.just({"in": [{"var": "contact.a"}, [1, "a", 5]]}) | st.just({"+": [{"var": "c"}]}),
    lambda inner: st.builds(lambda op, x: {op: x}, st.sampled_from(["and", "or"]),
                            st.lists(inner, min_size=1, max_size=3))
    | st.builds(lambda x: {"!": x}, inner),
    max_leaves=5,
)  # fmt: skip


@given(
    logics=st.lists(comparisons, min_size=1, max_size=3),
    data=st.lists(
        st.fixed_dictionaries(
            {
                name: json_values | st.sampled_from([0, 5, 6, 5.2, "5", " 5 ", "a", "ab", None])
                for name in ("a", "b")
            }
        ),
        min_size=5,
        max_size=20,
    ),
)
def test_no_data_belies_what_is_found_of_decisions(
    logics: list[Any], data: list[dict[str, Any]]
) -> None:
    switch = Switch(cases=[Case(id=f"c{n}", expression=x) for n, x in enumerate(logics)])
    found = {(place, finding.code) for place, finding, _ in _findings(switch.decides())}

    def taken(scope: Any) -> int | None:
        for number, logic in enumerate(logics):
            try:
                if truthy(evaluate(logic, scope)):
                    return number
            except NodeFailed:
                return None
        return None

    for contact_ in data:
        number = taken({"contact": contact_, "c": 1})
        said = {code for place, code in found if place == f"/cases/{number}/expression"}
        assert said <= {"decision.always"}


# --- references -------------------------------------------------------------------------------


def test_what_is_read_before_it_is_set() -> None:
    def set_x(b: Any) -> Any:
        return b.set_variable({"x": 1})

    read = {"y": variables.x}
    assert ways_of(start().set_variable({"x": 1}).set_variable(read).end()) == []
    assert ways_of(start().set_variable(read).end()) == [("reference.never_set", "/values/y")]
    some = start().when(contact.vip, then=set_x)
    assert ways_of(some.set_variable(read).end()) == [("reference.maybe_unset", "/values/y")]
    both = start().when(contact.vip, then=set_x, otherwise=set_x)
    assert ways_of(both.set_variable(read).end()) == []
    assert ways_of(some.when(variables.x.exists(), then=lambda b: b.delay(days=1)).end()) == []
    assert ways_of(some.send(text="{{ vars.x | default: 'you' }}").end()) == []
    assert ways_of(some.send(text="{{ vars.x }}").end()) == [("reference.maybe_unset", "/text")]


def test_results_of_nodes_that_are_not_before() -> None:
    flow = start().send(text="Hi", id="hi")
    assert ways_of(flow.when(results.hi.messageId.exists(), then=lambda b: b.end()).end()) == []
    wrong = flow.delay(minutes=1).send(text="{{ nodes.ho.messageId }}").end()
    (problem,) = wrong.validate()
    assert (problem.code, problem.severity) == ("reference.never_set", "warning")
    assert problem.message.startswith("There is no node 'ho'")


# --- times and the window ---------------------------------------------------------------------


def test_times_and_the_worst_case() -> None:
    flow = (
        start()
        .when(contact.vip, then=lambda b: b.delay(hours=1), otherwise=lambda b: b.delay(days=2))
        .sending_window("09:00", "18:00")
        .end()
    )
    times = {t.node_id: (t.earliest, t.latest) for t in flow.timing()}
    assert times["sending_window_1"] == (HOUR, 48 * HOUR)
    assert times["end_1"] == (HOUR, (48 + 24 + 2) * HOUR)
    assert Flow.from_dict({"nodes": [], "edges": []}).timing() == []


@pytest.mark.parametrize(
    ("trigger_type", "hours", "expected"),
    [
        ("whatsapp.message", 23, []),
        ("whatsapp.message.text", 23, []),
        ("whatsapp.messages", 23, ["window.may_be_closed"]),
        ("whatsapp.message", 23.9, ["window.may_be_closed"]),
        ("whatsapp.message", 24, ["window.closed"]),
        ("signed_up", 1, ["window.may_be_closed"]),
        ("signed_up", 24, ["window.closed"]),
    ],
)
def test_the_window(trigger_type: str, hours: float, expected: list[str]) -> None:
    assert codes(start(trigger_type).delay(hours=hours).send(text="Hi").end()) == expected
    template = start(trigger_type).delay(hours=hours).send(template="hi", language="pt_BR").end()
    assert codes(template) == []


def test_the_window_where_ways_meet() -> None:
    flow = start().when(contact.vip, then=lambda b: b.delay(days=1)).send(text="Hi", id="hi").end()
    assert codes(flow) == ["window.may_be_closed"]
    assert {t.node_id: t.window for t in flow.timing()}["hi"] == "may be closed"


def test_a_config_that_cannot_be_read_stops_the_proofs_behind_it() -> None:
    document = start().delay(hours=1, id="d").delay(days=3).send(text="Hi").end().to_dict()
    (node,) = [node for node in document["nodes"] if node["id"] == "d"]
    node["config"] = {}
    flow = Flow.from_dict(document)
    assert {code for code in codes(flow) if not code.startswith("config.")} == set()
    assert [t.node_id for t in flow.timing()] == ["trigger_1", "d"]


def test_findings_are_documented_and_advice() -> None:
    assert all(f.meaning.endswith(".") and f.code == code for code, f in FINDINGS.items())


# --- against the engine -----------------------------------------------------------------------


@st.composite
def journeys(draw: Callable[..., Any]) -> Flow:
    """Flows of delays, conditions on the payload, free texts and forks, which may converge."""
    kinds: dict[str, Callable[[], tuple[str, dict[str, Any]]]] = {
        "d": lambda: ("DELAY", {"amount": draw(st.sampled_from([1, 7, 13])), "unit": "hours"}),
        "w": lambda: ("DELAY_DAYS", {"days": draw(st.integers(1, 2)), "at": "09:30"}),
        "m": lambda: ("SEND_MESSAGE", {"kind": "text", "text": "Hi"}),
        "c": lambda: ("CONDITION", {"expression": {"var": f"trigger.c{len(nodes)}"}}),
        "s": lambda: ("SENDING_WINDOW", {"opens": "09:00", "closes": "18:00", "mode": "defer"}),
    }
    nodes: list[dict[str, Any]] = [{"id": "t", "type": "TRIGGER", "config": {}}]
    for kind in draw(st.lists(st.sampled_from("ddwmmccs"), min_size=1, max_size=7)):
        type_, config = kinds[kind]()
        nodes.append({"id": f"{kind}{len(nodes)}", "type": type_, "config": config})
    order = [*(node["id"] for node in nodes), "e"]
    edges: list[dict[str, Any]] = []
    for place, name in enumerate(order[:-1]):
        for handle in ("true", "false") if name[0] == "c" else (None,):
            few = st.lists(st.sampled_from(order[place + 1 :]), min_size=1, max_size=2, unique=True)
            for target in draw(few):
                edge = {"id": str(len(edges)), "source": name, "target": target}
                edges.append(edge | ({"sourceHandle": handle} if handle else {}))
    quiet = {"quietHours": {"starts": "20:00", "ends": "10:00"}}
    document = {"name": "J", "triggerType": "whatsapp.message", "edges": edges}
    document["settings"] = draw(st.sampled_from([{}, quiet]))
    end = {"id": "e", "type": "END", "config": {}}
    return Flow.from_dict(document | {"id": "flow", "nodes": [*nodes, end], "version": 1})


@settings(max_examples=60)
@given(flow=journeys(), draw=st.data())
def test_the_engine_keeps_to_what_is_proved(flow: Flow, draw: Any) -> None:
    """It never hangs, runs each node in its time, and free texts find the window as it is said."""
    times = {t.node_id: t for t in flow.timing()}
    bounds = arrivals(flow)["e"]
    asked = [node.id[1:] for node in flow.nodes if node.id[0] == "c"]
    every = list(itertools.product([True, False], repeat=min(len(asked), 3)))
    converges = "graph.convergence" in codes(flow)
    seen = set()
    for sides in every:
        rest = [draw.draw(st.booleans()) for _ in asked[3:]]
        chosen = {f"c{i}": side for i, side in zip(asked, [*sides, *rest], strict=True)}
        hour = timedelta(hours=draw.draw(st.integers(0, 167)))
        world = World(flow, payload=PAYLOAD | chosen)
        execution = world.run()
        while execution.resume_at is not None:
            world.now = execution.resume_at
            execution = world.run()
        assert execution.status == "completed", hour
        for run in execution.executed_nodes:
            said, at = times[run.node_id], run.start_time - execution.created_at
            assert said.earliest <= at <= (said.latest or timedelta.max)
            if run.node_id[0] == "m":
                assert run.end_time is not None
                sent = (run.end_time - execution.created_at).total_seconds()
                if said.window == "open":
                    assert sent < CLOSING
                elif said.window == "closed":
                    assert sent >= DAY
        (end,) = [run for run in execution.executed_nodes if run.node_id == "e"]
        assert bounds[0] <= len(end.arrivals) <= bounds[1]
        seen.add(len(end.arrivals))
    started = set(times)
    if not converges and len(asked) <= 3 and {f"c{i}" for i in asked} <= started:
        assert (min(seen), max(seen)) == bounds


@given(made=behaviours())
def test_every_type_says_what_it_takes(made: Any) -> None:
    for handle in made.outputs():
        least, most = made.takes(handle.id)
        assert 0 <= least <= most
        assert made.hears(handle.id) in (True, False)
    assert made.sends() in (None, "free", "template")
    assert all(isinstance(name, str) for name in made.sets())
    ways = [way.handle for way in made.decides()]
    assert set(ways) <= {handle.id for handle in made.outputs()}


def test_the_hooks_are_asked_of_all_types() -> None:
    assert {"DELAY", "SEND_MESSAGE", "SWITCH"} <= set(node_types())
    assert read_node("DELAY", {"amount": 1, "unit": "hours"}).takes(None) == (3600, 3600)


def test_times_behind_a_join() -> None:
    flow = (
        start()
        .parallel(lambda b: b.delay(hours=1), lambda b: b.delay(hours=3))
        .join(id="j")
        .send(text="Hi", id="hi")
        .end()
    )
    (hi,) = [t for t in flow.timing() if t.node_id == "hi"]
    assert (hi.earliest, hi.latest, hi.window) == (3 * HOUR, 3 * HOUR, "open")


def test_rounds_of_a_loop_add_up() -> None:
    flow = start().repeat(maximum=3, body=lambda b: b.delay(hours=1).delay(hours=2, id="late"))
    flow = flow.end()
    (late,) = [t for t in flow.timing() if t.node_id == "late"]
    assert (late.earliest, late.latest, late.window) == (HOUR, 7 * HOUR, "open")
    assert arrivals(flow) == {}
