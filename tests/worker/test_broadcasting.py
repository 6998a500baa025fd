"""Broadcasts under the sweep: in batches, at a pace, nobody twice, whatever dies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import flowkit as fk
from flowkit import broadcast as rules
from flowkit.broadcast import BATCH, Broadcast, Tally
from flowkit.engine import Limits
from flowkit.errors import Conflict
from flowkit.execution import Execution, ExecutionFilter
from flowkit.flow import Flow
from flowkit.testing import EPOCH, at_once
from flowkit.wire import cut
from service import faults
from service.store.sqlite import SqliteStore
from service.worker.broadcasting import Broadcasting
from tests.worker.stage import published

SECOND = timedelta(seconds=1)
FLOW = published(fk.Flow("Wait", trigger="test").delay(hours=1).end())
GROWN = {">=": [{"var": "contact.age"}, 18]}
ADULTS = published(
    fk.Flow("Adults", trigger="test", contact="nowhere", filter=GROWN).delay(hours=1).end()
)


class Hall:
    """A store with an active flow, and the sweep's chore beside it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rings = 0
        self.store = SqliteStore(path)
        self.serve = Broadcasting(self.store, self.ring)

    def ring(self) -> None:
        self.rings += 1

    def hand_in(self, number: int, flow: Flow = FLOW, **more: Any) -> Broadcast:
        """Store a running broadcast of so many contacts, and its flow."""
        self.store.insert_flow(flow, publish=True)
        contacts = [{"id": f"c{i:05}", "age": 17 + i % 2} for i in range(number)]
        batches = [contacts[i : i + BATCH] for i in range(0, number, BATCH)]
        for i, batch in enumerate(batches):
            self.store.put_recipients("b", i, batch)
        said: dict[str, Any] = {"status": "running", "total": number, "batches": len(batches)}
        broadcast = Broadcast(
            id="b",
            flow_id="flow",
            flow_version=1,
            created_at=EPOCH,
            updated_at=EPOCH,
            started_at=EPOCH,
            next_at=EPOCH,
            **said | more,
        )
        self.store.insert_broadcast(broadcast)
        return broadcast

    def run(self, now: Any = EPOCH) -> Broadcast:
        """Serve until nothing more is due."""
        while self.serve(now):
            pass
        return self.now()

    def now(self) -> Broadcast:
        found: Broadcast = self.store.get_broadcast("b")
        return found

    def executions(self) -> list[Execution]:
        found: list[Execution] = self.store.list_executions(
            ExecutionFilter(), limit=10_000, include=("context",)
        )
        return found

    def change(self, rule: Callable[..., Broadcast], **options: Any) -> None:
        self.store.replace_broadcast(rule(self.now(), now=EPOCH, **options))


@pytest.fixture
def hall(tmp_path: Path) -> Iterator[Hall]:
    hall = Hall(tmp_path / "flowkit.db")
    yield hall
    hall.store.close()


def test_every_recipient_gets_one_execution(hall: Hall) -> None:
    hall.hand_in(1201)
    done = hall.run()
    assert (done.status, done.created, done.ended_at) == ("completed", 1201, EPOCH)
    assert done.next_at is None
    assert hall.rings == 3
    found = hall.executions()
    assert sorted(e.contact_id or "" for e in found) == [f"c{i:05}" for i in range(1201)]
    one = min(found, key=lambda e: e.contact_id or "")
    contact = {"id": "c00000", "age": 17}
    assert one.context == {
        "trigger": {"contact": contact, "broadcastId": "b"},
        "contact": contact,
    }
    assert (one.flow_id, one.flow_version, one.trigger_type) == ("flow", 1, "test")
    assert hall.store.get_contact("c01200").attributes == {"id": "c01200", "age": 17}
    assert hall.serve(EPOCH) is False
    with pytest.raises(fk.NotFound):
        hall.store.get_recipients("b", 0)


def test_the_flow_s_filter_is_applied_and_its_mapping_is_not(hall: Hall) -> None:
    hall.hand_in(10, ADULTS)
    done = hall.run()
    assert (done.created, done.skipped, done.refused) == (5, 5, 0)


def test_a_filter_chooses_among_the_stored_contacts(hall: Hall) -> None:
    hall.hand_in(10)
    hall.run()
    hall.store.insert_broadcast(
        replace(hall.now(), id="x", filter=GROWN, total=None, cursor=None, status="running",
                created=0, next_at=EPOCH, ended_at=None)
    )  # fmt: skip
    while hall.serve(EPOCH):
        pass
    done = hall.store.get_broadcast("x")
    assert (done.status, done.created, done.skipped) == ("completed", 5, 5)
    assert len(hall.executions()) == 15


