"""A machine whose clock is wrong is told so, and claims nothing until it is right again."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from flowkit.clock import ManualClock
from flowkit.testing import EPOCH
from service.worker.clock import ClockWatch
from tests.worker.stage import Pool, Stage, messages


def test_a_jump_is_seen_once_and_what_is_slow_is_none() -> None:
    clock = ManualClock(EPOCH)
    watch = ClockWatch(clock, None)
    seen = [watch.jumped()]
    for seconds in (6, 4, 4, -6):
        clock.advance(timedelta(seconds=seconds))
        seen += [watch.jumped(), watch.jumped()]
    assert seen == [False, True, False, False, False, False, False, True, False]


def test_a_machine_whose_clock_is_off_claims_nothing(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    pool: Any = Pool()
    off = [-5.1]
    stage.start(messages("first"))
    worker = stage.runner(clock_off=lambda: off[0])
    for _ in range(3):
        worker.step(pool)
    assert not stage.leases()
    off[0] = 4.9
    worker.step(pool)
    assert len(stage.leases()) == 1
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]


def test_leases_are_renewed_after_a_jump_also_when_the_store_fails_at_first(stage: Stage) -> None:
    pool: Any = Pool()
    store = stage.watched()
    stage.start(messages("first"))
    worker = stage.runner(store=store, lease_seconds=600.0)
    worker.step(pool)
    stage.clock.advance(timedelta(hours=1))
    store.failing = {"renew"}
    with pytest.raises(Exception, match="disk is full"):
        worker.step(pool)
    store.failing = set()
    worker.step(pool)
    assert not stage.store.claim("thief", now=stage.clock.now(), lease_ms=600_000, limit=9)
