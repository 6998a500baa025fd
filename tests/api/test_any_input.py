"""Whatever comes in: never a 500, nothing half-stored, and answers as the document says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import AcceptedNegativeData, FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    ignored_auth,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from flowkit.clock import ManualClock
from service.app import create_app
from service.settings import Settings
from service.store.sqlite import SqliteStore
from tests.api.harness import KEY, NOW, PAYLOAD, REFUSED, Service, delayed, problems_of, sending
from tests.examples import examples

SHARED = settings(
    max_examples=examples(8, 60),
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

texts = st.text(max_size=8) | st.sampled_from(
    ["", "id", "TRIGGER", "DELAY", "SEND_MESSAGE", "a", "b", "\0", "{{ x", "{% if %}", "a.b[", "é"]
)
numbers = (
    st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([0, -0.0, 10**299, 1e308])
)
anything = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


def mangled(document: dict[str, Any]) -> st.SearchStrategy[Any]:
    """A document with something else in one or two places."""

    def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
        yield path
        if isinstance(value, (dict, list)):
            for key in value if isinstance(value, dict) else range(len(value)):
                yield from places(value[key], (*path, key))

    def put(value: Any, path: tuple[Any, ...], new: Any) -> Any:
        if not path:
            return new
        key, *rest = path
        if isinstance(value, dict):
            return value | {key: put(value.get(key), tuple(rest), new)}
        if isinstance(value, list) and key in range(len(value)):
            return [*value[:key], put(value[key], tuple(rest), new), *value[key + 1 :]]
        return value

    change = st.tuples(st.sampled_from(list(places(document))), anything)

    def apply(changes: list[tuple[tuple[Any, ...], Any]]) -> Any:
        made: Any = document
        for path, new in changes:
            made = put(made, path, new)
        return made

    return st.lists(change, min_size=1, max_size=2).map(apply)


TEMPLATE = sending() | {"isActive": True, "settings": {}, "id": "template"}
bodies = (
    (anything | mangled(TEMPLATE) | mangled(delayed() | {"isActive": True})).map(
        lambda value: json.dumps(value).encode()
    )
    | st.binary(max_size=40)
    | st.text(alphabet='{}[]",:0e\\u\x00d8n', max_size=30).map(str.encode)
)
segments = st.text(
    st.characters(exclude_characters="/?#%", exclude_categories=("Cs",)), min_size=1, max_size=20
) | st.sampled_from(["one", "trigger", "..", ".", "%2F", "%00", "%ff", "%", "a%"])
queries = st.dictionaries(
    st.sampled_from(
        ["limit", "cursor", "status", "flowId", "contact", "from", "to", "include", "x"]
    ),
    st.text(max_size=12) | st.sampled_from(["true", "5", "failed", "2026-01-01T00:00:00Z"]),
    max_size=3,
)


@pytest.fixture(scope="module")
def populated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with an active flow, a draft, and an execution that failed."""
    directory: Path = tmp_path_factory.mktemp("populated")
    store = SqliteStore(directory / "flows.db")
    clock = ManualClock(NOW)
    app = create_app(Settings(data_dir=directory, api_key=KEY), store, clock=clock)
    service = Service(app, store, clock)
    service.add(sending() | {"id": "one"})
    service.add(delayed("Draft") | {"id": "draft"}, active=False)
    service.start("cart", PAYLOAD)
    service.work(lambda performance: REFUSED)
    yield service
    store.close()


def check(service: Service, method: str, path: str, **request: Any) -> None:
    """Make a request of which nothing is known but that it must not break anything."""
    before = service.everything()
    answer = service(method, path, **request)
    assert answer.status_code < 500, answer.text
    if answer.status_code >= 400:
        if method != "HEAD":
            problems_of(answer)
        assert service.everything() == before


def ended(service: Service) -> str:
    """The id of some execution."""
    items: list[dict[str, str]] = service.ok("GET", "/api/executions?limit=1")["items"]
    return items[0]["id"]


@SHARED
@given(body=bodies)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/flows"),
        ("PUT", "/api/flows/draft"),
        ("PATCH", "/api/flows/draft"),
        ("PUT", "/api/flows/one"),
        ("PATCH", "/api/flows/one"),
        ("POST", "/api/flows/one/validate"),
        ("POST", "/api/flows/trigger/cart"),
        ("POST", "/api/flows/trigger/nobody"),
        ("POST", "/api/executions/{execution}/retry"),
        ("POST", "/api/executions/{execution}/cancel"),
    ],
)
def test_any_body(populated: Service, method: str, path: str, body: bytes) -> None:
    check(populated, method, path.format(execution=ended(populated)), body=body)