def test_who_may_not_enter_the_flow_is_skipped(hall: Hall) -> None:
    flow = fk.Flow("Once", trigger="test", settings={"entry": {"policy": "once"}}).delay(hours=1)
    hall.hand_in(0, published(flow.end()), total=4, batches=1)
    hall.store.put_recipients("b", 0, [{"id": "c1"}, {"id": "c2"}, {"id": "c1"}, {"id": "c1"}])
    done = hall.run()
    assert (done.created, done.skipped, done.refused) == (2, 2, 0)
    assert len(hall.executions()) == 2


def test_a_filter_that_fails_on_a_contact_refuses_that_one(hall: Hall) -> None:
    hall.hand_in(3)
    hall.run()
    odd = {"<": [{"var": "contact.id"}, {"var": "contact.age"}]}
    hall.store.insert_broadcast(
        replace(hall.now(), id="x", filter=odd, total=None, cursor=None, status="running",
                created=0, next_at=EPOCH, ended_at=None)
    )  # fmt: skip
    while hall.serve(EPOCH):
        pass
    done = hall.store.get_broadcast("x")
    assert (done.status, done.created + done.refused + done.skipped) == ("completed", 3)
    assert [p.path for p in done.problems] == ["/filter"] * done.refused


def test_an_execution_that_would_be_too_large_is_refused(hall: Hall) -> None:
    hall.hand_in(2)
    hall.store.put_recipients("b", 0, [{"id": "a"}, {"id": "b", "note": "x" * 20_000}])
    serve = Broadcasting(hall.store, hall.ring, Limits(execution_bytes=40_000))
    while serve(EPOCH):
        pass
    done = hall.now()
    assert (done.status, done.created, done.refused) == ("completed", 1, 1)
    assert [p.code for p in done.problems] == ["trigger.execution_too_large"]


@pytest.mark.parametrize(("per_second", "size"), [(2.0, 2), (0.5, 1), (2.9, 2), (600.0, 500)])
def test_a_batch_is_no_more_than_a_second_s_worth(hall: Hall, per_second: float, size: int) -> None:
    hall.hand_in(501, per_second=per_second)
    assert hall.serve(EPOCH) is False
    assert len(hall.executions()) == size
    assert hall.now().next_at == cut(EPOCH + timedelta(seconds=size / per_second))
    assert hall.serve(EPOCH) is False, "not before its time"
    assert len(hall.executions()) == size


def test_the_pace_is_kept_by_a_sweep_that_looks_every_second(hall: Hall) -> None:
    hall.hand_in(1000, per_second=7)
    for tick in range(20):
        hall.run(EPOCH + tick * timedelta(seconds=1.05))
    created = hall.now().created
    assert abs(created - 7 * (1 + 19 * 1.05)) <= 7
    assert hall.now().rate == pytest.approx(created / (19 * 1.05), abs=0.01)


def test_what_was_late_comes_in_no_burst(hall: Hall) -> None:
    hall.hand_in(1000, per_second=10)
    hall.run()
    done = hall.run(EPOCH + timedelta(hours=1))
    assert done.created <= 30


def test_a_pause_stops_creation_and_resuming_goes_on(hall: Hall) -> None:
    hall.hand_in(1201)
    hall.serve(EPOCH)
    hall.change(rules.pause)
    assert hall.run(EPOCH + SECOND).created == 500
    assert len(hall.executions()) == 500
    hall.change(rules.resume)
    done = hall.run(EPOCH + SECOND)
    assert (done.status, done.created) == ("completed", 1201)


def test_another_pace_counts_from_now(hall: Hall) -> None:
    hall.hand_in(1201, per_second=0.001)
    hall.run()
    hall.change(rules.repace, per_second=None)
    assert hall.run().created == 1201


def test_a_cancelled_broadcast_creates_nothing_more_and_leaves_nothing(hall: Hall) -> None:
    hall.hand_in(1201)
    hall.serve(EPOCH)
    hall.change(rules.cancel)
    done = hall.run(EPOCH + SECOND)
    assert (done.status, done.created, done.next_at) == ("cancelled", 500, None)
    assert len(hall.executions()) == 500
    with pytest.raises(fk.NotFound):
        hall.store.get_recipients("b", 2)


def test_one_that_broke_off_while_it_came_in_never_runs(hall: Hall) -> None:
    hall.hand_in(600, status="accepting")
    done = hall.run()
    assert (done.status, done.created, done.next_at) == ("cancelled", 0, None)
    assert hall.executions() == []
    with pytest.raises(fk.NotFound):
        hall.store.get_recipients("b", 0)


