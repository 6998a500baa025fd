"""Contacts do things: what they do reaches executions as events do in production."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import pytest

import flowkit as fk
from flowkit.nodetype import Outcome
from flowkit.simulation import After, Behaviour, Occurrence, Population, Reaction, simulate
from flowkit.simulation.eventful import AGAIN_MOST, eventful
from flowkit.simulation.replies import reply_to

AT = datetime(2026, 12, 1, 9, tzinfo=UTC)
ANA = {"id": "a", "phone": "+5511999990000"}
HELLO = fk.Flow("Hello", trigger="x").send(text="Hello", id="hello")
ASKS = HELLO.wait_for(
    "whatsapp.message", days=1, id="wait", received=lambda b: b.send(text="Thanks", id="thanks")
).end()
BUYS = HELLO.delay(days=1).send(text="Still there?", id="late").end()


def reaching(event: str, when: Any = None) -> fk.Flow:
    """Return the flow that sends two messages, unless its goal is reached between them."""
    goal = {"name": "reached", "event": event} | ({} if when is None else {"when": when})
    return BUYS.replace(settings={"goal": goal})


def runs_of(result: Any, node: str) -> pd.DataFrame:
    runs = result.node_runs
    return runs[runs["node_id"] == node].reset_index(drop=True)


def test_a_reply_wakes_who_waits_for_it_at_its_moment() -> None:
    behaviour = Behaviour(reactions=[Reaction(read=1, replied=0.5)])
    result = simulate(ASKS, Population(size=300), behaviour, at=AT)
    messages = result.messages.query("node_id == 'hello'").set_index("contact_id")
    waits = runs_of(result, "wait").set_index("contact_id")
    replied = messages["replied_at"].dropna()
    assert 110 < len(replied) < 190
    in_time = replied[replied < waits["start_time"].reindex(replied.index) + timedelta(days=1)]
    assert len(in_time) > 100
    for contact, moment in in_time.items():
        wait = waits.loc[contact]
        assert wait["end_time"] == moment
        assert wait["result"]["event"] == {
            "contact": {"id": contact, "phone": wait["result"]["event"]["contact"]["phone"]},
            "type": "text",
            "text": {"body": "Ok"},
        }
    assert set(runs_of(result, "thanks")["contact_id"]) == set(in_time.index)


@pytest.mark.parametrize("node", ["bought", "clicked", "opted_out"])
def test_what_a_reader_does_is_an_event(node: str) -> None:
    name = {"bought": "purchase", "clicked": "click", "opted_out": "opt_out"}[node]
    when = {"==": [{"var": "event.total"}, 80]} if node == "bought" else None
    reaction = Reaction(read=1, **{node: 1.0}, order={"total": 80})  # type: ignore[arg-type]
    result = simulate(reaching(name, when), [ANA], Behaviour(reactions=[reaction]), at=AT)
    (execution,) = result.executions.to_dict("records")
    assert execution["status"] == "completed"
    assert runs_of(result, "late").empty
    named = Behaviour(reactions=[reaction], names={node: "done"})
    assert len(runs_of(simulate(reaching(name), [ANA], named, at=AT), "late")) == 1
    assert runs_of(simulate(reaching("done"), [ANA], named, at=AT), "late").empty


def test_what_happens_by_itself_depends_on_the_segment() -> None:
    behaviour = Behaviour(
        events=[
            Occurrence(event="paid", when=fk.contact.country == "BR", probability=0.3,
                       after=After(3600, 2), payload={"total": 5}),
            Occurrence(event="paid", when=fk.contact.country == "US", after=After(86_400 * 3)),
        ]
    )  # fmt: skip
    people = Population(size=1_000, fields={"country": {"BR": 1, "US": 1}})
    countries = {contact["id"]: contact["country"] for contact in people}
    result = simulate(reaching("paid"), people, behaviour, at=AT)
    gone = Counter(countries[c] for c in set(countries) - set(runs_of(result, "late").contact_id))
    assert gone["US"] == 0
    assert 0.24 < gone["BR"] / Counter(countries.values())["BR"] < 0.36
    early = result.executions["duration"] < timedelta(hours=20)
    assert 0.8 < result.executions["duration"][early].median() / timedelta(hours=1) < 1.25


@pytest.mark.parametrize(
    ("request_", "replies", "chance", "said"),
    [
        ({"type": "text"}, {}, 0.5, ("text", "Ok")),
        ({"type": "text"}, {"Yes": 3, "No": 1}, 0.74, ("text", "Yes")),
        ({"type": "text"}, {"Yes": 3, "No": 1}, 0.76, ("text", "No")),
        ("buttons", {}, 0.2, ("button_reply", "yes")),
        ("buttons", {}, 0.9, ("button_reply", "no")),
        ("buttons", {"no": 1}, 0.1, ("button_reply", "no")),
        ("buttons", {"Who?": 1}, 0.1, ("text", "Who?")),
        ("list", {}, 0.9, ("list_reply", "b")),
        ("template", {}, 0.5, ("button", "STOP")),
    ],
)
def test_replies_are_what_the_message_offers(
    request_: Any, replies: dict[str, float], chance: float, said: tuple[str, str]
) -> None:
    buttons = [{"type": "reply", "reply": {"id": i, "title": i.title()}} for i in ("yes", "no")]
    rows = [{"id": i, "title": i} for i in "ab"]
    quick = {"type": "button", "sub_type": "quick_reply", "index": "0"}
    stop = {"parameters": [{"type": "payload", "payload": "STOP"}]}
    requests = {
        "buttons": {"interactive": {"type": "button", "action": {"buttons": buttons}}},
        "list": {"interactive": {"type": "list", "action": {"sections": [{"rows": rows}]}}},
        "template": {"template": {"components": [{"type": "body"}, quick | stop]}},
    }
    answer = reply_to(requests.get(request_, {}) if isinstance(request_, str) else request_,
                      replies, chance)  # fmt: skip
    kind, value = said
    if kind == "text":
        assert answer == {"type": "text", "text": {"body": value}}
    elif kind == "button":
        assert answer["button"]["payload"] == value
    else:
        assert answer["interactive"]["type"] == kind
        assert answer["interactive"][kind]["id"] == value


@pytest.mark.long
def test_it_is_the_same_to_the_byte_in_several_processes() -> None:
    flow = (
        HELLO.update_contact(increment={"n": 1})
        .frequency_cap(maximum=1, period="day")
        .wait_for("whatsapp.message", days=1)
        .frequency_cap(maximum=1, period="day")
        .send(text="{{ contact.n }}")
        .end()
    )
    behaviour = Behaviour(reactions=[Reaction(read=0.9, replied=0.5, bought=0.5)])
    one, two = (simulate(flow, Population(size=40), behaviour, at=AT, processes=n) for n in (1, 2))
    assert "suppressed" in set(one.node_runs["status"])
    for name in ("executions", "node_runs", "messages"):
        pd.testing.assert_frame_equal(getattr(one, name), getattr(two, name))


def test_a_contact_is_what_the_flow_has_made_of_it() -> None:
    flow = (
        HELLO.update_contact(set={"plan": "pro"}).send(text="{{ contact.plan }}", id="second").end()
    )
    behaviour = Behaviour(reactions=[Reaction(when=fk.contact.plan == "pro", failed=1)])
    result = simulate(flow, [ANA], behaviour, at=AT)
    assert list(result.node_runs["status"]) == ["completed"] * 3 + ["failed"]
    update = result.node_runs["result"][2]
    assert update == {"contact": {"plan": "pro"}, "removed": []}


def test_a_bucket_is_everybodys() -> None:
    flow = HELLO.rate_limit(key="crm", per_second=0.1).send(text="Now", id="now").end()
    behaviour = Behaviour(reactions=[Reaction(latency=After(0))])
    result = simulate(flow, Population(size=5), behaviour, at=AT)
    seconds = (runs_of(result, "now")["start_time"] - AT).dt.total_seconds()
    assert sorted(seconds) == [0, 10, 20, 30, 40]
    with pytest.raises(fk.Invalid, match=r"simulate\.processes"):
        simulate(flow, Population(size=5), at=AT, processes=2)
    given = Behaviour(answers={"limit.take": lambda performance, contact: Outcome("completed")})
    taken = runs_of(simulate(flow, Population(size=5), given, at=AT), "now")
    assert (taken["start_time"] - AT).max() < timedelta(seconds=5)


@pytest.mark.parametrize(
    ("entry", "over", "started"),
    [
        ({"policy": "always"}, 0, 3),
        ({"policy": "once"}, 0, 1),
        ({"policy": "once_active"}, 0, 1),
        ({"policy": "once_active"}, 6, 2),
        ({"policy": "again_after", "after": {"amount": 1, "unit": "days"}}, 3, 2),
    ],
)
def test_the_entry_policy_says_who_comes_again(entry: Any, over: int, started: int) -> None:
    flow = BUYS.replace(settings={"entry": entry})
    days = timedelta(days=over / 2 if over == 3 else over / 4)
    result = simulate(flow, [ANA] * 3, at=AT, over=days * 3 / 2, repeats=True)
    assert (len(result.executions), result.refused) == (started, 3 - started)
    assert (f"{3 - started} kept out" in repr(result)) == (started < 3)
    if started == 3:
        ends = runs_of(result, "hello")["end_time"]
        assert len(set(ends)) == 3, "each entry has chances of its own"


def test_a_contact_that_stands_twice_is_a_mistake_unless_it_is_said_not_to_be() -> None:
    with pytest.raises(fk.Invalid, match="repeats=True"):
        simulate(BUYS, [ANA] * 2, at=AT)
    with pytest.raises(fk.Invalid, match=r"simulate\.processes"):
        simulate(BUYS, [ANA] * 2, at=AT, repeats=True, processes=2)


def test_flows_that_start_and_stop_themselves() -> None:
    flow = HELLO.delay(hours=1).start_flow(flow_id="simulated").delay(hours=3).end()
    result = simulate(flow, [ANA], at=AT, until=AT + timedelta(hours=2, minutes=30))
    assert list(result.executions["status"]) == ["delayed"] * 3
    assert list(result.executions["contact_id"]) == ["a"] * 3
    named = runs_of(result, "start_flow_1")["result"]
    assert [r["executionId"] for r in named] == list(result.executions["execution_id"])[1:]
    stopping = HELLO.delay(hours=2).stop_flows(all=True).end()
    stopped = simulate(stopping, [ANA] * 2, at=AT, over=timedelta(hours=1), repeats=True)
    assert list(stopped.executions["status"]) == ["completed", "cancelled"]
    other = simulate(HELLO.start_flow(flow_id="another").end(), [ANA], at=AT)
    assert len(other.executions) == 1


def test_an_event_that_is_the_trigger_starts_the_flow_again_and_comes_to_an_end() -> None:
    menu = fk.Flow("Menu", trigger="whatsapp.message").send(text="Which?", id="menu").end()
    behaviour = Behaviour(reactions=[Reaction(read=1, replied=1)])
    result = simulate(menu, [ANA], behaviour, at=AT)
    assert len(result.executions) == 1 + AGAIN_MOST
    once = menu.replace(settings={"entry": {"policy": "once"}})
    assert len(simulate(once, [ANA], behaviour, at=AT).executions) == 1


def test_what_had_gone_out_when_the_execution_ended_is_on_record() -> None:
    behaviour = Behaviour(
        reactions=[Reaction(latency=After(60))], events=[Occurrence(event="paid", after=After(30))]
    )
    result = simulate(reaching("paid"), [ANA], behaviour, at=AT)
    (execution,) = result.executions.to_dict("records")
    (hello,) = runs_of(result, "hello").to_dict("records")
    assert (execution["status"], execution["ended_at"]) == ("completed", AT + timedelta(seconds=30))
    assert (hello["status"], hello["end_time"]) == ("completed", AT + timedelta(minutes=1))
    assert len(result.messages) == 1


class TestWindow:
    """Free-form messages more than 24 hours after the contact's last one."""

    def failed(self, flow: fk.Flow, behaviour: Behaviour, person: Any = ANA) -> list[str]:
        """Return the nodes that fail with 131047; the summary counts the same."""
        result = simulate(flow, [person], behaviour, at=AT)
        failed = result.node_runs[result.node_runs["error_code"] == "whatsapp_131047"]
        summary = result.summary()
        if "outside_window" in summary:
            assert summary["outside_window"].sum() == len(failed)
        return list(failed["node_id"])

    def test_a_flow_that_a_message_triggers_is_judged(self) -> None:
        inbound = BUYS.replace(trigger_type="whatsapp.message")
        assert self.failed(inbound, Behaviour()) == ["late"]
        assert self.failed(inbound, Behaviour(window=False)) == []
        assert self.failed(BUYS, Behaviour()) == []

    def test_a_reply_opens_it_anew(self) -> None:
        inbound = BUYS.replace(trigger_type="whatsapp.message",
                               settings={"entry": {"policy": "once"}})  # fmt: skip
        answers = Behaviour(reactions=[Reaction(read=1, replied=1)])
        assert self.failed(inbound, answers) == []

    def test_contacts_may_have_written_before(self) -> None:
        judging = Behaviour(window=True)
        assert self.failed(BUYS, judging) == ["hello"]
        lately = ANA | {"last_inbound_at": "2026-11-30T09:00:01Z"}
        assert self.failed(BUYS, judging, lately) == ["late"]
        with pytest.raises(fk.Invalid, match=r"population\.time"):
            simulate(BUYS, [ANA | {"last_inbound_at": "yesterday"}], at=AT)

    def test_templates_go_out_at_any_time(self) -> None:
        flow = fk.Flow("T", trigger="x").send(template="hi", language="en", id="hi").end()
        assert self.failed(flow, Behaviour(window=True)) == []


