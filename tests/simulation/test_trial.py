"""What one contact comes to, and why."""

from __future__ import annotations

import doctest
import inspect
from typing import Any

import pytest

import flowkit as fk
from flowkit import trial

ANA = {"id": "c1", "phone": "+55 11 99999-0000", "country": "BR", "name": "Ana"}
GREETING = (
    fk.Flow("Greeting", trigger="signed_up", filter=fk.contact.country.exists())
    .when(
        fk.contact.country == "BR",
        then=lambda b: b.delay(hours=1).send(text="Oi {{ contact.name }}", id="oi"),
        otherwise=lambda b: b.send(text="Hi", id="hi"),
    )
    .end()
)
AT = "2026-12-01T09:00:00+01:00"


def test_says_which_messages_go_out_when() -> None:
    journey = fk.test(GREETING).with_contact(ANA).at(AT).run()
    assert journey.sent == [("oi", "2026-12-01T09:00:00.000Z")]
    (message,) = journey.messages
    assert (message.text, message.request["to"]) == ("Oi Ana", "+5511999990000")
    assert journey.status == "completed"
    assert journey.path == ["trigger_1", "condition_1", "delay_1", "oi", "end_1"]
    assert journey.run_of("oi").status == "completed"
    with pytest.raises(fk.NotFound, match="did not come to 'hi', but to trigger_1, cond"):
        journey.run_of("hi")


def test_stops_looking_when_told() -> None:
    journey = fk.test(GREETING).with_contact(ANA).at(AT).until("2026-12-01T08:30Z").run()
    assert (journey.sent, journey.status) == ([], "delayed")


def test_lets_effects_fail() -> None:
    once = fk.test(GREETING).with_contact(ANA).at(AT).taking(2).failing("oi", "busy")
    assert once.run().status == "failed"
    assert once.run().run_of("oi").error == {
        "code": "busy",
        "message": "the trial lets oi fail",
        "transient": False,
    }
    later = once.failing("oi", "busy", transient=True, times=2).run()
    assert later.status == "completed"
    times = [at[11:19] for _, at in later.sent]
    assert times == ["09:00:00", "09:00:07", "09:00:19"]
    assert [message.attempt for message in later.messages] == [0, 1, 2]


def test_a_trial_is_not_changed_by_another() -> None:
    trial = fk.test(GREETING).with_contact(ANA)
    trial.failing("oi")
    assert trial.run().status == "completed"


def test_a_filter_that_says_no_starts_nothing() -> None:
    journey = fk.test(GREETING).with_contact({"id": "c2"}).run()
    assert (journey.started, journey.sent, journey.status) == (False, [], None)
    assert "filter" in str(journey)


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (lambda t: t.at("2026-12-01T09:00"), "trial.time"),
        (lambda t: t.at("soon"), "trial.time"),
        (lambda t: t.failing("nobody"), "trial.node"),
        (lambda t: t.with_contact({"country": "BR"}).run(), "trigger.contact_missing"),
        (lambda t: fk.test(fk.Flow("Half", trigger="x").delay(days=1)).run(), "graph."),
    ],
)  # fmt: skip
def test_refuses_what_cannot_be_tried(wrong: Any, code: str) -> None:
    with pytest.raises(fk.Invalid) as refusal:
        wrong(fk.test(GREETING))
    assert refusal.value.problems[0].code.startswith(code)


def test_explains_each_decision() -> None:
    said = GREETING.explain(ANA, at=AT)
    condition = next(d for d in said.to_records() if d["nodeId"] == "condition_1")
    assert condition == {
        "at": "2026-12-01T08:00:00.000Z",
        "branchId": "root",
        "nodeId": "condition_1",
        "type": "CONDITION",
        "saw": [
            {
                "rule": {"==": [{"var": "contact.country"}, "BR"]},
                "values": {"contact.country": "BR"},
                "gave": True,
            }
        ],
        "decided": "goes on by 'true'",
    }
    text = str(said)
    assert '"BR"]} gave true, where contact.country = "BR"' in text
    assert "delay_1 (DELAY): waits until 2026-12-01T09:00:00.000Z" in text
    assert "'Oi {{ contact.name }}' gave 'Oi Ana'" in text


def test_explains_why_a_message_was_not_sent() -> None:
    said = GREETING.explain({"id": "c3", "country": "BR", "name": "Bo"})
    assert "oi (SEND_MESSAGE): fails: {{ contact.phone }} is empty" in str(said)
    assert said.sent == []


def test_asking_a_failed_node_for_its_policy_is_no_decision() -> None:
    journey = fk.test(GREETING).with_contact(ANA).failing("oi", transient=True, times=1).run()
    assert [d.node_id for d in journey.decisions].count("oi") == 2
    assert len(journey.messages) == 2


def test_the_examples_hold() -> None:
    assert inspect.getdoc(trial.Trial)
    result = doctest.testmod(trial)
    assert (result.failed, result.attempted > 0) == (0, True)
