"""What has ended is counted once its day is over, and goes when it has been kept long enough."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from flowkit import engine
from flowkit.errors import SettingsError
from flowkit.execution import ExecutionFilter
from flowkit.testing import EPOCH, started
from flowkit.wire import to_ms
from service.counting import beginning, count_day, days_due, first_open_day
from service.settings import Settings
from service.store.sqlite import SqliteStore
from service.worker import retention
from service.worker.retention import PAUSE, Retention

DAY = timedelta(days=1)
TODAY = EPOCH.date()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(tmp_path / "flowkit.db")
    yield store
    store.close()


def ended(store: SqliteStore, *moments: datetime) -> list[str]:
    """Add an execution that was cancelled at each of these moments."""
    executions = started(len(moments))
    store.create(executions)
    for execution, at in zip(executions, moments, strict=True):
        store.commit([engine.cancel(execution, now=at)], now=at)
    return [execution.id for execution in executions]


def kept(store: SqliteStore) -> list[str]:
    return sorted(e.id for e in store.list_executions(ExecutionFilter(), limit=1_000))


def counted(store: SqliteStore) -> dict[date, int]:
    """How many executions were counted, by day."""
    everything = store.list_counts(since=TODAY - 400 * DAY, until=TODAY + 400 * DAY)
    return {c.day: c.count for c in everything if c.node_id is None}


def run(chore: Retention, now: datetime) -> None:
    """Call the chore until nothing is left to be counted."""
    while chore(now):
        pass


def chore_of(store: SqliteStore, **settings: Any) -> Retention:
    return Retention(store, Settings(**{"retention_days": 3} | settings))


# -------------------------------------------------------------------- the rule


def test_a_day_is_over_a_little_after_midnight() -> None:
    midnight = beginning(TODAY)
    assert first_open_day(midnight) == TODAY - DAY, "a commit of yesterday may still come"
    assert first_open_day(midnight + timedelta(minutes=10)) == TODAY
    assert first_open_day(midnight + timedelta(hours=23)) == TODAY


def test_the_days_that_are_due_are_those_since_the_last() -> None:
    noon = beginning(TODAY) + timedelta(hours=12)
    yesterday = TODAY - DAY
    assert days_due(noon, done=None, days=3) == [TODAY - 3 * DAY, TODAY - 2 * DAY, yesterday]
    assert days_due(noon, done=TODAY - 2 * DAY, days=90) == [yesterday]
    assert days_due(noon, done=yesterday, days=90) == []
    assert days_due(noon, done=TODAY + DAY, days=90) == [], "the clock went back"
    assert days_due(noon, done=TODAY - 50 * DAY, days=2) == [TODAY - 2 * DAY, yesterday]


# -------------------------------------------------------------------- counting


def test_days_missed_while_nothing_ran_are_counted_before_anything_goes(store: SqliteStore) -> None:
    ended(store, EPOCH - 3 * DAY, EPOCH - 2 * DAY, EPOCH - 2 * DAY, EPOCH - DAY, EPOCH)
    run(chore_of(store), EPOCH)
    assert counted(store) == {TODAY - 3 * DAY: 1, TODAY - 2 * DAY: 2, TODAY - DAY: 1}
    run(chore_of(store), EPOCH + DAY)
    assert kept(store) == ["x000001", "x000002", "x000003", "x000004"]
    assert counted(store)[TODAY - 3 * DAY] == 1
    assert counted(store)[TODAY] == 1


def test_what_was_counted_stays_when_some_of_it_is_gone(store: SqliteStore) -> None:
    ids = ended(store, EPOCH, EPOCH)
    assert count_day(store, TODAY)
    store.delete_ended([(ids[0], 1)])
    assert not count_day(store, TODAY)
    assert counted(store) == {TODAY: 2}


def test_when_counting_fails_nothing_is_removed(store: SqliteStore) -> None:
    ended(store, EPOCH - 30 * DAY)
    chore = chore_of(store)
    store.roll_up = lambda day: 1 / 0  # type: ignore[method-assign]
    with pytest.raises(ZeroDivisionError):
        run(chore, EPOCH)
    assert kept(store) == ["x000000"]


# -------------------------------------------------------------------- removing


def test_what_was_kept_long_enough_goes(store: SqliteStore) -> None:
    ended(store, EPOCH - 3 * DAY - timedelta(milliseconds=1), EPOCH - 3 * DAY)
    run(chore_of(store), EPOCH)
    assert kept(store) == ["x000001"], "kept from its end on"


@pytest.mark.parametrize("settings", [{"retention_days": 0}, {"archive_url": "s3://bucket"}])
def test_what_is_kept_for_ever_or_archived_stays(
    store: SqliteStore, settings: dict[str, Any]
) -> None:
    ended(store, EPOCH - 300 * DAY)
    run(chore_of(store, **settings), EPOCH)
    assert kept(store) == ["x000000"]


def test_the_shortest_retention_waits_until_the_day_is_counted(store: SqliteStore) -> None:
    midnight = beginning(TODAY)
    ended(store, midnight - DAY + timedelta(minutes=1), midnight - timedelta(minutes=1))
    chore = chore_of(store, retention_days=1)
    run(chore, midnight + timedelta(minutes=5))
    assert kept(store) == ["x000000", "x000001"], "yesterday is not counted yet"
    run(chore, midnight + timedelta(minutes=11))
    assert counted(store) == {TODAY - DAY: 2}
    assert kept(store) == ["x000001"]


def test_it_removes_a_batch_at_a_time_and_rests_when_nothing_is_left(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH", 2)
    ended(store, *[EPOCH - 30 * DAY] * 3)
    chore = chore_of(store)
    run(chore, EPOCH)
    assert kept(store) == ["x000002"]
    run(chore, EPOCH)
    assert kept(store) == []
    store.create(started(1))
    old = EPOCH - 30 * DAY
    store.commit([engine.cancel(store.get_execution("x000000"), now=old)], now=old)
    run(chore, EPOCH + PAUSE - timedelta(milliseconds=1))
    assert kept(store) == ["x000000"]
    run(chore, EPOCH + PAUSE)
    assert kept(store) == []


def test_keys_of_triggers_go_after_their_hours(store: SqliteStore) -> None:
    hour = timedelta(hours=1)
    made = [EPOCH - 24 * hour - timedelta(milliseconds=1), EPOCH - 24 * hour, EPOCH]
    rows = [(f"key{i}", "", "", "[]", to_ms(at)) for i, at in enumerate(made)]
    insert = "INSERT INTO trigger_keys VALUES (?, ?, ?, ?, ?)"
    store._file.write(lambda c: c.executemany(insert, rows), durable=False)

    def keys() -> list[str]:
        with store._file.reading() as c:
            return [id for (id,) in c.execute("SELECT id FROM trigger_keys ORDER BY id")]

    run(chore_of(store), EPOCH)
    assert keys() == ["key1", "key2"]
    run(chore_of(store, retention_days=0, idempotency_hours=1), EPOCH)
    assert keys() == ["key2"]


def test_an_execution_outlives_the_key_of_its_trigger() -> None:
    assert Settings(retention_days=2, idempotency_hours=48)
    assert Settings(retention_days=0, idempotency_hours=48)
    with pytest.raises(SettingsError, match="FLOWKIT_RETENTION_DAYS is shorter"):
        Settings(retention_days=1, idempotency_hours=25)


def test_a_clock_that_goes_back_does_not_stop_it(store: SqliteStore) -> None:
    chore = chore_of(store)
    run(chore, EPOCH + 5 * DAY)
    ended(store, EPOCH - 30 * DAY)
    run(chore, EPOCH)
    assert kept(store) == []