@pytest.mark.parametrize("gone", [False, True])
def test_a_flow_that_may_not_start_pauses_its_broadcast(hall: Hall, gone: bool) -> None:
    hall.hand_in(3)
    if gone:
        hall.store.delete_flow("flow")
    else:
        _, revision = hall.store.get_flow("flow")
        resting = FLOW.replace(is_active=False)
        hall.store.replace_flow(resting, revision=revision, publish=False)
    for _ in range(2):
        stopped = hall.run()
        assert (stopped.status, stopped.created) == ("paused", 0)
        assert [p.code for p in stopped.problems] == ["broadcast.flow_inactive"]
        hall.change(rules.resume)


def test_a_broadcast_that_fails_does_not_keep_others_waiting(
    hall: Hall, caplog: pytest.LogCaptureFixture
) -> None:
    healthy = hall.hand_in(3)
    hall.store.insert_broadcast(
        replace(healthy, id="a", flow_version=9, next_at=EPOCH - SECOND, batches=1)
    )
    hall.store.put_recipients("a", 0, [{"id": "x"}])
    assert hall.run().status == "completed"
    assert "broadcast a could not go on" in caplog.text


# ------------------------------------------------------------------------- crashes


class Died(BaseException):
    """In place of SIGKILL."""


@pytest.mark.parametrize("pace", [None, 200.0])
def test_a_crash_behind_any_batch_makes_nothing_twice(
    hall: Hall, monkeypatch: pytest.MonkeyPatch, pace: float | None
) -> None:
    hall.hand_in(1201, per_second=pace)

    def die(point: str) -> None:
        assert point == "after_batch"
        raise Died

    for tick in range(3):
        monkeypatch.setattr(faults, "hit", die)
        with pytest.raises(Died):
            hall.run(EPOCH + tick * SECOND)
        monkeypatch.setattr(faults, "hit", lambda point: None)
        hall.serve(EPOCH + tick * SECOND)
    for tick in range(3, 20):
        hall.run(EPOCH + tick * SECOND)
    done = hall.now()
    assert (done.status, done.created) == ("completed", 1201)
    found = hall.executions()
    assert len(found) == 1201
    assert len({e.contact_id for e in found}) == 1201


@pytest.mark.parametrize("rule", [rules.pause, rules.cancel])
def test_what_was_created_while_it_was_stopped_is_counted(
    hall: Hall, monkeypatch: pytest.MonkeyPatch, rule: Callable[..., Broadcast]
) -> None:
    hall.hand_in(1201)
    monkeypatch.setattr(faults, "hit", lambda point: hall.change(rule))
    hall.serve(EPOCH)
    assert hall.now().created == 500 == len(hall.executions())
    assert hall.now().status in ("paused", "cancelled")


def test_two_sweeps_at_once_do_no_harm(hall: Hall) -> None:
    hall.hand_in(2750)

    def sweep(i: int) -> None:
        store = SqliteStore(hall.path)
        serve = Broadcasting(store, lambda: None)
        while store.get_broadcast("b").status == "running":
            serve(EPOCH)
        store.close()

    assert at_once(3, sweep) == [None] * 3
    done = hall.now()
    assert (done.status, done.created) == ("completed", 2750)
    assert len({e.contact_id for e in hall.executions()}) == 2750 == len(hall.executions())


def test_a_rule_refuses_a_status_that_it_does_not_fit(hall: Hall) -> None:
    running = hall.hand_in(1)
    ended = rules.complete(running, now=EPOCH)
    for rule in (rules.pause, rules.resume, rules.cancel):
        with pytest.raises(Conflict, match="completed"):
            rule(ended, now=EPOCH)
    for status in ("accepting", "completed", "cancelled"):
        with pytest.raises(Conflict, match=status):
            rules.repace(replace(running, status=status), None, now=EPOCH)  # type: ignore[arg-type]
    with pytest.raises(Conflict):
        rules.resume(running, now=EPOCH)
    with pytest.raises(Conflict):
        rules.begin(running, now=EPOCH)


def test_only_the_first_problems_are_kept(hall: Hall) -> None:
    broadcast = hall.hand_in(1)
    problem = fk.Problem("code", "/1", "No.")
    for _ in range(3):
        broadcast = rules.advanced(broadcast, "9", Tally(0, 9, 0, [problem] * 9), now=EPOCH)
    assert (len(broadcast.problems), broadcast.refused) == (20, 27)
