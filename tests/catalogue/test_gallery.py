"""Starter flows: each is valid, and does in the engine what it says."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from flowkit import engine
from flowkit.errors import NotFound
from flowkit.flow import Flow
from flowkit.gallery import source, starter, starters
from flowkit.testing import EPOCH
from service.demo.checkouts import checkouts
from tests.engine.driver import World

ANA = {"id": "c1", "phone": "+5511999990000", "first_name": "Ana"}


def sent(flow: Flow, payload: Any) -> list[tuple[float, str, list[str]]]:
    """Return after how many hours which templates go out with which values, to the end."""
    world = World(flow.replace(id="flow", version=1, is_active=True), payload)
    messages = []
    while not world.execution.ended_at:
        if world.execution.resume_at is not None:
            world.now = max(world.now, world.execution.resume_at)
        count = len(world.performed)
        world.run()
        hours = (world.now - EPOCH) / timedelta(hours=1)
        for performance in world.performed[count:]:
            template = performance.effect.request["template"]
            (body,) = template["components"]
            values = [parameter["text"] for parameter in body["parameters"]]
            messages.append((hours, template["name"], values))
    assert world.execution.status == "completed"
    return messages


def starts(flow: Flow, payload: Any) -> bool:
    stored = flow.replace(id="flow", version=1, is_active=True)
    return engine.start(stored, payload, execution_id="x", now=EPOCH) is not None


CHECKOUT = next(iter(checkouts(1)))
ORDER = {"event_id": "e", "order": {"number": "1001"}, "contact": ANA}
DELIVERED = {"order": {"number": "7", "product": "Lamp", "total": 80}, "contact": ANA}
DUE = {"appointment": {"id": "1", "time": "14:30", "place": "Main Street 5"}, "contact": ANA}
STOCK = {"product": {"id": "1", "name": "Lamp"}, "contact": ANA}
AWAY = {"orders": 1, "spent": 320, "contact": ANA}

CASES = [
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
        [(0, "appointment_tomorrow", ["Ana", "14:30"]), (22, "appointment_link", ["14:30"])],
    ),
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
        "welcome-series",  # it is Monday, 06:00 in São Paulo
        {"contact": ANA | {"time_zone": "America/Sao_Paulo"}},
        [(0, "welcome", ["Ana"]), (51, "welcome_tips", ["Ana"]), (171, "welcome_last", ["Ana"])],
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
    ("promotion-test", {"contact": ANA | {"id": "c2"}}, [(0, "promotion_gift", ["Ana"])]),
    ("promotion-test", {"contact": ANA | {"id": "c10"}}, []),
    ("win-back", AWAY | {"spent": 10}, [(0, "we_miss_you", ["Ana"])]),
]


@pytest.mark.parametrize(("name", "payload", "messages"), CASES)
def test_it_sends_what_it_says_when_it_says(name: str, payload: Any, messages: Any) -> None:
    assert sent(starter(name), payload) == messages


def test_each_is_tried() -> None:
    assert {name for name, _, _ in CASES} == set(starters())


@pytest.mark.parametrize("name", starters())
def test_each_is_valid_and_says_what_it_is(name: str) -> None:
    flow = starter(name)
    assert flow.validate() == []
    title, _, about = starters()[name].partition(": ")
    assert title.startswith(flow.name.split()[0])
    assert about.endswith(".")
    assert compile(source(name), name, "exec")


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