@pytest.mark.parametrize(
    ("behaviour", "code", "path"),
    [
        ({"reactions": [Reaction(replies={"Yes": 0})]}, "behaviour.reply",
         "/reactions/0/replies/Yes"),
        ({"reactions": [Reaction(order={"x": {1}})]}, "behaviour.payload", "/reactions/0/order"),
        ({"events": [Occurrence(event="")]}, "behaviour.event", "/events/0/event"),
        ({"events": [Occurrence(event="a", probability=2)]}, "behaviour.probability",
         "/events/0/probability"),
        ({"events": [Occurrence(event="a", after=After(-1))]}, "behaviour.time", "/events/0/after"),
        ({"events": [Occurrence(event="a", payload=[1])]}, "behaviour.payload",  # type: ignore
         "/events/0/payload"),
        ({"events": [Occurrence(event="a", when={"no": 1})]}, "config.expression",
         "/events/0/when"),
        ({"names": {"seen": "x"}}, "behaviour.name", "/names/seen"),
    ],
)  # fmt: skip
def test_refuses_what_cannot_happen(behaviour: Any, code: str, path: str) -> None:
    with pytest.raises(fk.Invalid) as refusal:
        simulate(BUYS, [ANA], Behaviour(**behaviour), at=AT)
    assert [(p.code, p.path) for p in refusal.value.problems] == [(code, path)]


def test_turns_are_shared_where_nothing_of_this_can_happen() -> None:
    busy = Behaviour(reactions=[Reaction(read=1, replied=1, bought=1)],
                     events=[Occurrence(event="paid")])  # fmt: skip
    assert not eventful(BUYS, busy, repeats=False)
    assert eventful(reaching("paid"), busy, repeats=False)
    assert not eventful(reaching("paid"), Behaviour(), repeats=False)
