"""Servers that go away in the middle: what was accepted waits for them, and nothing is lost.

With the embedded store there is no server to restart: its file is opened anew by each process
that takes over, which `test_kills` does.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.crash.flows import FLOWS, payloads
from tests.crash.guarantees import check, ledger
from tests.processes import Installation, installation, until
from tests.servers.mongo import MongoServer
from tests.servers.redis import RedisServer

pytestmark = [pytest.mark.crash, pytest.mark.timeout(400)]


@contextmanager
def prepared(directory: Path, **settings: str) -> Iterator[Installation]:
    with contextmanager(installation)(directory, **settings) as here:
        here.start_simulator()
        here.start_api()
        for flow in FLOWS.values():
            here.client.post("/api/flows", json=flow).raise_for_status()
        yield here


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path)
    yield server
    server.kill()


@pytest.fixture
def mongodb(tmp_path: Path) -> Iterator[MongoServer]:
    server = MongoServer(tmp_path, keeps=True)
    yield server
    server.kill()


def status(here: Installation) -> str:
    return str(here.client.get("/readyz").json()["status"])


def test_a_redis_that_is_flushed_killed_and_started_again(
    tmp_path: Path, redis: RedisServer, mongodb_url: str
) -> None:
    settings = {"lease_seconds": "10", "sweep_seconds": "0.2"}
    with prepared(tmp_path, mongodb_url=mongodb_url, redis_url=redis.url, **settings) as here:
        for _ in range(2):
            here.start("worker")
        accepted = here.trigger(payloads(5), "shared")
        redis.flush()
        accepted += here.trigger(payloads(5), "delay")
        redis.kill()
        accepted += here.trigger(payloads(5), "few")
        assert status(here) == "degraded"
        here.wait_for(accepted)
        redis.start()
        until(lambda: status(here) == "ok", what="the queue is back")
        accepted += here.trigger(payloads(5), "resend")
        here.wait_for(accepted)
        found = check(here, accepted, crashes=0)
        assert {execution.status for execution in found} == {"completed"}


def test_a_database_that_is_killed_in_the_middle_of_recovery(
    tmp_path: Path, mongodb: MongoServer, redis: RedisServer
) -> None:
    settings = {"lease_seconds": "1", "sweep_seconds": "0.2"}
    with prepared(tmp_path, mongodb_url=mongodb.url, redis_url=redis.url, **settings) as here:
        kinds = ("resend", "delay", "shared")
        accepted = [id_ for kind in kinds for id_ in here.trigger(payloads(6), kind)]
        victim = here.start("worker", FLOWKIT_FAIL_AT="after_effect:5")
        assert victim.wait(90) == -signal.SIGKILL, here.said(victim)
        worker = here.start("worker")
        restarts = 2
        for _ in range(restarts):
            seen = len(ledger(here.simulator))
            until(
                lambda seen=seen: len(ledger(here.simulator)) > seen,
                seconds=90,
                what=f"the worker goes on: {here.said(worker)[-2000:]}",
            )
            mongodb.restart()
        here.wait_for(accepted, 180)
        assert worker.poll() is None, "it outlives its store"
        found = check(here, accepted, crashes=1 + restarts)
        for execution in found:
            if "shared" in execution.trigger_type or "resend" in execution.trigger_type:
                assert execution.status == "completed"
