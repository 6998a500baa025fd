"""WhatsApp's policy: consent, pace, wording, lengths, the account's templates, and the cost."""

from __future__ import annotations

import contextlib
import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import flowkit as fk
from flowkit.errors import Invalid
from flowkit.flow import Flow
from flowkit.validate.consent import COUNTRY
from tests.engine.driver import PAYLOAD, World
from tests.sdk.strategies import json_values
from tests.sdk.test_window import flows


def template(name: str = "promo", body: str = "Hello", **more: Any) -> dict[str, Any]:
    """Return a template as the API lists it; `header`, `footer` and `buttons` are components."""
    parts = [{"type": "BODY", "text": body}]
    parts += [{"type": "HEADER", **more.pop("header")}] if "header" in more else []
    parts += [{"type": "FOOTER", "text": more.pop("footer")}] if "footer" in more else []
    parts += [{"type": "BUTTONS", "buttons": more.pop("buttons")}] if "buttons" in more else []
    known = {"language": "en_US", "status": "APPROVED", "category": "MARKETING"}
    return {"name": name, **known, **more, "components": parts}


STOPPABLE = template(footer="Reply STOP to end")
UTILITY = template("order", category="UTILITY")


def start(trigger: str = "bought", **more: Any) -> Flow:
    return Flow("Policy", trigger=trigger, **more)


def promo(b: Any, **more: Any) -> Any:
    return b.send(**{"template": "promo", "language": "en_US", **more})


def said(flow: Flow, *listed: dict[str, Any]) -> list[tuple[str, str]]:
    """The codes of what is found with those templates, and the nodes that they are at."""
    ended = flow.end() if flow.open_ends else flow
    problems = ended.validate(templates=list(listed)) if listed else ended.validate()
    return [(p.code, ended.nodes[int(p.path.split("/")[2])].id) for p in problems]


def codes(flow: Flow, *listed: dict[str, Any]) -> list[str]:
    return [code for code, _ in said(flow, *listed)]


def only(prefix: str, flow: Flow, *listed: dict[str, Any]) -> list[str]:
    return [code for code in codes(flow, *listed) if code.startswith(prefix)]


# --- consent ----------------------------------------------------------------------------------

AGREED = fk.contact.opt_in == True  # noqa: E712


@pytest.mark.parametrize(
    ("flow", "found"),
    [
        (promo(start()), True),
        (promo(start("newsletter.subscribed")), False),
        (promo(start(filter=fk.trigger.marketing_consent == "yes")), False),
        (promo(start().when(AGREED, otherwise=lambda b: b.end())), False),
        (promo(start().when(fk.contact.vip, then=lambda b: b.when(AGREED))), True),
        (promo(start(settings={"exit": [{"when": {"!": {"var": "contact.optIn"}}}]})), False),
    ],
)
def test_consent_is_asked_for_on_every_path(flow: Flow, found: bool) -> None:
    assert ("consent.not_asked" in codes(flow, STOPPABLE)) == found
    assert only("consent", flow) == [], "without a snapshot nobody knows what is marketing"
    assert only("consent", flow, template(category="UTILITY")) == []


@pytest.mark.parametrize(
    ("flow", "found"),
    [
        (promo(start()), True),
        (promo(start(settings={"exit": [{"event": "whatsapp.message"}]})), False),
        (promo(start(settings={"exit": [{"event": "opted_out"}]})), False),
        (promo(start()).wait_for("whatsapp.message", days=1), False),
        (promo(start()).when(fk.contact.vip, then=lambda b: b.wait_for("stopped", days=1)), True),
        (promo(start()).parallel(lambda b: b.wait_for("stop", days=1), lambda b: b.end()), False),
        (start().repeat(maximum=2, body=lambda b: promo(b).delay(days=1))
         .wait_for("whatsapp.message", days=1), False),
    ],
)  # fmt: skip
def test_a_wish_to_stop_is_heard_on_every_path(flow: Flow, found: bool) -> None:
    assert ("consent.no_way_out" in codes(flow, STOPPABLE)) == found


