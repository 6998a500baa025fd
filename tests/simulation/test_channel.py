"""What a business number lets through, and when."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, time, timedelta
from itertools import pairwise
from typing import Any

import pandas as pd
import pytest

import flowkit as fk
from flowkit.simulation import After, Behaviour, Channel, Population, Reaction, simulate

AT = datetime(2026, 12, 1, 9, tzinfo=UTC)
AT_ONCE = Behaviour(reactions=[Reaction(latency=After(0))])
HELLO = fk.Flow("Hello", trigger="x").send(text="Hello", id="hello").end()


def sent(people: Any, channel: Channel, flow: fk.Flow = HELLO) -> list[pd.Timestamp]:
    result = simulate(flow, people, AT_ONCE, at=AT, channel=channel)
    return sorted(result.messages["sent_at"])


def after(moments: list[pd.Timestamp]) -> list[float]:
    return [(moment - AT).total_seconds() for moment in moments]


def test_a_number_sends_so_many_a_second() -> None:
    moments = after(sent(Population(size=1_000), Channel(per_second=80)))
    assert moments[-1] == pytest.approx(999 / 80, abs=0.001)
    assert max(Counter(int(moment) for moment in moments).values()) <= 80


def test_a_contact_gets_one_in_six_seconds_after_a_burst() -> None:
    def burst(b: Any) -> Any:
        for number in range(6):
            b = b.send(text=f"m{number}")
        return b

    flow = burst(fk.Flow("Burst", trigger="x")).end()
    person = [{"id": "a", "phone": "+5511999990000"}]
    channel = Channel(per_second=1_000, pair_seconds=6, pair_burst=3)
    moments = after(sent(person, channel, flow))
    assert [round(moment) for moment in moments] == [0, 0, 0, 6, 12, 18]


def test_a_day_has_room_for_so_many_contacts() -> None:
    moments = after(sent(Population(size=25), Channel(per_second=100, per_day=10)))
    days = [int(moment // 86_400) for moment in moments]
    assert days == [0] * 10 + [1] * 10 + [2] * 5
    for first, eleventh in zip(moments, moments[10:], strict=False):
        assert eleventh - first > 86_400 - 1e-6


def test_a_contact_who_was_reached_today_takes_no_more_room() -> None:
    flow = fk.Flow("Two", trigger="x").send(text="1").delay(hours=1).send(text="2").end()
    moments = after(sent(Population(size=10), Channel(per_day=10), flow))
    assert [round(moment / 3_600) for moment in moments] == [0] * 10 + [1] * 10


def test_quiet_hours_are_the_contacts_own() -> None:
    people = [
        {"id": "a", "phone": "+5511999990000", "timezone": "America/Sao_Paulo"},  # 06:00
        {"id": "b", "phone": "+4930123456", "timezone": "Europe/Berlin"},  # 10:00
        {"id": "c", "phone": "+819012345678", "timezone": "Asia/Tokyo"},  # 18:00
        {"id": "d", "phone": "+6421123456", "timezone": "Pacific/Auckland"},  # 22:00
        {"id": "e", "phone": "+5511999990001"},
    ]
    channel = Channel(quiet=(time(21), time(8)), zone="UTC")
    result = simulate(HELLO, people, AT_ONCE, at=AT, channel=channel)
    hours = {
        row["contact_id"]: (row["sent_at"] - AT) / timedelta(hours=1)
        for row in result.messages.to_dict("records")
    }
    assert {k: round(v) for k, v in hours.items()} == {"a": 2, "b": 0, "c": 0, "d": 10, "e": 0}


def test_what_waits_in_the_queue_does_not_slip_into_quiet_hours() -> None:
    channel = Channel(per_second=1, quiet=(time(9, 0, 10), time(9, 1)))
    moments = after(sent(Population(size=20), channel))
    assert [round(moment) for moment in moments] == [*range(10), *range(60, 70)]


def test_nobody_is_overtaken() -> None:
    result = simulate(
        HELLO, Population(size=200), AT_ONCE, at=AT, over=timedelta(seconds=1), channel=Channel()
    )
    started = result.executions.set_index("execution_id")["created_at"]
    order = result.messages.sort_values("sent_at", kind="stable")["execution_id"].map(started)
    assert all(a <= b for a, b in pairwise(order))


def test_limits_do_not_depend_on_sharing() -> None:
    people = Population(size=60)
    one, two = (
        simulate(HELLO, people, at=AT, channel=Channel(per_second=3), share=share)
        for share in (True, False)
    )
    pd.testing.assert_frame_equal(one.node_runs, two.node_runs)
