"""The doorbell on SQLite and on a real Redis: whatever becomes of bells, no harm is done."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flowkit.errors import SettingsError
from service.server import free_port
from service.settings import Settings
from service.worker import queue
from service.worker.queue import Doorbell
from tests.processes import until
from tests.servers.redis import RedisServer
from tests.worker.stage import PATIENCE, Stage, messages

ONE = messages("first")


class Queue:
    """The queue as seen from outside the doorbell."""

    def __init__(self, settings: Settings, server: RedisServer | None) -> None:
        self.settings = settings
        self.server = server
        self._doorbells: list[tuple[Doorbell, threading.Event, threading.Thread | None]] = []

    def doorbell(self, wake: Callable[[], None] | None = None) -> Doorbell:
        """Return a doorbell as a process of its own has it; listening, if it is to wake."""
        doorbell, stop = Doorbell(self.settings), threading.Event()
        thread = doorbell.listen(wake, stop) if wake else None
        self._doorbells.append((doorbell, stop, thread))
        return doorbell

    def bells(self) -> int:
        """Return how many bells nobody has heard yet."""
        if self.server is not None:
            return int(self.server.client.llen("huey.redis.flowkit"))
        return int(self.sql("SELECT count(*) FROM task")[0][0])

    def multiply(self, number: int) -> None:
        """Make `number` bells of the one that is there, as clients that race might."""
        if self.server is not None:
            (bell,) = self.server.client.lrange("huey.redis.flowkit", 0, -1)
            self.server.client.lpush("huey.redis.flowkit", *[bell] * (number - 1))
        else:
            self.sql(
                "INSERT INTO task (queue, data, priority) SELECT queue, data, priority FROM task, "
                f"(WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i+1 FROM n WHERE i<{number}) "
                "SELECT i FROM n)"
            )

    def put(self, message: bytes) -> None:
        """Put something into the queue that is no bell."""
        if self.server is not None:
            self.server.client.lpush("huey.redis.flowkit", message)
        else:
            self.sql("INSERT INTO task (queue, data, priority) VALUES ('flowkit', ?, 0)", message)

    def lose(self) -> None:
        """Lose every bell."""
        if self.server is not None:
            self.server.flush()
        else:
            self.sql("DELETE FROM task")

    def left(self) -> int:
        """Return how many records of any kind the queue holds."""
        if self.server is not None:
            return int(self.server.client.dbsize())
        tables = self.sql("SELECT name FROM sqlite_master WHERE type='table'")
        return sum(self.sql(f"SELECT count(*) FROM {name}")[0][0] for (name,) in tables)

    def sql(self, statement: str, *values: Any) -> list[Any]:
        """Run a statement on the file."""
        connection = sqlite3.connect(self.settings.data_dir / "queue.db", timeout=PATIENCE)
        try:
            rows = connection.execute(statement, values).fetchall()
            connection.commit()
            return rows
        finally:
            connection.close()

    def close(self) -> None:
        """End all listeners."""
        for _, stop, _ in self._doorbells:
            stop.set()
        for doorbell, _, thread in self._doorbells:
            if thread is not None:
                thread.join(PATIENCE)
                assert not thread.is_alive()
            doorbell.close()


@pytest.fixture(params=["sqlite", "redis"])
def bells(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Queue]:
    server = request.getfixturevalue("redis_server") if request.param == "redis" else None
    if server is not None:
        server.flush()
    settings = Settings(data_dir=tmp_path, redis_url=server.url if server else None)
    found = Queue(settings, server)
    yield found
    found.close()


@pytest.fixture(autouse=True)
def short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "BROKEN_SECONDS", 0.05)
    monkeypatch.setattr(queue, "ANSWER_SECONDS", 0.3)
    monkeypatch.setattr(queue, "READ_SECONDS", 0.1)


def test_a_bell_is_heard_by_another_process(bells: Queue) -> None:
    heard = threading.Event()
    bells.doorbell(heard.set)
    for _ in range(3):
        heard.clear()
        bells.doorbell().ring()
        assert heard.wait(PATIENCE)


def test_bells_that_nobody_hears_do_not_pile_up(bells: Queue) -> None:
    first, second = bells.doorbell(), bells.doorbell()
    for _ in range(100):
        first.ring()
        second.ring()
    assert bells.bells() == 1
    heard = threading.Event()
    bells.doorbell(heard.set)
    assert heard.wait(PATIENCE)


def test_a_bell_that_is_heard_leaves_nothing(bells: Queue) -> None:
    heard = threading.Semaphore(0)
    bells.doorbell(heard.release)
    ringer = bells.doorbell()
    for _ in range(30):
        ringer.ring()
        assert heard.acquire(timeout=PATIENCE)
    until(lambda: bells.left() == 0, seconds=PATIENCE)


def test_thousands_of_bells_do_no_harm(bells: Queue, stage: Stage) -> None:
    bells.doorbell().ring()
    bells.multiply(2000)
    assert bells.bells() == 2000
    worker = stage.run(stage.runner(sweep_seconds=60.0, lease_seconds=600.0))
    bells.doorbell(worker.wake)
    stage.start(ONE, 5)
    stage.wait_for("completed", 5)
    until(lambda: bells.bells() == 0, seconds=PATIENCE)
    assert sorted(stage.effects.performed) == [f"x{i}_first" for i in range(5)]


def test_a_lost_bell_costs_a_sweep(bells: Queue, stage: Stage) -> None:
    stage.start(ONE)
    bells.doorbell().ring()
    bells.lose()
    bells.doorbell(stage.run(stage.runner()).wake)
    stage.wait_for("completed")


def test_what_is_no_bell_is_passed_over(bells: Queue, caplog: pytest.LogCaptureFixture) -> None:
    heard = threading.Event()
    ringer = bells.doorbell()
    bells.put(b"not a bell")
    bells.doorbell(heard.set)
    until(lambda: "no bell can be heard" in caplog.text, seconds=PATIENCE)
    ringer.ring()
    assert heard.wait(PATIENCE)


def test_a_listener_outlives_what_it_wakes(bells: Queue) -> None:
    calls = threading.Semaphore(0)

    def wake() -> None:
        calls.release()
        raise RuntimeError("broke")

    bells.doorbell(wake)
    ringer = bells.doorbell()
    for _ in range(2):
        ringer.ring()
        assert calls.acquire(timeout=PATIENCE)


def test_a_queue_that_is_out_of_order_is_left_alone_for_a_while(
    bells: Queue, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trigger must not wait for it each time, nor fill the log."""
    monkeypatch.setattr(queue, "BROKEN_SECONDS", 60.0)
    doorbell = bells.doorbell()
    if bells.server is None:
        bells.sql("DROP TABLE task")
    else:
        os.kill(bells.server.process.pid, signal.SIGSTOP)
    try:
        for _ in range(100):
            doorbell.ring()
    finally:
        if bells.server is not None:
            os.kill(bells.server.process.pid, signal.SIGCONT)
    warnings = [record for record in caplog.records if "no bell was rung" in record.message]
    assert len(warnings) == 1