@pytest.mark.parametrize(
    ("flow", "found"),
    [
        (promo(start()), True),
        (promo(start().when(fk.contact.country == "US", then=lambda b: b.end())), False),
        (promo(start().when(fk.contact.country.is_in(["BR", "PT"]), otherwise=lambda b: b.end())),
         False),
        (promo(start().when((fk.contact.country == "BR") & fk.contact.vip,
                            otherwise=lambda b: b.end())), False),
        (promo(start().when((fk.contact.country == "BR") | fk.contact.vip,
                            otherwise=lambda b: b.end())), True),
        (start().switch({"us": fk.contact.country == "US"}, on={"us": promo}), True),
        (start().switch({"br": fk.contact.country == "BR"}, on={"br": promo}), False),
        (promo(start(filter=fk.trigger.address.country_code == "BR")), False),
        (promo(start(filter=fk.trigger.address.country_code != "BR")), True),
    ],
)  # fmt: skip
def test_marketing_to_the_united_states(flow: Flow, found: bool) -> None:
    assert "country" in COUNTRY
    assert ("consent.us_numbers" in codes(flow, STOPPABLE)) == found


# --- pace -------------------------------------------------------------------------------------


def test_marketing_once_a_day() -> None:
    def often(flow: Flow) -> list[str]:
        return only("marketing", flow, STOPPABLE, UTILITY)

    assert often(promo(promo(start()).delay(hours=23))) == ["marketing.often"]
    assert often(promo(promo(start()).delay(hours=24))) == []
    assert often(promo(start()).delay(hours=1).send(template="order", language="en_US")) == []
    capped = promo(start()).delay(hours=1).frequency_cap(maximum=1, period="day", allowed=promo)
    assert often(capped) == []
    loop = start().repeat(maximum=3, body=lambda b: promo(b).delay(hours=5))
    assert often(loop) == ["marketing.often"]
    assert often(start().repeat(maximum=3, body=lambda b: promo(b).delay(days=1))) == []
    assert often(start().parallel(promo, lambda b: promo(b.delay(hours=2)))) == ["marketing.often"]


def test_six_seconds_between_messages() -> None:
    one = start("whatsapp.message").send(text="One")
    assert only("pace", one.send(text="Two")) == ["pace.pair"]
    assert only("pace", one.delay(seconds=6).send(text="Two")) == []
    assert only("pace", one.delay(seconds=5.9).send(text="Two")) == ["pace.pair"]
    fork = start().parallel(lambda b: promo(b), lambda b: promo(b.delay(seconds=3)))
    assert said(fork) == [("pace.pair", "trigger_1")]
    apart = start().parallel(lambda b: promo(b), lambda b: promo(b.delay(seconds=9)))
    assert said(apart) == []


@pytest.mark.parametrize(
    ("flow", "found"),
    [
        (start().repeat(maximum=45, body=promo), False),
        (start().repeat(maximum=46, body=promo), True),
        (start().repeat(maximum=46, body=lambda b: promo(b).delay(seconds=6)), False),
        (start().repeat(maximum=46, body=promo, until=fk.contact.vip), False),
        (start().repeat(maximum=46, body=lambda b: b.when(fk.contact.vip, then=promo)), False),
        (start().repeat(maximum=23, body=lambda b: promo(promo(b))), True),
        (start().parallel(*[promo] * 46), True),
        (start().parallel(*[promo] * 45), False),
    ],
)
def test_no_more_than_45_at_once(flow: Flow, found: bool) -> None:
    problems = [p for p in flow.end().validate() if p.code == "pace.burst"]
    assert [p.severity for p in problems] == ["error"] * found


# --- wording and lengths ----------------------------------------------------------------------


def test_a_way_to_stop_in_the_template() -> None:
    stop = {"type": "QUICK_REPLY", "text": "Stop promotions"}
    for listed, found in [
        (template(), ["template.no_stop"]),
        (STOPPABLE, []),
        (template(buttons=[stop]), []),
        (template(footer="Responda SAIR"), []),
        (template(body="Nonstop fun"), ["template.no_stop"]),
        (template(category="UTILITY"), []),
    ]:
        assert only("template", promo(start()), listed) == found