@SHARED
@given(
    method=st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]),
    path=st.sampled_from(
        [
            "/{}",
            "/api/docs/{}",
            "/api/flows/{}",
            "/api/flows/{}/validate",
            "/api/flows/trigger/{}",
            "/api/executions/{}",
            "/api/executions/{}/retry",
            "/api/executions/{}/cancel",
        ]
    ),
    segment=segments,
)
def test_any_address(populated: Service, method: str, path: str, segment: str) -> None:
    if segment != "one":
        check(populated, method, path.format(segment))


@SHARED
@given(
    path=st.sampled_from(
        ["/api/flows", "/api/executions", "/api/metrics", "/api/node-types", "/api/flows/one"]
    ),
    query=queries,
)
def test_any_query(populated: Service, path: str, query: dict[str, str]) -> None:
    check(populated, "GET", path, query_string=query)


@SHARED
@given(payload=anything, mapping=texts | st.sampled_from(["contact", "@", "a[0].b", "keys(@)"]))
def test_any_payload_to_any_mapping(populated: Service, payload: Any, mapping: str) -> None:
    """Whatever TRIGGER maps and whatever comes in, a webhook gets an answer that it can take."""
    flow = delayed("Mapped", "mapped")
    flow["nodes"][0]["config"] = {"contact": mapping}
    created = populated("POST", "/api/flows", flow | {"isActive": True})
    if created.status_code != 201:
        assert created.status_code in (400, 422)
        return
    body = json.dumps(payload).encode()
    check(populated, "POST", "/api/flows/trigger/mapped", body=body)
    assert (
        populated("DELETE", f"/api/flows/{created.get_json()['id']}?cancel=true").status_code == 204
    )


# --------------------------------------------------------------- as the document says

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    unsupported_method,
    ignored_auth,
    negative_data_rejection,
]


OPERATIONS = [
    (path, method.upper())
    for path, item in create_app(Settings(api_key=KEY), Mock())
    .test_client()
    .get("/api/openapi.json")
    .json["paths"]
    .items()
    for method in item
    if method != "parameters"
]


def is_right(document: dict[str, Any], path: str, method: str, body: Any) -> bool:
    """Return whether the document allows a body."""
    said = document["paths"][path][method.lower()].get("requestBody")
    if said is None:
        return False
    schema = said["content"]["application/json"]["schema"]
    return Draft202012Validator(schema | {"components": document["components"]}).is_valid(body)


@pytest.mark.hypothesis
@pytest.mark.parametrize(
    ("path", "method", "mode"),
    [
        (path, method, mode)
        for path, method in OPERATIONS
        for mode in GenerationMode
        # Health takes nothing that could be wrong.
        if mode is GenerationMode.POSITIVE or path.startswith("/api/")
    ],
)
def test_answers_are_as_the_document_says(
    populated: Service, path: str, method: str, mode: GenerationMode
) -> None:
    schema = schemathesis.openapi.from_wsgi("/api/openapi.json", populated.app)
    refusals = schema.config.checks.negative_data_rejection
    # What is made up at random can be larger than any body may be.
    refusals.expected_statuses = [*(refusals.expected_statuses or ()), "413"]
    operation = schema[path][method]

    @settings(SHARED, max_examples=examples(6, 50), phases=[Phase.generate])
    @given(case=operation.as_strategy(generation_mode=mode))
    def call(case: schemathesis.Case) -> None:
        # Under /flows/trigger/ are triggers; no flow has that id.
        assume((case.path_parameters or {}).get("flow_id") != "trigger")
        # A list of one empty text is written as an empty list is.
        assume((case.query or {}).get("include") not in ("", [""]))
        try:
            case.call_and_validate(headers={"Authorization": f"Bearer {KEY}"}, checks=CHECKS)
        except FailureGroup as failures:
            # What is wrong for one of several alternatives may be right for another.
            only_accepted = all(isinstance(f, AcceptedNegativeData) for f in failures.exceptions)
            if not (only_accepted and is_right(schema.raw_schema, path, method, case.body)):
                raise

    call()
