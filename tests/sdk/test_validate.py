"""Validation: each rule by an example, any document under control, and the graph rules held
against brute force.
"""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowkit.flow import Flow
from flowkit.problems import Problem, errors
from flowkit.validate import RULES, validate
from tests.examples import examples
from tests.sdk.strategies import flows, json_values, mangled

DAY = {"amount": 1, "unit": "days"}


def flow(*arrows: str, **nodes: dict[str, Any]) -> dict[str, Any]:
    """A document: ``"t > d"`` and ``"c.true > e"`` are edges; the first letter is the type."""
    types = {"t": "TRIGGER", "d": "DELAY", "c": "CONDITION", "e": "END", "m": "SEND_MESSAGE"}
    made: dict[str, dict[str, Any]] = {}
    edges = []
    for number, arrow in enumerate(arrows):
        left, right = arrow.split(" > ")
        source, _, handle = left.partition(".")
        edges.append({"id": str(number), "source": source, "target": right})
        if handle:
            edges[-1]["sourceHandle"] = handle
        for name in (source, right):
            made.setdefault(name, {"id": name, "type": types.get(name[0], "UNKNOWN")})
    for name, changes in nodes.items():
        made.setdefault(name, {"id": name, "type": types.get(name[0], "UNKNOWN")}).update(changes)
    for node in made.values():
        config = {"DELAY": DAY, "CONDITION": {"expression": {"var": "contact.vip"}}}.get(
            node["type"], {}
        )
        node.setdefault("config", config)
    return {"name": "Test", "triggerType": "x", "nodes": list(made.values()), "edges": edges}


def found(document: Any) -> list[tuple[str, str]]:
    return [(problem.code, problem.path) for problem in validate(document)]


GOOD = ("t > d", "d > c", "c.true > e", "c.false > e")


def test_a_good_flow_has_no_problems() -> None:
    assert found(flow(*GOOD)) == []


