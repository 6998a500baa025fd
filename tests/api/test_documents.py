"""The OpenAPI document, the docs page, and the schemas that are derived from declarations."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import marshmallow as ma
import pytest
from jsonschema import Draft202012Validator

from flowkit import nodetype
from flowkit.execution import Branch, Execution, NodeRun
from flowkit.fields import field, json_schema
from flowkit.flow import Flow
from flowkit.nodetype import Next, NodeType, node_types
from flowkit.wire import fields_of
from service.api.auth import OPEN
from service.api.flows import EXAMPLE
from service.schemas import config_schema, schema_for
from tests.api import harness
from tests.api.harness import Service

RULES = json.loads((Path(__file__).parent / "openapi-3.1.schema.json").read_text())
METHODS = {"get", "put", "post", "delete", "patch"}


@pytest.fixture
def document(service: Service) -> Any:
    return service.ok("GET", "/api/openapi.json")


def within(value: Any) -> Iterator[Any]:
    """Every object in JSON data."""
    if isinstance(value, dict):
        yield value
        for item in value.values():
            yield from within(item)
    elif isinstance(value, list):
        for item in value:
            yield from within(item)


def validator(document: Any, name: str) -> Draft202012Validator:
    """Validate against a component of the document."""
    return Draft202012Validator({**document, "$ref": f"#/components/schemas/{name}"})


def test_the_document_follows_the_rules_of_openapi_31(document: Any) -> None:
    assert document["openapi"].startswith("3.1")
    Draft202012Validator(RULES).validate(document)
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    for found in within(document):
        if isinstance(found.get("$ref"), str):
            target = document
            for part in found["$ref"].removeprefix("#/").split("/"):
                target = target[part]


def test_every_route_is_in_the_document_with_its_security(service: Service, document: Any) -> None:
    documented = {
        (method, path): operation
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if method in METHODS
    }
    routes = {
        (method.lower(), re.sub(r"<(?:\w+(?:\(.*\))?:)?(\w+)>", r"{\1}", rule.rule)): rule.endpoint
        for rule in service.app.url_map.iter_rules()
        for method in rule.methods or ()
        if method.lower() in METHODS and not rule.endpoint.startswith(("docs.", "api-docs."))
    }
    assert set(documented) == set(routes)
    assert document["security"] == [{"key": []}]
    for key, operation in documented.items():
        assert (operation.get("security") == []) == (routes[key] in OPEN), key
        assert operation["summary"]
        assert "default" in operation["responses"]


@pytest.mark.parametrize("record", [Execution, Branch, NodeRun])
def test_records_are_described_by_their_fields(document: Any, record: type) -> None:
    described = document["components"]["schemas"][record.__name__]
    assert set(described["properties"]) == {wire for _, wire, _ in fields_of(record)}
    assert set(described["required"]) == set(described["properties"])


def test_flows_are_described_by_their_fields(document: Any) -> None:
    described = document["components"]["schemas"]["Flow"]
    assert set(described["properties"]) == {wire for _, wire, _ in fields_of(Flow)}
    validator(document, "FlowInput").validate(EXAMPLE)


def test_each_node_type_has_its_schema_and_its_config(document: Any) -> None:
    schemas = document["components"]["schemas"]
    any_node = schemas["FlowInput"]["properties"]["nodes"]["items"]
    mapping = any_node["discriminator"]["mapping"]
    assert set(mapping) == set(node_types())
    assert {option["$ref"] for option in any_node["anyOf"]} == {
        *mapping.values(),
        "#/components/schemas/Node",
    }
    for name, cls in node_types().items():
        node = schemas[mapping[name].rpartition("/")[2]]
        assert node["properties"]["type"]["enum"] == [name]
        config = schemas[node["properties"]["config"]["$ref"].rpartition("/")[2]]
        assert config == json_schema(cls)


@pytest.fixture
def shout(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[NodeType]]:
    """A node type of a third party, which only applications that are made now know."""
    monkeypatch.setattr(harness, "idle", [])

    class Shout(NodeType, type="TEST_SHOUT", category="ACTION"):
        """Shout it out."""

        volume: int = field(help="How loud.", ge=1, le=11)
        loud_word: str = field("hey", help="What to shout.")

        def run(self, ctx: nodetype.Context) -> Next:
            return Next()

    yield Shout
    del nodetype._registry["TEST_SHOUT"]


def test_a_new_node_type_appears_everywhere_by_itself(
    shout: type[NodeType], service: Service
) -> None:
    document = service.ok("GET", "/api/openapi.json")
    config = document["components"]["schemas"]["TestShoutConfig"]
    assert config["properties"]["volume"]["maximum"] == 11
    listed = {item["type"]: item for item in service.ok("GET", "/api/node-types")["items"]}
    assert listed["TEST_SHOUT"]["schema"] == config
    assert listed["TEST_SHOUT"]["description"] == "Shout it out."
    nodes = [
        {"id": "a", "type": "TRIGGER", "config": {}},
        {"id": "b", "type": "TEST_SHOUT", "config": {"volume": 11}},
        {"id": "c", "type": "END", "config": {}},
    ]
    edges = [
        {"id": "1", "source": "a", "target": "b"},
        {"id": "2", "source": "b", "target": "c"},
    ]
    flow = {"name": "Loud", "triggerType": "x", "isActive": True, "nodes": nodes, "edges": edges}
    service.ok("POST", "/api/flows", flow, status=201)
    nodes[1]["config"] = {"volume": 12}
    answer = service("POST", "/api/flows", flow)
    assert [problem["path"] for problem in answer.get_json()["problems"]] == [
        "/nodes/1/config/volume"
    ]


def test_a_node_type_has_a_marshmallow_schema(shout: type[NodeType]) -> None:
    schema = config_schema(shout)()
    node = schema.load({"volume": 3})
    assert node == shout(volume=3)
    assert schema.dump(node) == {"volume": 3}
    for wrong, place in (
        ({"volume": 12}, "/volume"),
        ({"volume": "3"}, "/volume"),
        ({}, "/volume"),
        ({"volume": 3, "loudWord": None}, "/loudWord"),
        ({"volume": 3, "x": 1}, "/x"),
        ([], ""),
    ):
        with pytest.raises(ma.ValidationError) as error:
            schema.load(wrong)
        assert list(error.value.messages_dict) == [place]


def test_a_records_schema_checks_what_the_wire_may_hold() -> None:
    schema = schema_for(Branch)()
    good = {
        "branchId": "root",
        "status": "waiting",
        "currentNodeId": "a",
        "path": ["a"],
        "resumeAt": "2026-11-22T10:00:00.000Z",
        "resumeData": None,
    }
    assert schema.validate(good) == {}
    for wrong in ({"status": "done"}, {"path": "a"}, {"resumeAt": "soon"}, {"branchId": None}):
        assert set(schema.validate(good | wrong)) == set(wrong)


def test_node_types_are_listed_with_what_a_canvas_needs(service: Service, document: Any) -> None:
    listed = service.ok("GET", "/api/node-types?limit=500")
    assert listed["nextCursor"] is None
    assert [item["type"] for item in listed["items"]] == list(node_types())
    validator(document, "NodeTypePage").validate(listed)
    condition = next(item for item in listed["items"] if item["type"] == "CONDITION")
    assert [handle["id"] for handle in condition["handles"]] == ["true", "false"]
    assert condition["category"] == "LOGIC"


def test_the_docs_page_takes_nothing_from_elsewhere(service: Service) -> None:
    answer = service("GET", "/api/docs", key=None)
    assert answer.mimetype == "text/html"
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "http" not in policy
    assert "http" not in answer.text.replace("http-equiv", "")
    for asset in re.findall(r'(?:src|href|spec-url)="([^":]+)"', answer.text):
        got = service("GET", f"/api/{asset}", key=None)
        assert got.status_code == 200, asset
        assert got.data
    script = service("GET", "/api/docs/openapi-explorer.min.js", key=None)
    assert "javascript" in script.mimetype
    licences = service("GET", "/api/docs/openapi-explorer.LICENSES.txt", key=None).text
    assert "Apache License" in licences


@pytest.mark.parametrize(
    "path", ["../auth.py", "%2e%2e/auth.py", "/etc/passwd", "..%2f..%2fapp.py"]
)
def test_the_docs_page_gives_nothing_else_away(service: Service, path: str) -> None:
    assert service("GET", f"/api/docs/{path}", key=None).status_code in (401, 404)


def test_the_schemas_in_the_document_refuse_what_they_should(document: Any) -> None:
    node = validator(document, "DelayNode")
    good = {"id": "a", "type": "DELAY", "config": {"amount": 1, "unit": "hours"}}
    node.validate(good)
    for wrong in ({"type": "END"}, {"config": {"amount": -1, "unit": "hours"}}, {"id": 5}):
        with pytest.raises(jsonschema.ValidationError):
            node.validate(good | wrong)