@pytest.mark.parametrize(
    ("body", "category", "found"),
    [
        ("Your order is on its way", "UTILITY", []),
        ("Take 10% off today", "UTILITY", ["template.promotion"]),
        ("Ganhe um cupom", "UTILITY", ["template.promotion"]),
        ("Your wholesale order", "UTILITY", []),
        ("Your verification code is 1", "UTILITY", ["template.one_time_code"]),
        ("Your verification code is 1", "AUTHENTICATION", []),
    ],
)
def test_words_that_a_category_does_not_allow(body: str, category: str, found: list[str]) -> None:
    assert only("template", promo(start()), template(body=body, category=category)) == found


def test_numbers_that_must_not_be_asked_for() -> None:
    chat = start("whatsapp.message")
    assert codes(chat.send(text="Send us your credit card number")) == ["message.sensitive"]
    assert codes(chat.send(text="Your card is in the post")) == []


def test_texts_that_data_can_make_too_long() -> None:
    def buttons(title: str) -> list[str]:
        flow = start("whatsapp.message").send(text="Hi", buttons=[{"id": "a", "title": title}])
        return codes(flow)

    assert buttons("{{ contact.name }}") == ["message.may_be_too_long"]
    assert buttons("{{ contact.name | truncate: 20 }}") == []
    assert buttons("Yes") == []
    assert codes(start("whatsapp.message").send(text="{{ contact.name }}")) == []


# --- what comes in ----------------------------------------------------------------------------


def test_receipts_that_may_never_come() -> None:
    def wait(event: str, **more: Any) -> list[str]:
        return codes(start().wait_for(event, **more))

    assert wait("whatsapp.read", never=True) == ["event.may_never_come"]
    assert wait("whatsapp.read", days=1) == []
    assert wait("read", never=True) == []
    (problem,) = start("whatsapp.delivered").delay(days=1).end().validate()
    assert (problem.code, problem.path) == ("event.may_never_come", "/triggerType")


def test_a_person_is_more_than_a_number() -> None:
    assert codes(start(contact="{phone: customer.phone}").delay(days=1)) == ["contact.phone_only"]
    assert codes(start(contact="{phone: a, id: to_string(b)}").delay(days=1)) == []
    assert codes(start(contact="customer").delay(days=1)) == []


# --- the account's templates ------------------------------------------------------------------

URL = {"type": "URL", "text": "Go", "url": "https://x.example/{{1}}"}


@pytest.mark.parametrize(
    ("config", "listed", "found"),
    [
        ({}, STOPPABLE, []),
        ({"template": "other"}, STOPPABLE, ["template.unknown"]),
        ({"language": "pt_BR"}, STOPPABLE, ["template.language"]),
        ({"language": "en-us"}, STOPPABLE, []),
        ({}, STOPPABLE | {"status": "PAUSED"}, ["template.status"]),
        ({"parameters": ["a"]}, STOPPABLE, ["template.parameters"]),
        ({}, template(body="{{1}} stop {{2}} {{1}}"), ["template.parameters"]),
        ({"parameters": ["a", "b"]}, template(body="{{1}} stop {{2}} {{1}}"), []),
        ({"parameters": ["a"]}, template(body="{{name}} stop"), ["template.parameters"]),
        ({}, STOPPABLE | {"components": []}, ["template.no_stop"]),
        ({}, template(header={"format": "IMAGE"}, footer="stop"), ["template.header"]),
        ({"header": {"kind": "image", "media": "https://x.example/a.png"}},
         template(header={"format": "IMAGE"}, footer="stop"), []),
        ({}, template(header={"format": "LOCATION"}, footer="stop"), ["template.header"]),
        ({"header": {"kind": "text", "text": "Ana"}}, STOPPABLE, ["template.header"]),
        ({"header": {"kind": "text", "text": "Ana"}},
         template(header={"format": "TEXT", "text": "For {{1}}"}, footer="stop"), []),
        ({}, template(buttons=[URL], footer="stop"), ["template.button"]),
        ({"button_parameters": [{"index": 0, "value": "a"}]},
         template(buttons=[URL], footer="stop"), []),
        ({"button_parameters": [{"index": 1, "value": "a"}]},
         template(buttons=[URL], footer="stop"), ["template.button", "template.button"]),
        ({"button_parameters": [{"index": 0, "kind": "quick_reply", "value": "a"}]},
         template(buttons=[{"type": "QUICK_REPLY", "text": "Stop"}]), []),
        ({"parameters": ["a\nb"]}, template(body="{{1}} stop"), ["template.value"]),
    ],
)  # fmt: skip
def test_templates(config: dict[str, Any], listed: dict[str, Any], found: list[str]) -> None:
    assert only("template", promo(start(), **config), listed) == found