def test_the_order_of_edges_and_nodes_does_not_matter() -> None:
    document = flow(*GOOD)
    document["nodes"].reverse()
    document["edges"].reverse()
    assert found(document) == []


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        # the flow
        (flow(*GOOD) | {"name": "  "}, [("flow.name", "/name")]),
        (flow(*GOOD) | {"name": None}, [("flow.name", "/name")]),
        (flow(*GOOD) | {"triggerType": "a b"}, [("flow.trigger_type", "/triggerType")]),
        # exactly one TRIGGER, at least one END
        (
            flow("d > e"),
            [("graph.no_trigger", "/nodes")],
        ),
        (flow("t > e", "t2 > e"), [("graph.many_triggers", "/nodes/2")]),
        (
            flow("t > d"),
            [("graph.no_end", "/nodes"), ("handle.unconnected", "/nodes/1")],
        ),
        (
            flow("t > d", "d > e", "d > t"),
            [
                ("edge.into_trigger", "/edges/2/target"),
                ("graph.cycle", "/nodes/0"),
            ],
        ),
        (flow("t > d", "d > e", "e > e2"), [("edge.out_of_end", "/edges/2/source")]),
        # ids
        (
            flow("t > d", "d > e", d={"id": "t"}),
            [
                ("node.duplicate_id", "/nodes/1/id"),
                ("edge.unknown_target", "/edges/0/target"),
                ("edge.unknown_source", "/edges/1/source"),
                ("handle.unconnected", "/nodes/0"),
                ("handle.unconnected", "/nodes/1"),
                ("graph.unreachable", "/nodes/1"),
                ("graph.unreachable", "/nodes/2"),
                ("graph.dead_end", "/nodes/0"),
                ("graph.dead_end", "/nodes/1"),
            ],
        ),
        (flow("t > d x", "d x > e"), [("node.id", "/nodes/1/id")]),
        (flow("t > d_v2", "d_v2 > e"), [("node.id", "/nodes/1/id")]),
        (flow("t > d_v", "d_v > e"), []),
        (flow("t > d_v2x", "d_v2x > e"), []),
        (flow("t > d" + "x" * 64, "d" + "x" * 64 + " > e"), [("node.id", "/nodes/1/id")]),
        # edges
        (
            flow("t > d", "d > e") | {"edges": flow("t > d", "t > e", "d > e")["edges"][:1] * 2},
            [
                ("edge.duplicate_id", "/edges/1/id"),
                ("edge.duplicate", "/edges/1"),
                ("handle.unconnected", "/nodes/1"),
                ("graph.unreachable", "/nodes/2"),
                ("graph.dead_end", "/nodes/0"),
                ("graph.dead_end", "/nodes/1"),
            ],
        ),
        (flow("t > d", "d > e", "t > d"), [("edge.duplicate", "/edges/2")]),
        (flow("t > d", "d > e", "d.x > e"), [("edge.unknown_handle", "/edges/2/sourceHandle")]),
        (
            flow("t > c", "c > e", "c.true > e", "c.false > e"),
            [("edge.unknown_handle", "/edges/1/sourceHandle")],
        ),
        # handles
        (flow("t > c", "c.true > e"), [("handle.unconnected", "/nodes/1")]),
        (
            flow("t > e", d={}),
            [
                ("handle.unconnected", "/nodes/2"),
                ("graph.unreachable", "/nodes/2"),
                ("graph.dead_end", "/nodes/2"),
            ],
        ),
        # reach
        (flow("t > e", "d > e"), [("graph.unreachable", "/nodes/2")]),
        (flow("t > e", e2={}), [("graph.unreachable", "/nodes/2")]),
        # cycles
        (flow("t > d", "d > d", "d > e"), [("graph.cycle", "/nodes/1")]),
        (
            flow("t > d", "d > d2", "d2 > c", "c.true > d", "c.false > e"),
            [("graph.cycle", "/nodes/1")],
        ),
        (
            flow("t > d", "d > d2", "d2 > d"),
            [("graph.no_end", "/nodes"), ("graph.cycle", "/nodes/1")],
        ),
        (
            flow("t > e", "d > d2", "d2 > d"),
            [
                ("graph.unreachable", "/nodes/2"),
                ("graph.unreachable", "/nodes/3"),
                ("graph.dead_end", "/nodes/2"),
                ("graph.dead_end", "/nodes/3"),
                ("graph.cycle", "/nodes/2"),
            ],
        ),
        # config
        (flow("t > x", "x > e"), [("node.unknown_type", "/nodes/1/type")]),
        (flow(*GOOD, d={"config": {}}), [("config.missing", f"/nodes/1/config/{k}") for k in DAY]),
        (
            flow(*GOOD, d={"config": DAY | {"amount": "1", "x": 1}}),
            [
                ("config.unknown_field", "/nodes/1/config/x"),
                ("config.type", "/nodes/1/config/amount"),
            ],
        ),
        (
            flow(*GOOD, d={"config": {"amount": 3_000, "unit": "days"}}),
            [("config.out_of_range", "/nodes/1/config/amount")],
        ),
        (
            flow(*GOOD, c={"config": {"expression": {"nope": 1}}}),
            [("config.expression", "/nodes/2/config/expression")],
        ),
        (
            flow("t > m", "m > e", m={"config": {"kind": "text", "text": "{{ a"}}),
            [("config.template", "/nodes/1/config/text")],
        ),
        (
            flow("t > d", "d > e", t={"config": {"contact": "a b"}}),
            [("config.jmespath", "/nodes/0/config/contact")],
        ),
        # the view
        (
            flow(*GOOD, d={"position": {"x": 1}}, t={"position": {"x": True, "y": "0"}}),
            [
                ("node.position", "/nodes/0/position/x"),
                ("node.position", "/nodes/0/position/y"),
                ("node.position", "/nodes/1/position/y"),
            ],
        ),
        (flow(*GOOD, d={"category": "ACTION"}), [("node.category", "/nodes/1/category")]),
        (flow(*GOOD, d={"category": 5}), [("node.category", "/nodes/1/category")]),
        (flow(*GOOD, d={"category": "TIME"}, c={"category": None}), []),
    ],
)
def test_rules(document: Any, expected: list[tuple[str, str]]) -> None:
    assert found(document) == expected


def test_which_problems_are_advice() -> None:
    document = flow("t > d", "t > d2", "d > d3", "d2 > d3", "d3 > e", d={"category": "LOGIC"})
    problems = validate(document)
    assert [p.code for p in problems] == ["node.category", "graph.convergence"]
    assert errors(problems) == []


def message_of(document: Any, code: str) -> str:
    (message,) = (problem.message for problem in validate(document) if problem.code == code)
    return message


def test_messages_name_what_is_meant() -> None:
    document = flow("t > d", "d > d2", "d2 > c", "c.true > d", "c.false > e")
    assert "'d' -> 'd2' -> 'c' -> 'd'" in message_of(document, "graph.cycle")
    assert "handle 'false'" in message_of(flow("t > c", "c.true > e"), "handle.unconnected")
    document = flow("t > c", "c.true > e", "c.false > e", "c.maybe > e")
    assert "'maybe'; it has true, false" in message_of(document, "edge.unknown_handle")
    assert "TRIGGER is SYSTEM" in message_of(flow("t > e", t={"category": "X"}), "node.category")
    document = flow("t > d", "t > d2", "d > d3", "d2 > d3", "d3 > e")
    said = message_of(document, "graph.convergence")
    assert "part at 't'" in said
    assert "meet at 'd3'" in said


