"""The kinds of messages: what is declared wrong, what is only found when it is rendered."""

from __future__ import annotations

from typing import Any

import pytest

import flowkit as fk
from flowkit.errors import Invalid, NodeFailed
from flowkit.fields import parse, unparse
from flowkit.nodes.messages import SendMessage
from tests.sdk.test_nodes import ANA, Context

BUTTONS = {"kind": "buttons", "text": "Coming?", "buttons": [{"id": "yes", "title": "Yes"}]}
LIST = {
    "kind": "list",
    "text": "Which size?",
    "buttonText": "Sizes",
    "sections": [{"rows": [{"id": "s", "title": "Small"}, {"id": "l", "title": "Large"}]}],
}
LINK = {"kind": "cta_url", "text": "See it.", "buttonText": "Shop", "url": "https://shop.example/a"}
TEMPLATE = {"kind": "template", "template": "cart", "language": "pt_BR"}
IMAGE = {"kind": "image", "media": "https://cdn.example/a.png"}


def request(config: dict[str, Any], **trigger: Any) -> Any:
    """Return the body of the message that a config renders for Ana."""
    made, found = parse(SendMessage, config)
    assert made is not None, found
    asked = made.run(Context(trigger=trigger)).request
    return asked["type"], asked[asked["type"]]


def test_a_file_is_an_address_or_an_upload() -> None:
    config = IMAGE | {"caption": "Hi {{ contact.first_name }}"}
    assert request(config) == ("image", {"link": "https://cdn.example/a.png", "caption": "Hi Ana"})
    assert request({"kind": "video", "media": "{{ trigger.id }}"}, id=12) == ("video", {"id": "12"})
    config = {"kind": "document", "media": "99", "filename": "{{ trigger.number }}.pdf"}
    assert request(config, number=7) == ("document", {"id": "99", "filename": "7.pdf"})


def test_only_a_document_has_a_name() -> None:
    assert request(IMAGE | {"filename": "a.png"})[1] == {"link": "https://cdn.example/a.png"}


def test_buttons_a_list_and_a_link() -> None:
    more = {"header": {"kind": "text", "text": "{{ contact.country }}"}, "footer": "Bye"}
    assert request(BUTTONS | more) == (
        "interactive",
        {
            "type": "button",
            "header": {"type": "text", "text": "BR"},
            "body": {"text": "Coming?"},
            "footer": {"text": "Bye"},
            "action": {"buttons": [{"type": "reply", "reply": {"id": "yes", "title": "Yes"}}]},
        },
    )
    _, made = request(LIST)
    assert made["action"] == {
        "button": "Sizes",
        "sections": [{"rows": [{"id": "s", "title": "Small"}, {"id": "l", "title": "Large"}]}],
    }
    _, made = request(LINK | {"header": {"kind": "image", "media": "5"}})
    assert made["header"] == {"type": "image", "image": {"id": "5"}}
    assert made["action"] == {
        "name": "cta_url",
        "parameters": {"display_text": "Shop", "url": "https://shop.example/a"},
    }


def test_a_template_with_header_body_and_buttons() -> None:
    config = TEMPLATE | {
        "header": {"kind": "document", "media": "https://a.example/x.pdf", "filename": "x.pdf"},
        "parameters": ["{{ contact.first_name }}"],
        "buttonParameters": [
            {"index": 0, "kind": "quick_reply", "value": "STOP"},
            {"index": 1, "value": "{{ trigger.order }}"},
            {"index": 2, "kind": "copy_code", "value": "25OFF"},
        ],
    }
    _, made = request(config, order="A-7")
    assert made["components"] == [
        {
            "type": "header",
            "parameters": [
                {
                    "type": "document",
                    "document": {"link": "https://a.example/x.pdf", "filename": "x.pdf"},
                }
            ],
        },
        {"type": "body", "parameters": [{"type": "text", "text": "Ana"}]},
        {
            "type": "button",
            "sub_type": "quick_reply",
            "index": "0",
            "parameters": [{"type": "payload", "payload": "STOP"}],
        },
        {
            "type": "button",
            "sub_type": "url",
            "index": "1",
            "parameters": [{"type": "text", "text": "A-7"}],
        },
        {
            "type": "button",
            "sub_type": "copy_code",
            "index": "2",
            "parameters": [{"type": "coupon_code", "coupon_code": "25OFF"}],
        },
    ]


