"""Delays and windows of the calendar: which moment it is, in whose zone, and what if it is past."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

import flowkit as fk
from flowkit.nodetype import Next, NodeType, Wait, node_type
from flowkit.zones import WEEKDAYS, at, read_time, zone_for
from tests.engine.driver import PAYLOAD, World, flow_of

ZONES = ["UTC", "America/Sao_Paulo", "Europe/Berlin", "Asia/Kolkata", "America/New_York"]
moments = st.datetimes(datetime(2025, 1, 1), datetime(2027, 12, 31), timezones=st.just(UTC)).map(
    lambda moment: moment.replace(microsecond=0)
)
times = st.sampled_from(["00:00", "01:30", "02:30", "09:00", "22:00", "23:59"])


class Here:
    """What a node sees, with the time and the contact of a test."""

    contact_id = "c1"
    execution_id = "x"
    flow_id = "flow"
    node_id = "node"
    key = "x_node"

    def __init__(self, now: datetime, zone: str | None = None, **contact: Any) -> None:
        self.now = now
        self.contact = contact | ({"timeZone": zone} if zone else {})
        self.time_zone: str | None = None

    def evaluate(self, logic: Any) -> Any:
        raise AssertionError("nodes of the calendar evaluate no conditions")

    def render(self, template: str) -> str:
        return template.replace("{{ contact.birthday }}", str(self.contact.get("birthday")))


def made(type: str, **config: Any) -> NodeType:
    return node_type(type)(**config)


def local(moment: datetime, zone: str) -> str:
    return moment.astimezone(ZoneInfo(zone)).strftime("%a %Y-%m-%d %H:%M")


def until(step: object, zone: str = "America/Sao_Paulo") -> str:
    assert isinstance(step, Wait), step
    return local(step.until, zone)


NOW = datetime(2026, 11, 25, 15, 0, tzinfo=UTC)
"""A Wednesday; noon in São Paulo."""
SP = "America/Sao_Paulo"


@pytest.mark.parametrize(
    ("type", "config", "moment"),
    [
        ("DELAY_DAYS", {"days": 1}, "Thu 2026-11-26 12:00"),
        ("DELAY_DAYS", {"days": 2, "at": "09:00"}, "Fri 2026-11-27 09:00"),
        ("DELAY_DAYS", {"days": 0, "at": "18:00"}, "Wed 2026-11-25 18:00"),
        ("DELAY_DAYS", {"days": 0, "at": "09:00"}, "Thu 2026-11-26 09:00"),
        ("DELAY_UNTIL", {"at": "2026-12-01T08:00"}, "Tue 2026-12-01 08:00"),
        ("DELAY_UNTIL", {"at": "2026-12-01"}, "Tue 2026-12-01 00:00"),
        ("DELAY_UNTIL", {"at": "2026-12-01T08:00:00Z"}, "Tue 2026-12-01 05:00"),
        ("DELAY_UNTIL", {"at": "2026-12-01T08:00", "offset_minutes": -120}, "Tue 2026-12-01 06:00"),
        ("DELAY_DATE", {"date": "2026-12-24T00:00:00Z"}, "Thu 2026-12-24 09:00"),
        ("DELAY_WEEKDAY", {"days": ["friday"], "at": "09:00"}, "Fri 2026-11-27 09:00"),
        ("DELAY_WEEKDAY", {"days": ["wednesday"], "at": "18:00"}, "Wed 2026-11-25 18:00"),
        ("DELAY_WEEKDAY", {"days": ["wednesday"], "at": "12:00"}, "Wed 2026-12-02 12:00"),
        ("DELAY_DATE", {"date": "2026-12-24", "offset_days": -3}, "Mon 2026-12-21 09:00"),
        ("DELAY_DATE", {"date": "1990-12-24", "yearly": True}, "Thu 2026-12-24 09:00"),
        (
            "DELAY_DATE",
            {"date": "1990-01-02", "offset_days": -7, "yearly": True},
            "Sat 2026-12-26 09:00",
        ),
        (
            "DELAY_DATE",
            {"date": "1990-11-25", "yearly": True, "past": "next"},
            "Thu 2027-11-25 09:00",
        ),
        (
            "DELAY_DATE",
            {"date": "1992-02-29", "yearly": True, "past": "next"},
            "Sun 2027-02-28 09:00",
        ),
        ("SENDING_WINDOW", {"opens": "13:00", "closes": "15:00"}, "Wed 2026-11-25 13:00"),
        ("SENDING_WINDOW", {"opens": "08:00", "closes": "12:00"}, "Thu 2026-11-26 08:00"),
        ("SENDING_WINDOW", {"opens": "22:00", "closes": "06:00"}, "Wed 2026-11-25 22:00"),
        (
            "SENDING_WINDOW",
            {"opens": "09:00", "closes": "18:00", "days": ["saturday"]},
            "Sat 2026-11-28 09:00",
        ),
    ],
)
def test_it_waits_for_the_contact_s_local_time(
    type: str, config: dict[str, Any], moment: str
) -> None:
    step = made(type, **config).run(Here(NOW, SP))
    assert until(step) == moment
    assert isinstance(step, Wait)
    assert (step.result or {})["timeZone"] == SP


@pytest.mark.parametrize("hour", [0, 3, 5])
def test_a_window_past_midnight_is_open_on_both_sides_of_it(hour: int) -> None:
    window = made("SENDING_WINDOW", opens="22:00", closes="06:00", days=["wednesday"], mode="skip")
    night = at(datetime(2026, 11, 26).date(), read_time(f"0{hour}:00"), ZoneInfo(SP))
    assert window.run(Here(night, SP)).handle == "open"
    assert window.run(Here(night + timedelta(days=1), SP)).handle == "closed"
    assert window.run(Here(night.replace(hour=12), SP)).handle == "closed"


def test_a_window_that_closes_when_it_opens_is_open_all_day() -> None:
    window = made("SENDING_WINDOW", opens="09:00", closes="09:00")
    assert isinstance(window.run(Here(NOW, SP)), Next)


@pytest.mark.parametrize(
    ("config", "handle"),
    [({"past": "continue"}, None), ({"past": "exit"}, "past")],
)
def test_a_moment_that_is_past_is_as_the_node_says(
    config: dict[str, Any], handle: str | None
) -> None:
    for type, what in (
        ("DELAY_UNTIL", {"at": "2026-11-25T11:59"}),
        ("DELAY_DATE", {"date": "2026-11-25"}),
    ):
        node = made(type, **what, **config)
        step = node.run(Here(NOW, SP))
        assert isinstance(step, Next)
        assert step.handle == handle
        assert (step.result or {})["past"] is True
        assert handle in {way.id for way in node.outputs()}


# --------------------------------------------------------------------------- zones


def test_the_node_s_zone_counts_then_the_contact_s_then_the_flow_s_then_utc() -> None:
    node, theirs = made("DELAY_DAYS", days=1, at="09:00"), "Asia/Kolkata"
    fixed = made("DELAY_DAYS", days=1, at="09:00", time_zone=SP)

    def facts(node: NodeType, here: Here, flow: str | None = None) -> tuple[str, str]:
        here.time_zone = flow
        step = node.run(here)
        assert isinstance(step, Wait)
        assert step.result is not None
        return step.result["timeZone"], step.result["timeZoneFrom"]

    assert facts(fixed, Here(NOW, theirs)) == (SP, "node")
    assert facts(node, Here(NOW, theirs), "Europe/Berlin") == (theirs, "contact")
    assert facts(node, Here(NOW), "Europe/Berlin") == ("Europe/Berlin", "flow")
    assert facts(node, Here(NOW, "Mars/Olympus"), "Europe/Berlin") == ("Europe/Berlin", "flow")
    lost = Here(NOW, "Mars/Olympus").contact
    assert zone_for(None, lost, "Europe/Berlin").facts()["timeZoneUnknown"] == "Mars/Olympus"
    assert zone_for(None, {"timeZone": 5}, None).facts()["timeZoneUnknown"] == "5"
    assert "timeZoneUnknown" not in zone_for(None, {}, "Europe/Berlin").facts()
    assert facts(node, Here(NOW), "Nowhere/At_All") == ("UTC", "default")
    assert facts(node, Here(NOW, timezone=theirs)) == (theirs, "contact")


def test_a_flow_s_zone_is_that_of_its_settings() -> None:
    flow = flow_of({"wait": ("DELAY_DAYS", {"days": 1, "at": "09:00"})}, "start > wait > end")
    document = flow.to_dict() | {"settings": {"timeZone": "Asia/Kolkata"}}
    world = World(fk.Flow.from_dict(document), PAYLOAD)
    world.run()
    run = world.run_of("wait")
    assert run.result == {"timeZone": "Asia/Kolkata", "timeZoneFrom": "flow"}
    assert world.execution.resume_at is not None
    assert local(world.execution.resume_at, "Asia/Kolkata").endswith("09:00")


def test_a_time_that_clocks_skip_is_later_by_as_much_and_one_that_they_repeat_is_the_first() -> (
    None
):
    berlin = ZoneInfo("Europe/Berlin")
    skipped = at(datetime(2026, 3, 29).date(), read_time("02:30"), berlin)
    assert skipped == datetime(2026, 3, 29, 1, 30, tzinfo=UTC)
    assert local(skipped, "Europe/Berlin").endswith("03:30")
    repeated = at(datetime(2026, 10, 25).date(), read_time("02:30"), berlin)
    assert repeated == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)


def test_calendar_days_are_not_24_hours_where_clocks_change() -> None:
    before = datetime(2026, 3, 28, 11, 0, tzinfo=UTC)
    step = made("DELAY_DAYS", days=1).run(Here(before, "Europe/Berlin"))
    assert isinstance(step, Wait)
    assert step.until - before == timedelta(hours=23)


@given(moments, st.sampled_from(ZONES), st.integers(0, 40), times)
def test_days_later_it_is_that_time_of_day(now: datetime, zone: str, days: int, clock: str) -> None:
    step = made("DELAY_DAYS", days=days, at=clock).run(Here(now, zone))
    assert isinstance(step, Wait)
    assert step.until > now
    passed = step.until.astimezone(ZoneInfo(zone)).date() - now.astimezone(ZoneInfo(zone)).date()
    assert passed.days in ({days, days + 1} if not days else {days})
    shown = local(step.until, zone)[-5:]
    assert shown == clock or (clock < "04:00" and shown > clock), "only clocks that change move it"


@given(
    moments, st.sampled_from(ZONES), times, times, st.sets(st.sampled_from(range(7)), min_size=1)
)
def test_a_window_holds_nobody_in_it_and_lets_all_out_into_it(
    now: datetime, zone: str, opens: str, closes: str, numbers: set[int]
) -> None:
    days = [WEEKDAYS[n] for n in sorted(numbers)]
    window = made("SENDING_WINDOW", opens=opens, closes=closes, days=days)
    step = window.run(Here(now, zone))
    if isinstance(step, Wait):
        assert now < step.until <= now + timedelta(days=8)
        assert isinstance(window.run(Here(step.until, zone)), Next)
    skipping = made("SENDING_WINDOW", opens=opens, closes=closes, days=days, mode="skip")
    open_now = skipping.run(Here(now, zone)).handle == "open"
    assert open_now == isinstance(step, Next)


@given(moments, st.sampled_from(ZONES), times, st.sets(st.sampled_from(range(7)), min_size=1))
def test_a_weekday_comes_within_a_week(
    now: datetime, zone: str, clock: str, numbers: set[int]
) -> None:
    days = [WEEKDAYS[n] for n in numbers]
    step = made("DELAY_WEEKDAY", days=days, at=clock).run(Here(now, zone))
    assert isinstance(step, Wait)
    assert now < step.until <= now + timedelta(days=7, hours=1)
    assert WEEKDAYS[step.until.astimezone(ZoneInfo(zone)).weekday()] in days


# ------------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    "text", ["", "soon", "2026-13-01", "2026-02-30", "31/12/2026", "None", "0001-01-01"]
)
def test_what_is_no_date_fails_the_node_and_says_so(text: str) -> None:
    flow = flow_of({"wait": ("DELAY_DATE", {"date": "{{ contact.birthday }}", "past": "continue"})},
                   "start > wait > end")  # fmt: skip
    world = World(flow, {"contact": {"id": "c1", "birthday": text}})
    assert world.run().status == "failed"
    assert world.error("wait") == "date_invalid"


@pytest.mark.parametrize(
    ("type", "config", "code", "path"),
    [
        ("DELAY_DAYS", {"days": 1, "at": "9:00"}, "config.time", "/at"),
        ("DELAY_DAYS", {"days": 1, "at": "24:00"}, "config.time", "/at"),
        ("DELAY_DAYS", {"days": 0}, "config.delay", "/days"),
        ("DELAY_DAYS", {"days": 1, "timeZone": "Mars/Olympus"}, "config.time_zone", "/timeZone"),
        ("DELAY_WEEKDAY", {"days": ["someday"], "at": "09:00"}, "config.choice", "/days/0"),
        ("DELAY_DATE", {"date": "2026-01-01", "past": "next"}, "config.past", "/past"),
    ],
)
def test_what_is_asked_wrongly_is_named(
    type: str, config: dict[str, Any], code: str, path: str
) -> None:
    flow = flow_of({"wait": (type, config)}, "start > wait > end")
    (found,) = fk.validate(flow.to_dict())
    assert (found.code, found.path) == (code, "/nodes/1/config" + path)


def test_a_delay_of_more_than_five_years_is_refused() -> None:
    flow = flow_of({"wait": ("DELAY_UNTIL", {"at": "2036-01-01"})}, "start > wait > end")
    world = World(flow)
    world.run()
    assert world.error("wait") == "delay_too_long"