def test_every_cycle_is_named_up_to_a_bound() -> None:
    arrows = [a for i in range(30) for a in (f"t > d{i}a", f"d{i}a > d{i}b", f"d{i}b > d{i}a")]
    cycles = [p for p in validate(flow(*arrows, "t > e")) if p.code == "graph.cycle"]
    assert [p.message.split(":")[1].split(".")[0] for p in cycles[:2]] == [
        " 'd0a' -> 'd0b' -> 'd0a'",
        " 'd1a' -> 'd1b' -> 'd1a'",
    ]
    assert len(cycles) == 20


class TestAnyDocument:
    """Whatever comes gives a list of problems."""

    @pytest.mark.parametrize("document", [None, [], "x", 3, True, {}, {"nodes": []}, float("nan")])
    def test_what_is_no_flow(self, document: Any) -> None:
        assert errors(validate(document))

    @given(document=json_values)
    def test_any_json(self, document: Any) -> None:
        assert errors(validate(document))

    @settings(max_examples=examples(20, 300))
    @given(document=mangled())
    def test_valid_flows_gone_wrong(self, document: Any) -> None:
        problems = validate(document)
        for problem in problems:
            assert isinstance(problem, Problem)
            assert problem.path == "" or problem.path.startswith("/")
            assert problem.message.endswith((".", "?"))
        if not errors(problems):
            made = Flow.from_dict(document)
            assert [made.behaviour(node.id).type for node in made.nodes]
            assert made.validate() == problems

    @settings(max_examples=examples(12, 100))
    @given(document=flows().map(Flow.to_dict))
    def test_paths_lead_to_what_is_wrong(self, document: dict[str, Any]) -> None:
        document["nodes"][-1]["config"] = {"odd": 1}
        (problem,) = [p for p in validate(document) if p.code == "config.unknown_field"]
        place: Any = document
        for part in problem.path.split("/")[1:]:
            place = place[int(part)] if isinstance(place, list) else place[part]
        assert place == 1


# --- the graph rules against brute force ------------------------------------------------------


@st.composite
def graphs(draw: Any, acyclic: bool) -> dict[str, Any]:
    """Small random flows of delays and conditions, mostly joined well."""
    names = [f"{draw(st.sampled_from('dc'))}{i}" for i in range(draw(st.integers(1, 6)))]
    order = ["t", *names, "e"]
    arrows = []
    for place, name in enumerate(order[:-1]):
        for handle in (".true", ".false") if name[0] == "c" else ("",):
            onward = order[place + 1 :] if acyclic else order[1:]
            few = st.lists(st.sampled_from(onward), min_size=int(acyclic), max_size=3, unique=True)
            arrows += [f"{name}{handle} > {target}" for target in draw(few)]
    return flow(*arrows, **{name: {} for name in order})


def ways_of(document: dict[str, Any]) -> dict[str, dict[str | None, list[str]]]:
    ways: dict[str, dict[str | None, list[str]]] = {node["id"]: {} for node in document["nodes"]}
    for edge in document["edges"]:
        ways[edge["source"]].setdefault(edge.get("sourceHandle"), []).append(edge["target"])
    return ways


@settings(max_examples=examples(25, 300))
@given(document=graphs(acyclic=False))
def test_reach_and_cycles_are_what_brute_force_finds(document: dict[str, Any]) -> None:
    ways = ways_of(document)
    reach = {name: {t for ts in way.values() for t in ts} for name, way in ways.items()}
    for _ in ways:
        reach = {n: ts | {far for t in ts for far in reach[t]} for n, ts in reach.items()}
    ids = [node["id"] for node in document["nodes"]]
    problems = validate(document)

    def named(code: str) -> set[str]:
        return {ids[int(p.path.split("/")[2])] for p in problems if p.code == code}

    assert named("graph.unreachable") == {n for n in ids if n != "t" and n not in reach["t"]}
    assert named("graph.dead_end") == {n for n in ids if n != "e" and "e" not in reach[n]}
    circular = {n for n in ids if n in reach[n]}
    cycles = [p for p in problems if p.code == "graph.cycle"]
    assert bool(cycles) == bool(circular)
    for problem in cycles:
        walk = problem.message.split(": ")[1].split(". ")[0].replace("'", "").split(" -> ")
        assert walk[0] == walk[-1]
        assert len(set(walk)) == len(walk) - 1
        for source, target in itertools.pairwise(walk):
            assert any(target in targets for targets in ways[source].values())