def rows(number: int, first: str = "r") -> list[dict[str, str]]:
    return [{"id": f"{first}{i}", "title": f"Row {i}"} for i in range(number)]


@pytest.mark.parametrize(
    ("config", "found"),
    [
        ({"kind": "text"}, ("config.missing", "/text")),
        ({"kind": "buttons", "text": "a"}, ("config.missing", "/buttons")),
        ({"kind": "list", "text": "a", "buttonText": "b"}, ("config.missing", "/sections")),
        ({"kind": "image"}, ("config.missing", "/media")),
        ({"kind": "text", "text": "x" * 4097}, ("message.too_long", "/text")),
        ({"kind": "text", "text": " \n "}, ("message.empty", "/text")),
        (BUTTONS | {"text": "x" * 1025}, ("message.too_long", "/text")),
        (LIST | {"text": "x" * 4097}, ("message.too_long", "/text")),
        (BUTTONS | {"footer": "x" * 61}, ("message.too_long", "/footer")),
        (
            BUTTONS | {"header": {"kind": "text", "text": "x" * 61}},
            ("message.too_long", "/header/text"),
        ),
        (BUTTONS | {"header": {"kind": "text"}}, ("config.missing", "/header/text")),
        (BUTTONS | {"header": {"kind": "image"}}, ("config.missing", "/header/media")),
        (
            BUTTONS | {"buttons": [{"id": "a", "title": "x" * 21}]},
            ("message.too_long", "/buttons/0/title"),
        ),
        (
            BUTTONS | {"buttons": [{"id": str(i), "title": str(i)} for i in range(4)]},
            ("config.out_of_range", "/buttons"),
        ),
        (
            BUTTONS | {"buttons": [{"id": "a", "title": "A"}, {"id": "a", "title": "B"}]},
            ("message.duplicate", "/buttons/1/id"),
        ),
        (
            BUTTONS | {"buttons": [{"id": "a", "title": "A"}, {"id": "b", "title": "A"}]},
            ("message.duplicate", "/buttons/1/title"),
        ),
        (LIST | {"sections": [{"rows": rows(11)}]}, ("config.out_of_range", "/sections/0/rows")),
        (
            LIST | {"sections": [{"title": t, "rows": rows(6, t)} for t in "ab"]},
            ("message.too_many", "/sections"),
        ),
        (
            LIST | {"sections": [{"title": "a", "rows": rows(1)}, {"rows": rows(2)[1:]}]},
            ("message.empty", "/sections/1/title"),
        ),
        (
            LIST | {"sections": [{"title": t, "rows": rows(1)} for t in "ab"]},
            ("message.duplicate", "/sections/1/rows/0/id"),
        ),
        (LIST | {"header": {"kind": "image", "media": "1"}}, ("message.header", "/header/kind")),
        (LIST | {"buttonText": "x" * 21}, ("message.too_long", "/buttonText")),
        (LINK | {"url": "shop.example"}, ("message.url", "/url")),
        (IMAGE | {"media": "a.png"}, ("message.media", "/media")),
        (IMAGE | {"caption": "x" * 1025}, ("message.too_long", "/caption")),
        (
            TEMPLATE | {"buttonParameters": [{"index": 0, "value": "a"}] * 2},
            ("message.duplicate", "/buttonParameters/1/index"),
        ),
    ],
)
def test_what_is_certainly_wrong_is_a_problem_at_once(config: Any, found: tuple[str, str]) -> None:
    made, problems = parse(SendMessage, config)
    assert made is None
    assert [(p.code, p.path) for p in problems] == [found]
    assert problems[0].message.endswith(".")