def test_a_snapshot_is_read_as_the_api_gives_it(tmp_path: Path) -> None:
    flow = promo(start()).end()
    pages = [{"data": [UTILITY], "paging": {"next": "https://..."}}, {"data": [STOPPABLE]}]
    file = tmp_path / "templates.json"
    file.write_text(json.dumps(pages))
    whole = flow.validate(templates=[UTILITY, STOPPABLE])
    for given_ in (pages, {"data": [UTILITY, STOPPABLE]}, file, str(file)):
        assert flow.validate(templates=given_) == whole
    with pytest.raises(Invalid, match=r"templates\.incomplete at /0/paging/next"):
        flow.validate(templates=pages[:1])
    with pytest.raises(Invalid, match=r"templates\.file"):
        flow.validate(templates=tmp_path / "none.json")


@settings(max_examples=40)
@given(templates=json_values | st.lists(json_values.map(lambda x: UTILITY | {"components": [x]})))
def test_any_snapshot_is_read_or_refused(templates: Any) -> None:
    if templates is None or isinstance(templates, str):
        return
    with contextlib.suppress(Invalid):
        promo(start()).end().validate(templates=templates)


# --- the cost ---------------------------------------------------------------------------------

PRICES = fk.Prices(
    as_of=date(2026, 10, 1),
    currency="USD",
    rates={("55", "MARKETING"): 0.06, ("1", "MARKETING"): 0.02, ("1", "UTILITY"): 0.5},
)


def test_the_dearest_way_counts() -> None:
    flow = (
        start()
        .when(fk.contact.vip, then=lambda b: promo(promo(b)), otherwise=promo)
        .parallel(promo, lambda b: b.repeat(maximum=3, body=promo))
        .join()
        .send(template="promo", language="en_US", id="last")
        .end()
    )
    bound = flow.cost_bound(PRICES, at=date(2026, 12, 1))
    assert (bound.amount, bound.currency, bound.calling_code) == (0.06 * 7, "USD", "55")
    assert bound.problems == []
    assert flow.cost_bound(PRICES, phone="+1 555").amount == pytest.approx(0.02 * 7)
    (stale,) = flow.cost_bound(PRICES, at=date(2027, 6, 1)).problems
    assert stale.code == "cost.stale"
    none = fk.Prices(as_of=date(2026, 10, 1), currency="USD", rates={})
    assert {p.code for p in flow.cost_bound(none).problems} == {"cost.unpriced"}


@settings(max_examples=25)
@given(flow=flows(), chosen=st.lists(st.booleans(), min_size=8, max_size=8))
def test_no_execution_costs_more(flow: Flow, chosen: list[bool]) -> None:
    asked = [node.id for node in flow.nodes if node.id[0] in "cr"]
    world = World(flow, payload=PAYLOAD | dict(zip(asked, chosen * 50, strict=False)))
    execution = world.run()
    while execution.resume_at is not None:
        world.now = execution.resume_at
        execution = world.run()
    sent = sum(PRICES.of("", "+55") or 0 for _ in world.performed)
    assert sent <= flow.cost_bound(PRICES).amount + 1e-6
