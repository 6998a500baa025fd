"""Flows as JSON: nothing is lost, what cannot be a flow is refused, and versions compare."""

from __future__ import annotations

import copy
import json
import pickle
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowkit.errors import Invalid, NotFound
from flowkit.flow import Edge, Flow, Node
from tests.examples import examples
from tests.sdk.strategies import flows, json_values, mangled, texts


def document(**changes: Any) -> dict[str, Any]:
    """A stored flow as a canvas sends it: view fields, explicit nulls, missing keys."""
    made: dict[str, Any] = {
        "id": "flow-1",
        "name": "Welcome",
        "triggerType": "signed_up",
        "isActive": True,
        "version": 3,
        "createdAt": "2026-11-22T10:00:00+01:00",
        "updatedAt": None,
        "viewport": {"x": 1, "y": 2.5, "zoom": 1},
        "nodes": [
            {"id": "t", "type": "TRIGGER", "position": {"x": 0, "y": 0, "z": 1}, "data": {}},
            {
                "id": "d",
                "type": "DELAY",
                "category": "TIME",
                "position": {"x": 0, "y": 100},
                "config": {"amount": 2.0, "unit": "days"},
                "measured": {"width": 180},
                "selected": None,
            },
            {"id": "e", "type": "END", "position": None, "config": None, "category": "SYSTEM"},
        ],
        "edges": [
            {"id": "1", "source": "t", "target": "d", "sourceHandle": None, "animated": True},
            {"id": "2", "source": "d", "target": "e", "label": "then", "markerEnd": {"type": "a"}},
        ],
    }
    return made | changes


def apart_from_category(data: Any) -> Any:
    data = copy.deepcopy(data)
    for node in data["nodes"]:
        node.pop("category", None)
    return data


def test_a_canvas_document_comes_out_as_it_went_in() -> None:
    data = document()
    written = Flow.from_dict(data).to_dict()
    assert apart_from_category(written) == apart_from_category(data)
    assert [node["category"] for node in written["nodes"]] == ["SYSTEM", "TIME", "SYSTEM"]
    assert Flow.from_json(json.dumps(data)).to_dict() == written


EXTRA = st.dictionaries(texts.map("x_".__add__), json_values, max_size=2)
OPTIONAL_FLOW = {
    "id": st.none() | texts,
    "name": st.none() | texts,
    "triggerType": st.none() | texts,
    "isActive": st.none() | st.booleans(),
    "version": st.none() | st.integers(0, 2**40),
    "settings": st.none() | st.dictionaries(texts, json_values, max_size=2),
    "createdAt": st.none() | st.sampled_from(["2026-11-22T10:00:00Z", "2026-11-22 10:00:00.12+02"]),
    "updatedAt": st.none() | st.just("2026-11-22T10:00:00.000Z"),
}
OPTIONAL_NODE = {
    "position": st.none() | st.fixed_dictionaries({"x": st.integers(), "y": st.floats(-9, 9)}),
    "config": st.none() | st.dictionaries(texts, json_values, max_size=2),
    "category": json_values,
}
OPTIONAL_EDGE = {"sourceHandle": st.none() | texts, "label": st.none() | texts}
TYPES = st.sampled_from(["TRIGGER", "END", "DELAY", "CONDITION", "UNKNOWN", "", "end"])


def records(required: dict[str, Any], optional: dict[str, Any]) -> st.SearchStrategy[Any]:
    known = st.fixed_dictionaries(required, optional=optional)
    return st.builds(lambda made, extra: extra | made, known, EXTRA)


loadable = records(
    {
        "nodes": st.lists(records({"id": texts, "type": TYPES}, OPTIONAL_NODE), max_size=3),
        "edges": st.lists(
            records({"id": texts, "source": texts, "target": texts}, OPTIONAL_EDGE), max_size=3
        ),
    },
    OPTIONAL_FLOW,
)


@given(data=loadable)
def test_any_loadable_document_comes_out_as_it_went_in(data: dict[str, Any]) -> None:
    before = copy.deepcopy(data)
    flow = Flow.from_dict(data)
    assert apart_from_category(flow.to_dict()) == apart_from_category(before)
    assert data == before
    again = Flow.from_dict(flow.to_dict())
    assert again == flow
    assert again.content() == flow.content()
    assert pickle.loads(pickle.dumps(flow)) == flow


@settings(max_examples=examples(15, 100))
@given(flow=flows())
def test_built_flows_survive_json(flow: Flow) -> None:
    text = flow.to_json()
    assert Flow.from_json(text) == flow
    assert Flow.from_json(text).content() == flow.content()
    assert Flow.from_json(text).to_json() == text


