"""HTTP_REQUEST: what is declared wrong, and the request that comes out."""

from __future__ import annotations

from typing import Any

import pytest

import flowkit as fk
from flowkit.errors import NodeFailed
from flowkit.fields import parse
from flowkit.nodes.web import HttpRequest
from tests.sdk.test_nodes import Context

POST = {"method": "POST", "url": "https://crm.example/{{ trigger.id | url_encode }}"}


def run(config: dict[str, Any], **trigger: Any) -> Any:
    made, found = parse(HttpRequest, config)
    assert made is not None, found
    return made.run(Context(trigger=trigger))


def test_address_headers_and_body_are_rendered() -> None:
    config = POST | {
        "headers": {"X-Name": " {{ contact.first_name }} "},
        "body": {"name": "{{ contact.first_name }}", "tags": ["{{ trigger.id }}", 1, None]},
        "result": "order.id",
        "timeoutSeconds": 3,
        "onUnknown": "resend",
    }
    effect = run(config, id="a b")
    assert (effect.kind, effect.timeout, effect.on_unknown) == ("http.request", 3, "resend")
    assert effect.request == {
        "method": "POST",
        "url": "https://crm.example/a+b",
        "headers": {"X-Name": "Ana"},
        "body": {"name": "Ana", "tags": ["a b", 1, None]},
        "result": "order.id",
        "maximumBytes": 65_536,
    }


def test_a_get_is_always_asked_again() -> None:
    assert run({"method": "GET", "url": "https://a.example"}).on_unknown == "resend"
    assert run(POST, id=1).on_unknown == "fail"


@pytest.mark.parametrize(
    ("config", "code", "path"),
    [
        ({"url": "crm.example"}, "request.url", "/url"),
        ({"url": "file:///etc/passwd"}, "request.url", "/url"),
        ({"url": "https://user:secret@crm.example"}, "request.url", "/url"),
        ({"method": "GET", "body": {}}, "request.body", "/body"),
        ({"headers": {"a b": "c"}}, "request.header", "/headers/a b"),
        ({"headers": {"host": "c"}}, "request.header", "/headers/host"),
        ({"headers": {"Idempotency-Key": "c"}}, "request.header", "/headers/Idempotency-Key"),
        ({"headers": {"A": "c", "a": "d"}}, "request.header", "/headers/a"),
        ({"headers": {"A": "{{"}}, "config.template", "/headers/A"),
        ({"body": {"a": ["{{"]}}, "request.template", "/body/a/0"),
        ({"result": "a["}, "config.jmespath", "/result"),
        ({"timeoutSeconds": 21}, "config.out_of_range", "/timeoutSeconds"),
    ],
)
def test_what_is_certainly_wrong(config: dict[str, Any], code: str, path: str) -> None:
    made, found = parse(HttpRequest, POST | config)
    assert made is None
    assert [(p.code, p.path) for p in found] == [(code, path)]


@pytest.mark.parametrize(
    "config",
    [
        {"url": "{{ trigger.url }}"},
        {"url": "https://crm.example/{{ trigger.spaced }}"},
        {"url": "https://{{ trigger.spaced }}"},
        {"headers": {"A": "{{ trigger.lines }}"}},
    ],
)
def test_what_comes_out_wrong_fails_the_node(config: dict[str, Any]) -> None:
    with pytest.raises(NodeFailed) as caught:
        run(POST | config, url="gopher://a", spaced="a b", lines="a\r\nHost: b")
    assert caught.value.code == "request_invalid"


def test_the_verb_takes_method_and_address() -> None:
    flow = fk.Flow("Call", trigger="test").http("GET", "https://a.example", id="call").end()
    assert flow.validate() == []
    assert flow.nodes[1].config == {"method": "GET", "url": "https://a.example"}