# ------------------------------------------------------------------------- SQLite


def sqlite_bells(directory: Path) -> Doorbell:
    return Doorbell(Settings(data_dir=directory))


def test_a_queue_whose_directory_is_gone(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    directory.mkdir()
    doorbell = sqlite_bells(directory)
    shutil.rmtree(directory)
    doorbell.ring()


def test_a_queue_that_another_program_locks(tmp_path: Path) -> None:
    doorbell = sqlite_bells(tmp_path)
    lock = sqlite3.connect(tmp_path / "queue.db", isolation_level=None)
    lock.execute("BEGIN EXCLUSIVE")
    doorbell.ring()
    heard, stop = threading.Event(), threading.Event()
    listener = doorbell.listen(heard.set, stop)
    lock.execute("ROLLBACK")
    lock.close()
    until(lambda: (doorbell.ring(), heard.is_set())[1], seconds=PATIENCE)
    stop.set()
    listener.join(PATIENCE)
    doorbell.close()


def test_a_queue_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "queue.db").write_bytes(b"not a database" * 100)
    with pytest.raises(SettingsError, match=r"queue\.db: .*may be deleted"):
        sqlite_bells(tmp_path)


# -------------------------------------------------------------------------- Redis


def test_redis_that_is_down_harms_nobody(tmp_path: Path, stage: Stage) -> None:
    settings = Settings(data_dir=tmp_path, redis_url=f"redis://127.0.0.1:{free_port()}/0")
    bells = Queue(settings, None)
    stage.start(ONE)
    worker = stage.run(stage.runner())
    bells.doorbell(worker.wake).ring()
    stage.wait_for("completed")
    bells.close()


def test_redis_that_comes_back_is_heard_again(redis_server: RedisServer, tmp_path: Path) -> None:
    bells = Queue(Settings(data_dir=tmp_path, redis_url=redis_server.url), redis_server)
    heard = threading.Event()
    bells.doorbell(heard.set)
    ringer = bells.doorbell()
    ringer.ring()
    assert heard.wait(PATIENCE)
    heard.clear()
    redis_server.kill()
    ringer.ring()
    redis_server.start()
    until(lambda: (ringer.ring(), heard.is_set())[1], seconds=PATIENCE)
    bells.close()


def test_redis_without_its_package_is_one_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(SettingsError, match=r'pip install "flowkit\[redis\]"'):
        Doorbell(Settings(data_dir=tmp_path, redis_url="redis://localhost"))


def test_a_malformed_address_of_redis_shows_no_password(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="FLOWKIT_REDIS_URL") as caught:
        Doorbell(Settings(data_dir=tmp_path, redis_url="redis://:pass/word@localhost:6379"))
    assert "pass" not in str(caught.value).replace(":password@", "")