@settings(max_examples=examples(25, 100))
@given(data=mangled() | json_values)
def test_what_cannot_be_a_flow_is_invalid_and_nothing_else(data: Any) -> None:
    try:
        flow = Flow.from_dict(data)
    except Invalid:
        return
    assert apart_from_category(flow.to_dict()) == apart_from_category(data)


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"nodes": None}, "/nodes"),
        ({"edges": {}}, "/edges"),
        ({"nodes": ["x"]}, "/nodes/0"),
        ({"nodes": [{"type": "END"}]}, "/nodes/0/id"),
        ({"nodes": [{"id": 3, "type": "END"}]}, "/nodes/0/id"),
        ({"nodes": [{"id": "e", "type": {}}]}, "/nodes/0/type"),
        ({"nodes": [{"id": "e", "type": "END", "config": []}]}, "/nodes/0/config"),
        ({"nodes": [{"id": "e", "type": "END", "position": 1}]}, "/nodes/0/position"),
        ({"edges": [{"id": "1", "source": "t"}]}, "/edges/0/target"),
        ({"edges": [{"id": "1", "source": "t", "target": "e", "label": 1}]}, "/edges/0/label"),
        ({"name": 5}, "/name"),
        ({"isActive": "yes"}, "/isActive"),
        ({"isActive": 1}, "/isActive"),
        ({"version": True}, "/version"),
        ({"version": -1}, "/version"),
        ({"version": 2**60}, "/version"),
        ({"createdAt": "yesterday"}, "/createdAt"),
        ({"createdAt": "2026-11-22T10:00:00"}, "/createdAt"),
        ({"createdAt": "0001-01-01T00:00:00+10:00"}, "/createdAt"),
        ({"settings": []}, "/settings"),
        ({"extra": "\ud800"}, "/extra"),
        ({"a/b": {"x": float("nan")}}, "/a~1b/x"),
        ({"extra": 10**400}, "/extra"),
        ({"extra": {1: 2}}, "/extra"),
        ({"extra": {1, 2}}, "/extra"),
    ],
    ids=str,
)
def test_what_cannot_be_kept_is_refused_with_its_place(change: Any, path: str) -> None:
    with pytest.raises(Invalid) as caught:
        Flow.from_dict(document(**change))
    assert [problem.path for problem in caught.value.problems] == [path]


def test_depth_is_bounded() -> None:
    deep: Any = 1
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(Invalid, match="deeper than 100 levels"):
        Flow.from_dict(document(extra=deep))


@pytest.mark.parametrize("text", ["", "{", "[1,", "nul", b"\xff", "[" * 100_000])
def test_text_that_is_no_json(text: str | bytes) -> None:
    with pytest.raises(Invalid) as caught:
        Flow.from_json(text)
    assert caught.value.problems[0].code == "document.json"


class TestReplace:
    """A changed field is written, whatever the document said about it before."""

    def test_flow(self) -> None:
        flow = Flow.from_dict(document(isActive=None))
        moment = datetime(2026, 11, 23, tzinfo=UTC)
        changed = flow.replace(is_active=True, version=4, updated_at=moment, id=None)
        written = changed.to_dict()
        assert (written["isActive"], written["version"]) == (True, 4)
        assert written["updatedAt"] == "2026-11-23T00:00:00.000Z"
        assert written["createdAt"] == "2026-11-22T10:00:00+01:00"
        assert "id" not in written
        assert flow.to_dict()["isActive"] is None
        with pytest.raises(TypeError, match="colour"):
            flow.replace(colour="red")

    def test_node_and_edge(self) -> None:
        flow = Flow.from_dict(document())
        node = flow.nodes[2].replace(config={"a": 1}, position={"x": 1, "y": 1})
        assert node.to_dict()["config"] == {"a": 1}
        assert node.to_dict()["position"] == {"x": 1, "y": 1}
        assert flow.edges[0].replace(source_handle="x").to_dict()["sourceHandle"] == "x"
        assert "label" not in flow.edges[0].to_dict()

    def test_values_are_typed_in_python(self) -> None:
        flow = Flow.from_dict(document(name=None, isActive=None, version=None))
        assert (flow.name, flow.is_active, flow.version) == ("", False, 0)
        assert flow.created_at == datetime(2026, 11, 22, 9, tzinfo=UTC)
        assert (flow.nodes[0].config, flow.nodes[2].config) == ({}, {})

    def test_what_was_cached_is_not_carried_over(self) -> None:
        flow = Flow.from_dict(document())
        assert flow.targets("t", None) == ("d",)
        assert flow.replace(edges=()).targets("t", None) == ()


