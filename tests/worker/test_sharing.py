"""What executions share, in a real worker: contacts, rates and caps, each changed once."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

import flowkit as fk
from flowkit.contacts import contacts_of
from flowkit.engine import Performance
from flowkit.flow import Flow
from flowkit.nodetype import Outcome
from flowkit.problems import errors
from flowkit.sharing import KINDS
from flowkit.testing import check_invariants
from service.worker.internal import Internal
from tests.processes import until
from tests.worker.stage import PATIENCE, Stage, published

SENT = Outcome("completed", result={"messageId": "wamid.1"})


class Performer:
    """Performs as a worker does; messages are kept, and effects break off as often as told."""

    def __init__(self, stage: Stage) -> None:
        self.internal = Internal(stage.watched(), stage.clock)  # type: ignore[arg-type]
        self.sent: list[str] = []
        self.breaks = 0

    def __call__(self, performance: Performance) -> Outcome:
        if performance.effect.kind not in KINDS:
            self.sent.append(performance.effect.request["text"]["body"])
            return SENT
        outcome = self.internal.perform(performance)
        if self.breaks:
            self.breaks -= 1
            raise RuntimeError("the worker dies before it knows")
        return outcome


@pytest.fixture
def performer(stage: Stage) -> Performer:
    return Performer(stage)


def begin(stage: Stage, flow: Flow, number: int = 1, prefix: str = "x") -> None:
    """Start executions, and remember their contacts as the API does."""
    names = stage.start(flow, number, prefix=prefix)
    stage.store.save_contacts(contacts_of([stage.execution(name) for name in names]))


# ------------------------------------------------------------------------- contacts


def buyer() -> Flow:
    return published(
        fk.Flow("Buyer", trigger="test")
        .update_contact(
            set={"last_order": fk.trigger.order, "vip": True},
            unset=["cart"],
            increment={"orders": 1, "spent": fk.trigger.total},
            add_tags=["buyer", "{{ contact.phone | slice: 0, 3 }}"],
            id="note",
        )
        .send(
            text="{{ contact.orders }} orders, {{ contact.spent }}, {{ contact.tags | join: '/' }}"
            "{{ contact.cart }}, {{ nodes.note.contact.last_order }}",
            id="say",
        )
        .end()
    )


def test_the_nodes_behind_see_the_contact_as_it_now_is(stage: Stage, performer: Performer) -> None:
    stage.payload |= {"order": "A-7", "total": 9.5}
    stage.payload["contact"] |= {"cart": "full", "orders": 2, "tags": ["old"]}
    begin(stage, buyer())
    stage.run(stage.runner(effects=performer))
    stage.wait_for("completed")
    assert performer.sent == ["3 orders, 9.5, old/buyer/+55, A-7"]
    assert stage.run_of("note").result == {
        "contact": {
            "last_order": "A-7",
            "vip": True,
            "orders": 3,
            "spent": 9.5,
            "tags": ["old", "buyer", "+55"],
        },
        "removed": ["cart"],
    }
    kept = stage.store.get_contact("c1").attributes
    assert kept == {
        "id": "c1",
        "phone": "+5511999990000",
        "last_order": "A-7",
        "vip": True,
        "orders": 3,
        "spent": 9.5,
        "tags": ["old", "buyer", "+55"],
    }
    assert stage.store.list_contacts(limit=9)[0].attributes == kept
    assert stage.execution().context["contact"]["orders"] == 2, "the start stays on record"
    check_invariants(stage.execution())


def counted() -> Flow:
    return published(
        fk.Flow("Count", trigger="test").update_contact(increment={"n": 1}, id="note").end()
    )


def test_an_increment_counts_once_through_every_death(stage: Stage, performer: Performer) -> None:
    performer.breaks = 4
    begin(stage, counted(), 3)
    stage.run(stage.runner(effects=performer, concurrency=3))
    until(lambda: sum(stage.statuses()[s] for s in ("completed", "failed")) == 3, seconds=PATIENCE)
    for name in ("x0", "x1", "x2"):
        if stage.execution(name).status == "failed":
            stage.retry(name)
    stage.wait_for("completed", 3)
    assert stage.store.get_contact("c1").attributes["n"] == 3


def test_a_contact_that_is_not_stored_is_changed_as_the_execution_knows_it(
    stage: Stage, performer: Performer
) -> None:
    stage.payload["contact"]["n"] = 4
    stage.start(counted())
    stage.run(stage.runner(effects=performer))
    stage.wait_for("completed")
    assert stage.run_of("note").result == {"contact": {"n": 5}, "removed": []}


def test_a_store_that_does_not_take_it_now_is_asked_again(
    stage: Stage, performer: Performer
) -> None:
    store: Any = performer.internal._store
    store.failing.add("change_cell")
    begin(stage, counted())
    stage.run(stage.runner(effects=performer))
    until(lambda: stage.execution().status == "delayed", seconds=PATIENCE)
    assert stage.run_of("note").error["code"] == "store_unavailable"
    store.failing.clear()
    stage.clock.advance(timedelta(seconds=1))
    stage.wait_for("completed")
    assert stage.store.get_contact("c1").attributes["n"] == 1


# --------------------------------------------------------------------------- limits


def limited(per_second: float = 2, burst: int = 2) -> Flow:
    return published(
        fk.Flow("Limited", trigger="test")
        .rate_limit(key="crm", per_second=per_second, burst=burst, id="limit")
        .send(text="Hi", id="say")
        .end()
    )


def test_tokens_are_given_at_the_rate(stage: Stage, performer: Performer) -> None:
    begin(stage, limited(), 6)
    stage.run(stage.runner(effects=performer))
    until(lambda: stage.statuses() == {"completed": 2, "delayed": 4}, seconds=PATIENCE)
    for done in (3, 4, 5, 6):
        assert len(performer.sent) == done - 1
        stage.clock.advance(timedelta(milliseconds=500))
        stage.wait_for("completed", done)
    ends = sorted(stage.run_of("limit", f"x{i}").end_time for i in range(6))
    gaps = [(end - ends[0]) / timedelta(seconds=1) for end in ends]
    assert gaps == [0, 0, 0.5, 1, 1.5, 2]


def test_a_token_is_taken_once_through_every_death(stage: Stage, performer: Performer) -> None:
    performer.breaks = 2
    begin(stage, limited(per_second=1, burst=1))
    stage.run(stage.runner(effects=performer))
    stage.wait_for("completed")
    assert stage.run_of("limit").retry_count == 2
    begin(stage, limited(per_second=1, burst=1), prefix="y")
    until(lambda: stage.execution("y0").status == "delayed", seconds=PATIENCE)
    wait = stage.execution("y0").resume_at - stage.clock.now()  # type: ignore[operator]
    assert wait == timedelta(seconds=1), "one token was taken, not three"


def test_what_waits_for_its_token_can_be_cancelled(stage: Stage, performer: Performer) -> None:
    begin(stage, limited(per_second=1, burst=1), 2)
    stage.run(stage.runner(effects=performer))
    until(lambda: stage.statuses() == {"completed": 1, "delayed": 1}, seconds=PATIENCE)
    (name,) = [n for n in ("x0", "x1") if stage.execution(n).status == "delayed"]
    assert stage.run_of("limit", name).status == "waiting"
    check_invariants(stage.execution(name))
    stage.cancel(name)
    assert stage.run_of("limit", name).status == "cancelled"


# ----------------------------------------------------------------------------- caps


def capped(period: str = "day", maximum: int = 1) -> Flow:
    return published(
        fk.Flow("Capped", trigger="test")
        .frequency_cap(maximum=maximum, period=period, id="cap")
        .send(text="Hi", id="say")
        .end(),
        f"capped-{period}-{maximum}",
    )


def test_who_has_had_enough_is_suppressed_and_never_shown_as_sent(
    stage: Stage, performer: Performer
) -> None:
    begin(stage, capped(), 3)
    stage.run(stage.runner(effects=performer))
    stage.wait_for("completed", 3)
    assert performer.sent == ["Hi"]
    runs = {n: stage.execution(n).executed_nodes for n in ("x0", "x1", "x2")}
    shown = [{r.node_id: r.status for r in found} for found in runs.values()]
    passed = {"cap": "completed", "say": "completed", "end_1": "completed"}
    held = {"cap": "suppressed", "end_1": "completed"}
    assert [{k: v for k, v in one.items() if k in passed} for one in shown].count(held) == 2
    assert [{k: v for k, v in one.items() if k in passed} for one in shown].count(passed) == 1
    (cap,) = [r for r in runs["x0"] if r.node_id == "cap"]
    assert cap.result["count"] == 1
    assert cap.result["period"] == "2026-01-05"
    assert (cap.result["timeZone"], cap.result["timeZoneFrom"]) == ("UTC", "default")
    for name in runs:
        check_invariants(stage.execution(name))


def test_the_day_is_that_of_the_contact(stage: Stage, performer: Performer) -> None:
    # 09:00 UTC is 22:00 in Auckland: the day there ends in two hours.
    stage.payload["contact"]["timezone"] = "Pacific/Auckland"
    stage.run(stage.runner(effects=performer))
    begin(stage, capped(), prefix="a")
    stage.wait_for("completed", 1)
    stage.clock.advance(timedelta(hours=1, minutes=59))
    begin(stage, capped(), prefix="b")
    stage.wait_for("completed", 2)
    assert len(performer.sent) == 1
    stage.clock.advance(timedelta(minutes=1))
    begin(stage, capped(), prefix="c")
    stage.wait_for("completed", 3)
    assert len(performer.sent) == 2
    assert stage.run_of("cap", "c0").result["timeZoneFrom"] == "contact"


def test_weeks_begin_on_monday_and_count_for_themselves(stage: Stage, performer: Performer) -> None:
    stage.run(stage.runner(effects=performer))
    begin(stage, capped("week", 2), 3, prefix="a")
    stage.wait_for("completed", 3)
    begin(stage, capped("day"), prefix="b")
    stage.wait_for("completed", 4)
    assert len(performer.sent) == 3
    stage.clock.advance(timedelta(days=6, hours=14))
    begin(stage, capped("week", 2), prefix="c")
    stage.wait_for("completed", 5)
    assert len(performer.sent) == 3
    stage.clock.advance(timedelta(hours=2))
    begin(stage, capped("week", 2), prefix="d")
    stage.wait_for("completed", 6)
    assert len(performer.sent) == 4


def test_a_turn_is_taken_once_through_every_death(stage: Stage, performer: Performer) -> None:
    performer.breaks = 2
    begin(stage, capped(maximum=2))
    stage.run(stage.runner(effects=performer))
    stage.wait_for("completed")
    begin(stage, capped(maximum=2), prefix="y")
    stage.wait_for("completed", 2)
    assert performer.sent == ["Hi", "Hi"]


def test_what_is_suppressed_can_go_on_by_a_way_of_its_own(
    stage: Stage, performer: Performer
) -> None:
    flow = published(
        fk.Flow("Capped", trigger="test")
        .frequency_cap(
            maximum=1,
            period="day",
            suppressed=lambda b: b.update_contact(add_tags=["capped"], id="tag"),
            allowed=lambda b: b.send(text="Hi", id="say"),
        )
        .end()
    )
    assert errors(flow.validate()) == []
    begin(stage, flow, 2)
    stage.run(stage.runner(effects=performer))
    stage.wait_for("completed", 2)
    assert performer.sent == ["Hi"]
    assert stage.store.get_contact("c1").attributes["tags"] == ["capped"]
