"""Every kind of message, from its node through the client into the simulator, and what is wrong."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient

from flowkit.nodetype import read_node
from service.channels.whatsapp.client import WhatsAppClient
from tests.sdk.test_messages import BUTTONS, IMAGE, LINK, LIST, TEMPLATE
from tests.sdk.test_nodes import Context
from tests.whatsapp.conftest import Simulator
from tests.whatsapp.test_simulator import changed, messages, send, web

__all__ = ["web"]

HEADED = {"header": {"kind": "image", "media": "https://cdn.example/a.png"}, "footer": "Bye"}
PARAMETERS = [{"index": 0, "value": "x"}, {"index": 1, "kind": "quick_reply", "value": "STOP"}]
CONFIGS: dict[str, dict[str, Any]] = {
    "image": IMAGE | {"caption": "Look"},
    "video": {"kind": "video", "media": "123"},
    "document": {"kind": "document", "media": "123", "filename": "a.pdf"},
    "buttons": BUTTONS | HEADED,
    "list": LIST | {"header": {"kind": "text", "text": "Sizes"}},
    "cta_url": LINK | HEADED,
    "template": TEMPLATE
    | {"header": HEADED["header"], "parameters": ["Ana"], "buttonParameters": PARAMETERS},
}


def sent(kind: str) -> dict[str, Any]:
    """Return a message of a kind as the client posts it."""
    effect: Any = read_node("SEND_MESSAGE", CONFIGS[kind]).run(Context())
    return copy.deepcopy(effect.request) | {"messaging_product": "whatsapp"}


@pytest.mark.parametrize("kind", CONFIGS)
def test_every_kind_is_sent_and_recorded(
    kind: str, simulator: Simulator, connect: Callable[..., WhatsAppClient]
) -> None:
    effect: Any = read_node("SEND_MESSAGE", CONFIGS[kind]).run(Context())
    outcome = connect(simulator.url).perform(effect.request, "x_send", 5)
    assert outcome.status == "completed"
    (item,) = simulator.messages()
    assert item["type"] == effect.request["type"]
    assert item["body"][item["type"]] == effect.request[item["type"]]


INTERACTIVE = "interactive"
BUTTON = f"{INTERACTIVE}/action/buttons/0"
SECTION = f"{INTERACTIVE}/action/sections/0"


@pytest.mark.parametrize(
    ("kind", "path", "value", "code"),
    [
        ("image", "image/link", ..., 131008),
        ("image", "image/id", "12", 131008),
        ("image", "image/link", "ftp://a", 131009),
        ("image", "image/caption", "x" * 1025, 131009),
        ("image", "image/filename", "a.png", 100),
        ("document", "document/id", "a", 131009),
        ("buttons", f"{INTERACTIVE}/type", "carousel", 131009),
        ("buttons", f"{INTERACTIVE}/type", ["button"], 131009),
        ("buttons", f"{INTERACTIVE}/body", ..., 131008),
        ("buttons", f"{INTERACTIVE}/body", "text", 131009),
        ("buttons", f"{INTERACTIVE}/body/text", "x" * 1025, 131009),
        ("buttons", f"{INTERACTIVE}/footer/text", "x" * 61, 131009),
        ("buttons", f"{INTERACTIVE}/header/type", "audio", 131009),
        ("buttons", f"{INTERACTIVE}/header/image", ..., 131008),
        ("buttons", f"{INTERACTIVE}/action/buttons", [], 131009),
        ("buttons", BUTTON, "Yes", 131009),
        ("buttons", f"{BUTTON}/type", "url", 131009),
        ("buttons", f"{BUTTON}/reply/title", "x" * 21, 131009),
        ("buttons", f"{BUTTON}/reply/id", ..., 131008),
        (
            "buttons",
            f"{INTERACTIVE}/action/buttons",
            [{"type": "reply", "reply": {"id": "a", "title": "A"}}] * 2,
            131009,
        ),
        ("list", f"{INTERACTIVE}/header", {"type": "image", "image": {"id": "1"}}, 131009),
        ("list", f"{INTERACTIVE}/body/text", "x" * 4097, 131009),
        ("list", f"{INTERACTIVE}/action/button", ..., 131008),
        ("list", f"{SECTION}/rows", [], 131009),
        ("list", f"{SECTION}/rows", [{"id": str(i), "title": "a"} for i in range(11)], 131009),
        ("list", f"{SECTION}/rows/0/title", "x" * 25, 131009),
        ("list", f"{SECTION}/rows/0/description", "x" * 73, 131009),
        ("list", f"{SECTION}/rows/1/id", "s", 131009),
        ("cta_url", f"{INTERACTIVE}/action/name", "flow", 131009),
        ("cta_url", f"{INTERACTIVE}/action/parameters/url", "shop", 131009),
        ("cta_url", f"{INTERACTIVE}/action/parameters/display_text", "x" * 21, 131009),
        ("template", "template/components/0/parameters/0/image", ..., 131008),
        ("template", "template/components/2/index", "x", 131009),
        ("template", "template/components/2/sub_type", ..., 131009),
    ],
)
def test_what_is_wrong_with_a_kind_has_its_code(
    web: FlaskClient, kind: str, path: str, value: Any, code: int
) -> None:
    assert send(web, sent(kind)).status_code == 200
    answer = send(web, changed(sent(kind), path, value))
    assert answer.get_json()["error"]["code"] == code
    assert [item["status"] for item in messages(web)["items"]] == ["accepted", "rejected"]


def test_a_rule_finds_what_the_contact_reads(web: FlaskClient) -> None:
    web.post("/_simulator/rules", json={"text": "Large", "code": 131026})
    assert send(web, sent("buttons")).status_code == 200
    assert send(web, sent("list")).get_json()["error"]["code"] == 131026
