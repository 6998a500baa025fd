"""What each built-in node does when it runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowkit.duration import MAX_SECONDS
from flowkit.errors import NodeFailed
from flowkit.expression import evaluate, render
from flowkit.fields import parse
from flowkit.nodes.delays import Delay
from flowkit.nodes.logic import Condition
from flowkit.nodes.messages import SendMessage
from flowkit.nodes.system import End, Trigger
from flowkit.nodetype import Arrive, Effect, Gather, Next, NodeType, Wait
from flowkit.retry import RetryPolicy
from tests.examples import examples
from tests.sdk.strategies import builtin_types, configs, failure_of, json_values, texts

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)
ANA: dict[str, Any] = {"first_name": "Ana", "phone": "+5511999990000", "country": "BR"}


@dataclass
class Context:
    """What the engine gives to a node."""

    contact: dict[str, Any] | None = field(default_factory=lambda: dict(ANA))
    trigger: Any = field(default_factory=dict)
    now: datetime = NOW
    key: str = "x_send_message_1"
    round: int = 1
    contact_id: str | None = "c1"
    execution_id: str = "x"
    flow_id: str = "flow"
    node_id: str = "send_message_1"
    time_zone: str | None = None

    def scope(self) -> dict[str, Any]:
        return {"contact": self.contact or {}, "trigger": self.trigger, "now": "2026-11-22"}

    def evaluate(self, logic: Any) -> Any:
        return evaluate(logic, self.scope())

    def render(self, template: str) -> str:
        return render(template, self.scope())


def test_trigger_goes_on_and_end_arrives() -> None:
    assert Trigger().run(Context()) == Next()
    assert End().run(Context()) == Arrive()
    assert End().outputs() == ()


class TestDelay:
    """Waits by the clock."""

    @pytest.mark.parametrize(
        ("amount", "unit", "length"),
        [
            (2, "seconds", timedelta(seconds=2)),
            (1.5, "minutes", timedelta(seconds=90)),
            (36, "hours", timedelta(days=1.5)),
            (1, "days", timedelta(hours=24)),
            (2, "weeks", timedelta(days=14)),
        ],
    )
    def test_until(self, amount: float, unit: Any, length: timedelta) -> None:
        assert Delay(amount=amount, unit=unit).run(Context()) == Wait(until=NOW + length)

    def test_five_years_are_the_most(self) -> None:
        assert Delay(amount=MAX_SECONDS, unit="seconds").run(Context())
        for amount, unit in ((MAX_SECONDS + 1, "seconds"), (10**300, "weeks"), (1e300, "weeks")):
            made, found = parse(Delay, {"amount": amount, "unit": unit})
            assert made is None
            assert [problem.path for problem in found] == ["/amount"]


class TestCondition:
    """Takes one of two ways."""

    @pytest.mark.parametrize(
        ("expression", "handle"),
        [
            ({"==": [{"var": "contact.country"}, "BR"]}, "true"),
            ({"==": [{"var": "contact.country"}, "PT"]}, "false"),
            ({"var": "contact.nothing"}, "false"),
            ([], "false"),
            ({"var": "contact"}, "true"),
            ("0", "true"),
            (None, "false"),
        ],
    )
    def test_handle(self, expression: Any, handle: str) -> None:
        assert Condition(expression=expression).run(Context()) == Next(handle=handle)

    def test_an_object_without_keys_is_true_as_in_jsonlogic(self) -> None:
        step = Condition(expression={"var": "trigger"}).run(Context(trigger={}))
        assert step == Next(handle="true")

    def test_operands_that_do_not_fit_fail_the_node(self) -> None:
        with pytest.raises(NodeFailed, match="cannot compare"):
            Condition(expression={"<": [{"var": "contact"}, 1]}).run(Context())


class TestSendMessage:
    """Renders the body of WhatsApp's request."""

    def test_text(self) -> None:
        node = SendMessage(kind="text", text=" Hi {{ contact.first_name }}! ", preview_url=True)
        assert node.run(Context()) == Effect(
            kind="whatsapp.message",
            request={
                "to": "+5511999990000",
                "type": "text",
                "text": {"body": "Hi Ana!", "preview_url": True},
            },
            timeout=10,
            on_unknown="fail",
            retry=RetryPolicy(),
        )

    def test_template(self) -> None:
        node = SendMessage(
            kind="template",
            template="cart_reminder",
            language="pt_BR",
            parameters=["{{ contact.first_name }}", "{{ trigger.total }} R$"],
            on_unknown="resend",
            timeout_seconds=2.5,
        )
        step = node.run(Context(trigger={"total": 12}))
        assert (step.timeout, step.on_unknown) == (2.5, "resend")
        assert step.request == {
            "to": "+5511999990000",
            "type": "template",
            "template": {
                "name": "cart_reminder",
                "language": {"code": "pt_BR"},
                "components": [
                    {
                        "type": "body",
                        "parameters": [
                            {"type": "text", "text": "Ana"},
                            {"type": "text", "text": "12 R$"},
                        ],
                    }
                ],
            },
        }

    def test_template_without_parameters_has_no_components(self) -> None:
        node = SendMessage(kind="template", template="a", language="en")
        assert node.run(Context()).request["template"] == {"name": "a", "language": {"code": "en"}}

    def test_another_recipient(self) -> None:
        node = SendMessage(kind="text", text="hi", to="{{ trigger.phone }}")
        step = node.run(Context(contact=None, trigger={"phone": " +1 (555) 123-4567 "}))
        assert step.request["to"] == "+15551234567"

    @pytest.mark.parametrize(
        ("config", "contact", "code"),
        [
            ({"text": "{{ contact.nothing }}"}, ANA, "message_empty"),
            ({"text": "{{ contact.x }}y"}, ANA | {"x": "x" * 4096}, "message_too_long"),
            ({"text": "{{ 1 | divided_by: 0 }}"}, ANA, "template_invalid"),
            ({"text": "hi"}, None, "contact_unreachable"),
            ({"text": "hi"}, {}, "contact_unreachable"),
            ({"text": "hi"}, {"phone": None}, "contact_unreachable"),
            ({"text": "hi"}, {"phone": "11 99999-0000"}, "contact_unreachable"),
            ({"text": "hi"}, {"phone": "+0123456789"}, "contact_unreachable"),
            ({"text": "hi"}, {"phone": "+٣٣٣٣٣٣٣٣٣"}, "contact_unreachable"),
            ({"text": "hi"}, {"phone": ["+5511999990000", "x"]}, "contact_unreachable"),
            ({"parameters": ["{{ contact.nothing }}"]}, ANA, "parameter_invalid"),
            ({"parameters": ["ok", "a\nb"]}, ANA, "parameter_invalid"),
            ({"parameters": ["a\tb"]}, ANA, "parameter_invalid"),
            ({"parameters": ["a     b"]}, ANA, "parameter_invalid"),
        ],
    )
    def test_what_cannot_be_sent_fails_the_node(self, config: Any, contact: Any, code: str) -> None:
        template = {"kind": "template", "template": "a", "language": "en"}
        base = template if "parameters" in config else {"kind": "text"}
        made, problems = parse(SendMessage, base | config)
        assert (made is not None, problems) == (True, [])
        with pytest.raises(NodeFailed) as caught:
            made.run(Context(contact=contact))  # type: ignore[union-attr]
        assert caught.value.code == code
        assert caught.value.message.endswith((".", "?"))

    def test_limits_themselves_pass(self) -> None:
        text = SendMessage(kind="text", text="{{ contact.x }}")
        assert text.run(Context(contact=ANA | {"x": "x" * 4096}))
        made = SendMessage(kind="template", template="a", language="en", parameters=["a    b"])
        assert made.run(Context())


EXECUTED = [cls for cls in builtin_types() if cls.executed]


@pytest.mark.parametrize("cls", EXECUTED, ids=lambda cls: cls.type)
@settings(max_examples=examples(10, 200))
@given(data=st.data())
def test_no_data_makes_a_node_do_worse_than_fail(cls: type[NodeType], data: st.DataObject) -> None:
    node, _ = parse(cls, data.draw(configs(cls)))
    assert node is not None
    contact = data.draw(st.none() | st.dictionaries(texts | st.just("phone"), json_values))
    context = Context(contact=contact, trigger=data.draw(json_values))
    if failure_of(lambda: node.run(context)) is None:
        step = node.run(context)
        handle = getattr(step, "handle", None)
        assert isinstance(step, (Arrive, Gather)) or handle in {way.id for way in node.outputs()}
