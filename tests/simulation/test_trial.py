"""What one contact comes to, and why."""

from __future__ import annotations

import doctest
import inspect
from datetime import timedelta
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


PAYING = (
    fk.Flow(
        "Paying",
        trigger="cart",
        settings={"goal": {"name": "bought", "event": "purchase",
                           "when": {">": [{"var": "event.total"}, 50]}}},
    )
    .send(text="Ready?", id="ready")
    .wait_for("whatsapp.message", match=fk.event.text.body == "yes", days=1, id="wait",
              received=lambda b: b.send(text="Thanks", id="thanks"))
    .frequency_cap(maximum=1, period="week", id="cap")
    .send(text="Bye", id="bye")
    .frequency_cap(maximum=1, period="week", id="again")
    .send(text="Really", id="really")
    .end()
)  # fmt: skip
START = "2026-12-01T09:00Z"


def said(text: str) -> dict[str, Any]:
    return {"text": {"body": text}}


def paying() -> trial.Trial:
    return fk.test(PAYING).with_contact(ANA).at(START)


def test_events_come_at_their_times() -> None:
    silent = paying().run()
    assert silent.sent == [
        ("ready", "2026-12-01T09:00:00.000Z"), ("bye", "2026-12-02T09:00:00.000Z")
    ]  # fmt: skip
    answered = paying().event("whatsapp.message", said("yes"), at="2026-12-01T10:30Z").run()
    assert answered.sent[1:] == [
        ("thanks", "2026-12-01T10:30:00.000Z"), ("bye", "2026-12-01T10:30:00.000Z")
    ]  # fmt: skip
    bought = paying().event("purchase", {"total": 80}, after=timedelta(hours=2)).run()
    assert bought.sent == silent.sent[:1]
    assert (bought.status, bought.run_of("wait").status) == ("completed", "cancelled")


def test_a_wait_goes_on_with_what_has_come_before_it() -> None:
    early = paying().taking(60).event("whatsapp.message", said("yes"), after=timedelta(seconds=5))
    journey = early.run()
    assert journey.sent[1] == ("thanks", "2026-12-01T09:01:00.000Z")
    assert [event.did for event in journey.events] == ["is kept, for nobody waits for it now"]
    waits = [d.decided for d in journey.decisions if d.node_id == "wait"]
    assert waits == [
        "waits for whatsapp.message until 2026-12-02T09:01:00.000Z",
        "an event has come at 2026-12-01T09:00:05.000Z: goes on by 'received'",
    ]


def test_explains_what_each_event_did() -> None:
    hour = timedelta(hours=1)
    journey = PAYING.explain(
        ANA,
        at=START,
        events=[
            ("whatsapp.message", hour, said("no")),
            ("purchase", 2 * hour, {"total": 5}),
            ("weather", "2026-12-01T12:00Z"),
            ("whatsapp.message", 4 * hour, said("yes")),
            ("purchase", 5 * hour, {"total": 99}),
        ],
    )
    assert [event.did for event in journey.events] == [
        "is kept: it is not what anybody waits for",
        "is kept: it is not what anybody waits for",
        "nobody listens for it",
        "is what wait waited for",
        "comes too late: the execution is over",
    ]
    text = str(journey)
    assert '"yes"]} gave false, where event.text.body = "no"' in text
    assert "50]} gave false, where event.total = 5" in text
    cap = [d.decided for d in journey.decisions if d.type == "FREQUENCY_CAP"]
    assert [said.partition(":")[0] for said in cap] == [
        "asks for cap.take", "is done", "asks for cap.take", "is suppressed"
    ]  # fmt: skip
    moments = [record["at"] for record in journey.to_records()]
    assert moments == sorted(moments)


def test_explains_why_it_ended_early_and_why_a_wait_was_not_woken() -> None:
    bought = PAYING.explain(ANA, at=START, events=[("purchase", timedelta(1), {"total": 60})])
    assert "event purchase: ends the execution: goal (goal: bought" in str(bought)
    assert "The execution is completed, ended by goal (goal: bought" in str(bought)
    silent = str(PAYING.explain(ANA, at=START))
    assert "wait (WAIT_FOR_EVENT): no event has come in time: goes on by 'timeout'" in silent
    ends = fk.Flow("G", trigger="x").goal("there", end_execution=True).end()
    assert "and ends the execution" in str(ends.explain(ANA))


def test_shared_state_is_decided_in_a_trial_unless_it_says_otherwise() -> None:
    flow = (
        fk.Flow("Shared", trigger="x")
        .update_contact(set={"plan": "pro"}, id="update")
        .rate_limit(key="k", per_second=0.1, id="bucket")
        .send(text="{{ contact.plan }}", id="plan")
        .stop_flows(all=True, id="stop")
        .start_flow(flow_id="other", id="start")
        .end()
    )
    journey = fk.test(flow).with_contact(ANA).at(START).run()
    assert journey.messages[0].text == "pro"
    assert journey.run_of("stop").result == {"stopped": 0, "executionIds": []}
    started = journey.run_of("start").result
    assert started is not None
    assert started["executionId"].startswith(trial.NAME)
    failing = fk.test(flow).with_contact(ANA).failing("update").run()
    assert failing.run_of("update").status == "failed"


@pytest.mark.parametrize(
    "wrong",
    [
        lambda t: t.event("purchase", at="2026-12-01T08:00Z").run(),
        lambda t: t.event("purchase", at="2026-12-01T10:00Z", after=timedelta(1)),
        lambda t: t.event("purchase", after=timedelta(-1)).run(),
    ],
)
def test_refuses_an_event_that_cannot_come(wrong: Any) -> None:
    with pytest.raises(fk.Invalid, match=r"trial\.event"):
        wrong(paying())


def test_the_examples_hold() -> None:
    assert inspect.getdoc(trial.Trial)
    result = doctest.testmod(trial)
    assert (result.failed, result.attempted > 0) == (0, True)
