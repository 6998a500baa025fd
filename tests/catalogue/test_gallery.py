"""Starter flows: each is valid, and does what it says in the service, engine and simulator."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from flowkit import engine
from flowkit.errors import NotFound
from flowkit.flow import Flow
from flowkit.gallery import source, starter, starters
from flowkit.problems import errors
from flowkit.testing import EPOCH
from service.demo.checkouts import checkouts
from tests.catalogue.live import Event, Live
from tests.catalogue.ways import same_everywhere
from tests.whatsapp.conftest import Simulator

ANA = {"id": "c1", "phone": "+5511999990000", "first_name": "Ana"}
INBOUND = "whatsapp.message"


def sent(document: dict[str, Any], whatsapp: Simulator) -> list[tuple[float, str, list[str]]]:
    """Return after how many hours which messages went out: templates with their values, texts."""
    bodies = {message["callbackData"]: message["body"] for message in whatsapp.messages()}
    messages = []
    for run in document["executedNodes"]:
        if run["idempotencyKey"] in bodies:
            hours = (datetime.fromisoformat(run["startTime"]) - EPOCH) / timedelta(hours=1)
            messages.append((hours, *said(bodies[run["idempotencyKey"]])))
    return messages


def said(body: dict[str, Any]) -> tuple[str, list[str]]:
    if body["type"] == "template":
        made = body["template"]
        values = [
            parameter["text"]
            for component in made.get("components", ())
            if component["type"] == "body"
            for parameter in component["parameters"]
        ]
        return made["name"], values
    return (
        body["interactive"]["body"]["text"] if "interactive" in body else body["text"]["body"]
    ), []


def starts(flow: Flow, payload: Any) -> bool:
    stored = flow.replace(id="flow", version=1, is_active=True)
    return engine.start(stored, payload, execution_id="x", now=EPOCH) is not None


def tapped(kind: str, **what: Any) -> dict[str, Any]:
    """Return the message of a contact who has tapped on something."""
    return {"contact": ANA, "type": kind, kind: what}


def written(text: str) -> dict[str, Any]:
    return {"contact": ANA, "type": "text", "text": {"body": text}}


CHECKOUT = next(iter(checkouts(1)))
ORDER = {"event_id": "e", "order": {"number": "1001"}, "contact": ANA}
DELIVERED = {"order": {"number": "7", "product": "Lamp", "total": 80}, "contact": ANA}
APPOINTMENT = {"id": "1", "starts_at": "2026-01-06T09:00Z", "time": "14:30"}
DUE = {"appointment": APPOINTMENT | {"place": "Main Street 5"}, "contact": ANA}
STOCK = {"product": {"id": "1", "name": "Lamp"}, "contact": ANA}
AWAY = {"orders": 1, "spent": 320, "contact": ANA}

WARNINGS = {"appointment-reminder": {"pace.pair"}, "inbound-menu": {"pace.pair"}}
"""What validation says of a starter flow, because it is so."""
NOW_TOLD = (0, "appointment_tomorrow", ["Ana", "14:30"])
TOPICS = (0, "How can we help?", [])
WITH_AGENT = {"contact": ANA | {"tags": ["with_agent"]}}
ORDERED = ("order_placed", {"total": 80, "contact": ANA})

CASES: list[tuple[Any, ...]] = [
    (
        "abandoned-cart",
        CHECKOUT | {"customer": ANA, "total_price": "99.00"},
        [(1, "cart_reminder", ["Ana"])],
    ),
    (
        "abandoned-cart",
        CHECKOUT | {"customer": ANA, "total_price": "101.00"},
        [(1, "cart_reminder", ["Ana"]), (24, "cart_voucher", ["Ana", "CART10"])],
    ),
    ("abandoned-cart", CHECKOUT | {"customer": ANA}, [], [(0.5, *ORDERED)]),
    (
        "order-updates",
        ORDER | {"status": "confirmed"},
        [(0, "order_confirmed", ["Ana", "1001"])],
    ),
    (
        "order-updates",
        ORDER | {"status": "shipped"},
        [(0, "order_shipped", ["Ana", "1001", "soon to be known"])],
    ),
    (
        "order-updates",
        ORDER | {"status": "delivered"},
        [(0, "order_delivered", ["Ana", "1001"])],
    ),
    (
        "post-purchase-review",
        DELIVERED,
        [(120, "review_request", ["Ana", "Lamp"]), (288, "review_reminder", ["Ana", "Lamp"])],
    ),
    ("post-purchase-review", DELIVERED | {"contact": ANA | {"reviews": False}}, []),
    (
        "appointment-reminder",
        DUE,
        [
            (0, "appointment_tomorrow", ["Ana", "14:30"]),
            (22, "appointment_soon", ["14:30", "Main Street 5"]),
        ],
    ),
    (
        "appointment-reminder",
        DUE | {"appointment": {"time": "14:30", "online": True}},
        [NOW_TOLD, (22, "appointment_link", ["14:30"])],
    ),
    (
        "appointment-reminder",
        DUE,
        [
            NOW_TOLD,
            (3, "See you tomorrow at 14:30!", []),
            (22, "appointment_soon", ["14:30", "Main Street 5"]),
        ],
        [(3, INBOUND, tapped("button", payload="confirm"))],
    ),
    (
        "appointment-reminder",
        DUE,
        [NOW_TOLD, (3, "When does it suit you better? We will look for a time then.", [])],
        [
            (2, INBOUND, written("What?")),
            (3, INBOUND, tapped("button", payload="move")),
            (4, INBOUND, tapped("interactive", button_reply={"id": "morning"})),
        ],
    ),
    (
        "appointment-reminder",
        DUE,
        [NOW_TOLD, (3, "Your appointment is cancelled.", [])],
        [(3, INBOUND, tapped("button", payload="cancel"))],
    ),
    (
        "inbound-menu",
        written("Menu"),
        [TOPICS, (1, "We are here from Monday to Friday, 9:00 to 18:00.", [])],
        [(1, INBOUND, tapped("interactive", list_reply={"id": "hours"}))],
    ),
    (
        "inbound-menu",
        written("hi"),
        [TOPICS, (1, "Somebody of us will answer you here.", [])],
        [(1, INBOUND, tapped("interactive", list_reply={"id": "agent"}))],
    ),
    ("inbound-menu", written("hello"), [TOPICS]),
    ("inbound-menu", written("HELP"), [(0, "Somebody of us will answer you here.", [])]),
    ("inbound-menu", written("stop"), [(0, "You will hear no more from us.", [])]),
    ("inbound-menu", written("What?"), [(0, "Write MENU to see the topics.", [])]),
    ("inbound-menu", written("Menu") | WITH_AGENT, []),
    ("inbound-menu", written("STOP") | WITH_AGENT, [(0, "You will hear no more from us.", [])]),
    ("back-in-stock", STOCK, [(24, "back_in_stock", ["Ana", "Lamp"])]),
    (
        "back-in-stock",
        STOCK | {"contact": ANA | {"tags": ["vip"]}},
        [(0, "back_in_stock", ["Ana", "Lamp"])],
    ),
    (
        "win-back",
        AWAY,
        [(0, "we_miss_you", ["Ana"]), (168, "come_back", ["Ana", "BACK15"])],
    ),
    (
        "welcome-series",
        {"contact": ANA | {"id": "c2", "country": "BR"}},
        [
            (0, "welcome", ["Ana"]),
            (24, "welcome_tips", ["Ana"]),
            (72, "welcome_voucher", []),
            (144, "welcome_last", []),
        ],
    ),
    (
        "welcome-series",
        {"contact": ANA},
        [
            (0, "welcome", ["Ana"]),
            (24, "welcome_tips", ["Ana"]),
            (96, "welcome_reminder", []),
            (168, "welcome_last", []),
        ],
    ),
    (
        "welcome-series",
        {"contact": ANA},
        [(0, "welcome", ["Ana"]), (24, "welcome_tips", ["Ana"])],
        [(25, *ORDERED)],
    ),
    (
        "birthday",
        {"orders": 3, "contact": ANA | {"birthday": "1990-01-09", "time_zone": "UTC"}},
        [(96, "birthday_voucher", ["Ana", "BDAY20"])],
    ),
    (
        "birthday",
        {"contact": ANA | {"birthday": "1990-01-09", "time_zone": "UTC"}},
        [(96, "birthday", ["Ana"])],
    ),
    ("birthday", {"contact": ANA | {"birthday": "1990-01-04", "time_zone": "UTC"}}, []),
    ("promotion-test", {"contact": ANA}, [(0, "promotion_price", ["Ana"])]),
    ("promotion-test", {"contact": ANA}, [(0, "promotion_price", ["Ana"])], [(9, *ORDERED)]),
    ("promotion-test", {"contact": ANA | {"id": "c2"}}, [(0, "promotion_gift", ["Ana"])]),
    ("promotion-test", {"contact": ANA | {"id": "c10"}}, []),
    ("win-back", AWAY | {"spent": 10}, [(0, "we_miss_you", ["Ana"])]),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_it_sends_what_it_says_when_it_says(
    case: tuple[Any, ...], live: Live, whatsapp: Simulator
) -> None:
    name, payload, messages, *more = case
    events: list[Event] = more[0] if more else []
    # The id decides who comes to which arm of a SPLIT.
    document = same_everywhere(starter(name).replace(id="flow"), payload, events, live)
    assert sent(document, whatsapp) == messages
    assert document["status"] == "completed"


def test_each_is_tried() -> None:
    assert {name for name, *_ in CASES} == set(starters())


@pytest.mark.parametrize("name", starters())
def test_each_is_valid_and_says_what_it_is(name: str) -> None:
    flow = starter(name)
    assert errors(flow.validate()) == []
    assert {problem.code for problem in flow.validate()} == WARNINGS.get(name, set())
    title, _, about = starters()[name].partition(": ")
    assert title.startswith(flow.name.split()[0])
    assert about.endswith(".")


@pytest.mark.parametrize("name", starters())
def test_each_can_be_written_as_code_again(name: str) -> None:
    names: dict[str, Any] = {}
    exec(starter(name).to_python(), names)
    assert names["flow"] == starter(name)
    assert "with_view" not in starter(name).to_python()


@pytest.mark.parametrize(
    ("name", "payload"),
    [
        ("abandoned-cart", CHECKOUT | {"completed_at": "2026-01-01T00:00:00Z"}),
        ("order-updates", ORDER | {"status": "returned"}),
        ("win-back", AWAY | {"orders": 0}),
        ("birthday", {"contact": ANA}),
    ],
)
def test_it_does_not_start_for_others(name: str, payload: Any) -> None:
    assert not starts(starter(name), payload)


@pytest.mark.parametrize("name", ["nothing", "", "__init__", "../flow", "a b"])
def test_what_is_not_there(name: str) -> None:
    with pytest.raises(NotFound, match="abandoned-cart"):
        source(name)