def test_neither_the_source_nor_the_result_is_shared() -> None:
    data = document()
    flow = Flow.from_dict(data)
    data["nodes"][1]["config"]["amount"] = 99
    flow.to_dict()["nodes"][1]["config"]["amount"] = 98
    flow.content()["nodes"][0]["config"]["amount"] = 97
    assert flow.nodes[1].config["amount"] == 2


class TestEquality:
    """Two flows are equal when their documents are."""

    def test_by_content(self) -> None:
        assert Flow.from_dict(document()) == Flow.from_dict(document())
        assert Flow.from_dict(document()) != Flow.from_dict(document(viewport=None))
        assert Flow.from_dict(document()) != document()
        assert Node("a", "END") == Node("a", "END")
        assert Node("a", "END") != Node("a", "END", config={"x": 1})
        assert Edge("1", "a", "b") != Edge("1", "a", "b", "true")


class TestContent:
    """What a version is a version of."""

    def test_the_view_does_not_count(self) -> None:
        data = document()
        moved = copy.deepcopy(data)
        moved["nodes"].reverse()
        for node in moved["nodes"]:
            node |= {"position": {"x": 5, "y": 5}, "selected": True, "category": "x"}
        for edge in moved["edges"]:
            edge |= {"id": edge["id"] + "x", "label": "other", "animated": False}
        moved |= {"viewport": None, "isActive": False, "version": 9, "updatedAt": None}
        assert Flow.from_dict(moved).content() == Flow.from_dict(data).content()

    @pytest.mark.parametrize(
        "change",
        [
            lambda d: d.update(name="Other"),
            lambda d: d.update(triggerType="other"),
            lambda d: d.update(settings={"a": 1}),
            lambda d: d["nodes"][1]["config"].update(amount=3),
            lambda d: d["nodes"][1].update(type="END"),
            lambda d: d["edges"][0].update(sourceHandle="x"),
            lambda d: d["edges"].pop(),
        ],
    )
    def test_what_executions_depend_on_does(self, change: Any) -> None:
        data = document()
        change(data)
        assert Flow.from_dict(data).content() != Flow.from_dict(document()).content()

    def test_the_order_of_a_fork_s_edges_counts_and_of_others_does_not(self) -> None:
        fork = [
            {"id": "1", "source": "t", "target": "d"},
            {"id": "2", "source": "t", "target": "e"},
        ]
        turned = Flow.from_dict(document(edges=fork[::-1]))
        assert turned.content() != Flow.from_dict(document(edges=fork)).content()
        edges = document()["edges"]
        turned = Flow.from_dict(document(edges=edges[::-1]))
        assert turned.content() == Flow.from_dict(document()).content()


class TestLookUps:
    """What the engine asks."""

    def test_start(self) -> None:
        assert Flow.from_dict(document()).start == "t"
        with pytest.raises(Invalid, match="exactly one TRIGGER"):
            _ = Flow.from_dict(document(nodes=[])).start

    def test_targets_in_the_order_of_edges(self) -> None:
        edges = [
            {"id": str(i), "source": "t", "target": target, "sourceHandle": handle}
            for i, (target, handle) in enumerate([("e", None), ("d", "x"), ("d", None)])
        ]
        flow = Flow.from_dict(document(edges=edges))
        assert flow.targets("t", None) == ("e", "d")
        assert flow.targets("t", "x") == ("d",)
        assert flow.targets("nowhere", None) == ()

    def test_behaviour(self) -> None:
        flow = Flow.from_dict(document())
        assert flow.behaviour("d") is flow.behaviour("d")
        assert flow.behaviour("d").outputs() == flow.behaviour("t").outputs()
        with pytest.raises(NotFound):
            flow.behaviour("nowhere")

    def test_behaviour_of_a_wrong_config_or_type_is_invalid_with_the_place(self) -> None:
        data = document()
        data["nodes"][1]["config"]["amount"] = -1
        data["nodes"][2]["type"] = "NOTHING"
        flow = Flow.from_dict(data)
        for node, path in (("d", "/nodes/1/config/amount"), ("e", "/nodes/2/type")):
            with pytest.raises(Invalid) as caught:
                flow.behaviour(node)
            assert [problem.path for problem in caught.value.problems] == [path]

    def test_expects_contact(self) -> None:
        assert not Flow("a", trigger="t").delay(days=1).end().expects_contact
        assert Flow("a", trigger="t", contact="customer").end().expects_contact
        assert Flow("a", trigger="t").send(text="hi").end().expects_contact
        assert not Flow.from_dict(document(nodes=[{"id": "x", "type": "NO"}])).expects_contact
