"""A worker that is told to stop does not wait for a chore that is in the middle of much."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.processes import until

PROGRAM = """
import sys, threading
from service.settings import Settings
from service.worker import process

class Endless(process.Retention):
    def __call__(self, now):
        print("counting", flush=True)
        threading.Event().wait()

process.Retention, process.STOP_SECONDS = Endless, 0.2
process.work(Settings.from_environment({"FLOWKIT_DATA_DIR": sys.argv[1]}).prepared())
"""


def test_a_chore_that_does_not_end_is_cut_off(tmp_path: Path) -> None:
    root = str(Path(__file__).parents[2])
    worker = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "data")],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": root},
    )
    try:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "counting\n"
        worker.send_signal(signal.SIGTERM)
        until(lambda: worker.poll() is not None, seconds=30, what="it stops")
        assert worker.returncode == 0
    finally:
        worker.kill()
        worker.communicate()
