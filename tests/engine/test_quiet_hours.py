"""Quiet hours of a flow, and windows that were missed: who wakes late looks at the clock again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

import flowkit as fk
from flowkit import engine
from flowkit.nodetype import Outcome, Wait
from flowkit.options import QuietHours
from flowkit.problems import errors
from flowkit.zones import WEEKDAYS
from tests.engine.driver import PAYLOAD, REFUSED, SAY, SAY_AGAIN, SENT, World, flow_of
from tests.nodes.test_calendar import Here

NIGHT = {"starts": "21:00", "ends": "09:00"}
KOLKATA = ZoneInfo("Asia/Kolkata")
BUSY = Outcome("failed", error={"code": "busy", "message": "later", "transient": True})


def quiet(flow: fk.Flow, **more: Any) -> fk.Flow:
    return flow.replace(settings={"quietHours": NIGHT | more, "timeZone": "Asia/Kolkata"})


HELLO = quiet(flow_of({"hello": SAY}, "start > hello > end"))


def at(hour: int, minute: int = 0, day: int = 6) -> datetime:
    """Return a moment of January 2026 in Kolkata; the 6th is a Tuesday."""
    return datetime(2026, 1, day, hour, minute, tzinfo=KOLKATA).astimezone(UTC)


def world(flow: fk.Flow, now: datetime, **more: Any) -> World:
    made = World(flow, **more)
    made.now = now
    return made


def test_a_message_waits_until_the_quiet_is_over() -> None:
    here = world(HELLO, at(22))
    execution = here.run()
    assert (execution.status, execution.resume_at) == ("delayed", at(9, day=7))
    assert (here.sent(), here.run_of("hello").status) == ([], "waiting")
    here.now = at(9, day=7)
    assert here.run().status == "completed"
    run = here.run_of("hello")
    assert run.result is not None
    assert run.result["messageId"] == "wamid.1"
    assert run.result["quietHours"] == {
        "timeZone": "Asia/Kolkata",
        "timeZoneFrom": "flow",
        "until": "2026-01-07T03:30:00.000Z",
    }
    assert (run.start_time, run.end_time, run.retry_count) == (at(22), at(9, day=7), 0)
    assert here.sent() == ["x_hello"]


@pytest.mark.parametrize(("hour", "sent"), [(20, 1), (21, 0), (0, 0), (8, 0), (9, 1)])
def test_quiet_hours_cross_midnight(hour: int, sent: int) -> None:
    here = world(HELLO, at(hour))
    here.run()
    assert len(here.sent()) == sent


def test_who_wakes_late_in_the_next_night_waits_again() -> None:
    here = world(HELLO, at(22))
    here.run()
    here.now = at(23, day=7)
    assert here.run().resume_at == at(9, day=8)
    here.now = at(9, day=8)
    assert here.run().status == "completed"
    assert here.sent() == ["x_hello"]


def test_a_message_is_skipped_where_the_policy_says_so() -> None:
    flow = quiet(flow_of({"a": SAY, "b": SAY}, "start > a > b > end"), policy="skip")
    here = world(flow, at(22))
    assert here.run().status == "completed"
    assert (here.nodes["a"], here.nodes["b"]) == ("suppressed", "suppressed")
    assert here.sent() == []


def test_only_messages_are_held_back() -> None:
    http = ("HTTP_REQUEST", {"method": "GET", "url": "https://example.com"})
    here = world(quiet(flow_of({"call": http}, "start > call > end")), at(22))
    assert here.run().status == "completed"
    assert here.sent() == ["x_call"]


def test_another_attempt_is_held_back_too_and_counted() -> None:
    here = world(HELLO, at(20, 59), outcomes=lambda p: SENT if p.attempt else BUSY)
    here.run()
    here.now = at(21, 1)
    assert here.run().resume_at == at(9, day=7)
    here.now = at(9, day=7)
    assert here.run().status == "completed"
    assert [p.attempt for p in here.performed] == [0, 1]
    assert here.run_of("hello").retry_count == 1


@pytest.mark.parametrize("policy", ["defer", "skip"])
def test_what_may_be_lost_is_sent_again_only_after_the_quiet(policy: str) -> None:
    flow = quiet(flow_of({"hello": SAY_AGAIN}, "start > hello > end"), policy=policy)
    here = world(flow, at(20, 59), outcomes=lambda p: SENT if p.attempt else None)
    here.run()
    here.now = at(21, 5)
    if policy == "skip":  # nobody knows whether it was sent, and now it may not be
        assert here.run("b").status == "failed"
        assert here.error("hello") == "outcome_unknown"
        return
    assert here.run("b").resume_at == at(9, day=7)
    here.now = at(9, day=7)
    assert here.run("b").status == "completed"
    assert [p.attempt for p in here.performed] == [0, 1]


def test_what_is_held_back_can_be_cancelled() -> None:
    here = world(HELLO, at(22))
    here.run()
    assert here.cancel() == "ok"
    assert here.nodes["hello"] == "cancelled"


def test_what_is_held_back_is_still_sent_in_another_version() -> None:
    """A branch beside it fails and is retried there; one that waits goes along."""
    call = ("HTTP_REQUEST", {"method": "GET", "url": "https://example.com"})
    flow = flow_of({"call": call, "hello": SAY}, "start > hello > end", "start > call > end")
    here = world(quiet(flow), at(22), outcomes=lambda p: SENT if "hello" in p.key else REFUSED)
    here.run()
    newer = here.flow.replace(version=2)
    patch = engine.retry(here.execution, None, now=here.now, pinned=here.flow, version=newer)
    assert here.commit(patch).outcome == "ok"
    here.now = at(9, day=7)
    here.run()
    assert here.nodes["hello"] == "completed"
    assert "x_hello" in here.sent()


def test_a_flow_that_is_always_quiet_is_refused() -> None:
    flow = quiet(flow_of({"hello": SAY}, "start > hello > end"), ends="21:00")
    (found,) = errors(flow.validate())
    assert (found.code, found.path) == ("settings.quiet_hours", "/settings/quietHours/ends")


moments = st.datetimes(datetime(2025, 1, 1), datetime(2027, 12, 31), timezones=st.just(UTC))
times = st.sampled_from(["00:00", "02:30", "09:00", "21:00", "23:59"])


@given(moments, st.sampled_from(["UTC", "America/New_York", "Asia/Kolkata"]), times, times,
       st.sets(st.sampled_from(WEEKDAYS), min_size=1, max_size=6))  # fmt: skip
def test_quiet_ends_no_later_than_is_proved(
    now: datetime, zone: str, starts: str, ends: str, days: set[str]
) -> None:
    hours = QuietHours(starts=starts, ends=ends, days=sorted(days))  # type: ignore[arg-type]
    held = hours.holds(Here(now, zone))
    if held is not None:
        assert isinstance(held, Wait)
        assert now < held.until <= now + timedelta(seconds=hours.longest())
        assert hours.holds(Here(held.until, zone)) is None


def test_a_message_that_is_tried_for_days_can_be_held_back_by_several_nights() -> None:
    hours = QuietHours(starts="21:00", ends="09:00")
    assert hours.longest() == hours.longest(3_600) == 14 * 3_600
    assert hours.longest(86_400) >= 2 * hours.longest()
    days = QuietHours(starts="00:00", ends="00:00", days=["saturday", "sunday"])
    assert days.longest() == 50 * 3_600
    assert QuietHours(starts="21:00", ends="09:00", policy="skip").longest() == 0


WINDOW = ("SENDING_WINDOW", {"opens": "09:00", "closes": "18:00", "timeZone": "Asia/Kolkata"})


def test_who_wakes_after_the_window_has_closed_waits_for_the_next() -> None:
    here = world(flow_of({"w": WINDOW, "hello": SAY}, "start > w > hello > end"), at(20))
    assert here.run().resume_at == at(9, day=7)
    here.now = at(19, day=7)  # workers were away all day
    execution = here.run()
    assert (execution.status, execution.resume_at) == ("delayed", at(9, day=8))
    assert here.sent() == []
    here.now = at(10, day=8)
    assert here.run().status == "completed"
    run = here.run_of("w")
    assert run.result is not None
    assert (run.start_time, run.end_time, run.result["open"]) == (at(20), at(10, day=8), False)
    assert here.sent() == ["x_hello"]


def test_the_proofs_know_that_messages_are_held_back() -> None:
    flow = fk.Flow("Answer", trigger="whatsapp.message").delay(hours=13).send(text="Hi", id="hi")
    flow = flow.delay(hours=1).end()
    assert flow.validate() == []
    held = flow.replace(settings={"quietHours": NIGHT})
    assert [p.code for p in held.validate()] == ["window.may_be_closed"]
    (first, then) = (t for t in held.timing() if t.type in ("SEND_MESSAGE", "END"))
    assert first.window == "may be closed"
    assert first.latest is not None
    assert then.latest is not None
    assert then.latest - first.latest >= timedelta(hours=13)


def test_a_simulation_and_a_trial_keep_the_quiet() -> None:
    contact = {**PAYLOAD["contact"], "timeZone": "Asia/Kolkata"}  # type: ignore[dict-item]
    flow = fk.Flow("Hi", trigger="t", settings={"quietHours": NIGHT}).send(text="Hi", id="hi").end()
    tried = fk.test(flow).with_contact(contact).at("2026-01-06T18:00Z").run()
    assert tried.sent == [("hi", "2026-01-07T03:30:00.000Z")]
    found = fk.simulate(flow, [contact], at=datetime(2026, 1, 6, 18, tzinfo=UTC))
    (sent,) = found.node_runs.query("node_id == 'hi'").to_dict("records")
    assert sent["end_time"].isoformat().startswith("2026-01-07T03:30:00.")


def test_code_and_differences_tell_of_quiet_hours() -> None:
    flow = fk.Flow("Hi", trigger="t", settings={"quietHours": NIGHT}).send(text="Hi").end()
    names: dict[str, Any] = {}
    exec(flow.to_python(), names)
    assert names["flow"].to_dict() == flow.to_dict()
    later = flow.replace(settings={"quietHours": NIGHT | {"starts": "22:00"}})
    assert '~ flow /settings/quietHours/starts: "21:00" -> "22:00"' in str(flow.diff(later))
