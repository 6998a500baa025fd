"""A worker that goes on is told from one that is stuck."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

from service.worker.heartbeat import Heartbeat, ages
from tests.processes import until
from tests.worker.stage import Stage


def test_it_shows_while_the_loop_goes_on(stage: Stage, tmp_path: Path) -> None:
    heartbeat = Heartbeat(tmp_path)
    stage.run(stage.runner(beat=heartbeat.beat))
    until(lambda: ages(tmp_path, now=time.time()))
    (pid, age), *rest = ages(tmp_path, now=time.time() + 100).items()
    assert (pid, rest) == (os.getpid(), [])
    assert 50 < age < 150
    (sign,) = tmp_path.glob("worker-*.alive")
    os.utime(sign, (0, 0))
    until(lambda: ages(tmp_path, now=time.time())[pid] < 100, what="it beats again")


def test_a_worker_that_was_killed_is_not_a_stuck_one(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    (tmp_path / f"worker-{socket.gethostname()}-{gone.pid}.alive").touch()
    assert ages(tmp_path, now=time.time()) == {}


def test_workers_of_other_machines_are_not_looked_at(tmp_path: Path) -> None:
    (tmp_path / f"worker-elsewhere-{os.getpid()}.alive").touch()
    assert ages(tmp_path, now=time.time()) == {}


def test_a_directory_that_is_gone_stops_no_worker(tmp_path: Path) -> None:
    heartbeat = Heartbeat(tmp_path / "gone")
    heartbeat.beat()
    heartbeat.end()