def test_a_long_list_text_is_advice() -> None:
    made, (problem,) = parse(SendMessage, LIST | {"text": "x" * 1025})
    assert made is not None
    assert (problem.code, problem.severity) == ("message.long", "warning")


@pytest.mark.parametrize(
    ("config", "code"),
    [
        (BUTTONS | {"text": "{{ trigger.long }}"}, "message_too_long"),
        (BUTTONS | {"footer": "{{ trigger.long }}"}, "message_too_long"),
        (BUTTONS | {"footer": "{{ trigger.none }}"}, "message_empty"),
        (
            BUTTONS | {"header": {"kind": "text", "text": "{{ trigger.long }}"}},
            "message_too_long",
        ),
        (BUTTONS | {"buttons": [{"id": "a", "title": "{{ trigger.long }}"}]}, "message_too_long"),
        (
            BUTTONS
            | {"buttons": [{"id": "a", "title": "BR"}, {"id": "b", "title": "{{ trigger.br }}"}]},
            "buttons_ambiguous",
        ),
        (LIST | {"buttonText": "{{ trigger.long }}"}, "message_too_long"),
        (
            LIST | {"sections": [{"rows": [{"id": "a", "title": "{{ trigger.long }}"}]}]},
            "message_too_long",
        ),
        (
            LIST
            | {
                "sections": [
                    {"rows": [{"id": "a", "title": "A", "description": "{{ trigger.long }}"}]}
                ]
            },
            "message_too_long",
        ),
        (LINK | {"url": "{{ trigger.none }}"}, "link_invalid"),
        (LINK | {"url": "javascript:{{ trigger.br }}"}, "link_invalid"),
        (IMAGE | {"media": "{{ trigger.none }}"}, "media_invalid"),
        (IMAGE | {"caption": "{{ trigger.long }}"}, "message_too_long"),
        (
            TEMPLATE | {"header": {"kind": "text", "text": "{{ trigger.lines }}"}},
            "parameter_invalid",
        ),
        (
            TEMPLATE
            | {
                "buttonParameters": [
                    {"index": 0, "kind": "copy_code", "value": "{{ trigger.long }}"}
                ]
            },
            "parameter_invalid",
        ),
        (TEMPLATE | {"parameters": ["{{ trigger.long }}"]}, "parameter_invalid"),
    ],
)
def test_what_comes_out_wrong_fails_the_node(config: Any, code: str) -> None:
    with pytest.raises(NodeFailed) as caught:
        request(config, long="x" * 1025, lines="a\nb", br="BR")
    assert caught.value.code == code


def test_the_kind_follows_from_what_is_given() -> None:
    flow = (
        fk.Flow("Kinds", trigger="test")
        .send(text="Hi")
        .send(template="cart", language="en")
        .send(text="?", buttons=[{"id": "a", "title": "A"}])
        .send(text="?", button_text="b", sections=[{"rows": [{"id": "a", "title": "A"}]}])
        .send(text="?", button_text="b", url="https://a.example")
        .send(kind="image", media="1")
        .end()
    )
    kinds = [node.config["kind"] for node in flow.nodes if node.type == "SEND_MESSAGE"]
    assert kinds == ["text", "template", "buttons", "list", "cta_url", "image"]
    assert fk.Flow.from_json(flow.to_json()) == flow
    with pytest.raises(Invalid):
        fk.Flow("Kinds", trigger="test").send(text="?", buttons=[])


@pytest.mark.parametrize("config", [BUTTONS, LIST, LINK, TEMPLATE, IMAGE])
def test_every_kind_is_written_as_it_was_read(config: Any) -> None:
    made, _ = parse(SendMessage, config)
    assert unparse(made) == config
    assert ANA["country"] == "BR"
