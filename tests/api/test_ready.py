"""Without its queue the service is degraded and goes on; without its store it cannot."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flowkit.errors import StoreUnavailable
from service.app import create_app
from service.settings import Settings
from service.worker import queue
from service.worker.queue import Doorbell
from service.worker.runner import Runner
from tests.api.harness import KEY, Service, problems_of, sending
from tests.processes import until
from tests.servers.redis import RedisServer
from tests.worker.stage import PATIENCE, Stage, stage_in


@pytest.fixture(autouse=True)
def short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "BROKEN_SECONDS", 0.05)
    monkeypatch.setattr(queue, "ANSWER_SECONDS", 0.3)
    monkeypatch.setattr(queue, "READ_SECONDS", 0.1)


def test_a_store_that_does_not_answer_is_no_fault_of_the_request(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: Any, **__: Any) -> Any:
        raise StoreUnavailable("no server answers at db.example:27017")

    monkeypatch.setattr(service.store, "get_flow", gone)
    answer = service("GET", "/api/flows/x")
    assert answer.status_code == 503
    assert {problem["code"] for problem in problems_of(answer)} == {"store.unavailable"}
    assert "db.example" not in answer.text


@contextlib.contextmanager
def woken(runner: Runner, settings: Settings) -> Iterator[None]:
    """Let the bells of a queue wake a worker."""
    doorbell, stop = Doorbell(settings), threading.Event()
    listener = doorbell.listen(runner.wake, stop)
    yield
    stop.set()
    listener.join(PATIENCE)
    doorbell.close()


def test_redis_may_come_and_go(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    server.kill()
    settings = Settings(data_dir=tmp_path, api_key=KEY, redis_url=server.url)
    doorbell = Doorbell(settings)
    with stage_in(tmp_path) as stage:
        app = create_app(
            settings, stage.store, clock=stage.clock, ring=doorbell.ring, queue=doorbell.ping
        )
        service = Service(app, stage.store, stage.clock)
        service.add(sending())

        # Down from the start: accepted, and found by the sweep.
        assert_degraded(service)
        sweeping = stage.run(stage.runner(sweep_seconds=0.05))
        service.start()
        stage.wait_for("completed", 1)
        sweeping.stop()
        stage.stopped(sweeping)

        # There again: bells wake a worker that sweeps but once a minute.
        server.start()
        until(lambda: service.ok("GET", "/readyz") == {"status": "ok"}, seconds=PATIENCE)
        sleeper = stage.run(stage.runner("b", sweep_seconds=60.0, lease_seconds=600.0))
        with woken(sleeper, settings):
            done = 1
            for harm in (server.flush, server.restart, lambda: die_for_a_while(server, service)):
                harm()
                service.start()
                done += 1
                until(lambda: rung(doorbell, stage) >= done, seconds=PATIENCE)  # noqa: B023
    doorbell.close()
    server.kill()


def die_for_a_while(server: RedisServer, service: Service) -> None:
    server.kill()
    assert_degraded(service)
    server.start()


def rung(doorbell: Doorbell, stage: Stage) -> int:
    """Ring, as the next trigger would; return how many executions are completed."""
    doorbell.ring()
    return stage.statuses()["completed"]


def assert_degraded(service: Service) -> None:
    answer = service.ok("GET", "/readyz")
    assert answer["status"] == "degraded"
    (problem,) = answer["problems"]
    assert (problem["code"], problem["severity"]) == ("queue.unavailable", "warning")