def entered(document: dict[str, Any]) -> Iterator[dict[str, int]]:
    """For each way the conditions can fall: how many branches enter each node.

    Every node runs once; what arrives later ends there. So which edges are taken depends on the
    conditions alone and not on the order of arrivals.
    """
    ways = ways_of(document)
    conditions = [name for name in ways if name[0] == "c"]
    for sides in itertools.product(["true", "false"], repeat=len(conditions)):
        chosen = dict(zip(conditions, sides, strict=True))
        count: dict[str, int] = {}
        queue, ran = ["t"], {"t"}
        while queue:
            for target in ways[(name := queue.pop())].get(chosen.get(name), []):
                count[target] = count.get(target, 0) + 1
                if target not in ran:
                    ran.add(target)
                    queue.append(target)
        yield count


MET = ("t > d1", "t > d2", "d1 > d3", "d2 > d3")
"""Two branches that meet at d3 and are one from there on."""


@pytest.mark.parametrize(
    ("arrows", "meeting"),
    [
        (("t > c", "c.true > d1", "c.false > d2", "d1 > d3", "d2 > d3", "d3 > e"), []),
        (("t > d1", "t > d2", "d1 > e", "d2 > e"), []),
        ((*MET, "d3 > e"), ["d3"]),
        ((*MET, "d3 > c", "c.true > d4", "c.false > d4", "d4 > e"), ["d3"]),
        ((*MET, "d3 > d4", "d3 > d5", "d4 > d6", "d5 > d6", "d6 > e"), ["d3", "d6"]),
        ((*MET, "t > d4", "d4 > d5", "d3 > d5", "d5 > e"), ["d3", "d5"]),
        (("t > c1", "t > d2", "c1.true > d3", "c1.false > d3", "d3 > e", "d2 > e"), []),
        (("t > d1", "t > c", "c.true > d1", "c.false > e", "d1 > e"), ["d1"]),
    ],
)
def test_where_branches_converge(arrows: tuple[str, ...], meeting: list[str]) -> None:
    document = flow(*arrows)
    ids = [node["id"] for node in document["nodes"]]
    assert {code for code, _ in found(document)} <= {"graph.convergence"}
    assert sorted(ids[int(path.split("/")[2])] for _, path in found(document)) == meeting


@settings(max_examples=examples(25, 300))
@given(document=graphs(acyclic=True))
def test_convergence_is_what_brute_force_finds(document: dict[str, Any]) -> None:
    ids = [node["id"] for node in document["nodes"]]
    warned = {
        ids[int(problem.path.split("/")[2])]
        for problem in validate(document)
        if problem.code == "graph.convergence"
    }
    ways = ways_of(document)
    meeting = {n for counts in entered(document) for n, k in counts.items() if k > 1 and n != "e"}
    assert warned == meeting, ways


@given(document=graphs(acyclic=False))
def test_without_errors_every_way_leads_to_an_end(document: dict[str, Any]) -> None:
    if errors(validate(document)):
        return
    ways = ways_of(document)
    for sides in entered(document):
        assert sides.get("e", 0) >= 1
    assert all(ways[name] for name in ways if name != "e")


@pytest.mark.parametrize("broken", [False, True])
def test_long_flows_are_no_matter_of_recursion(broken: bool) -> None:
    names = ["t", *(f"d{i}" for i in range(10_000)), "e"]
    arrows = [f"{a} > {b}" for a, b in itertools.pairwise(names)]
    if not broken:
        assert found(flow(*arrows)) == []
        return
    problems = validate(flow(*arrows, "d9999 > d0"))
    assert [problem.code for problem in problems] == ["graph.cycle"]
    assert len(problems[0].message) < 2_000


def test_many_forks_are_no_matter_of_blow_up() -> None:
    arrows = ["t > d0"]
    for i in range(1_500):
        arrows += [f"d{i} > d{i}a", f"d{i} > d{i}b", f"d{i}a > d{i + 1}", f"d{i}b > d{i + 1}"]
    problems = validate(flow(*arrows, "d1500 > e"))
    assert {problem.code for problem in problems} == {"graph.convergence"}


def test_the_rules_are_functions_with_a_docstring() -> None:
    assert all((inspect.getdoc(rule) or "").endswith(".") for rule in RULES)
