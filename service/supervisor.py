"""Keeps the processes of an installation running side by side.

Owns their start, restart and end. Imports the standard library only.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

log = logging.getLogger(__name__)

RESTART_SECONDS = 1.0
"""A process that ended is started anew after at least this long since its last start."""
GRACE_SECONDS = 30.0
"""How long processes have to end in good order; longer than any effect may take."""
UNUSABLE = (2, 3)
"""Exit statuses of a process that cannot run as it is set up, or that waited for its store in
vain: starting it again would not help."""


@dataclass
class _Child:
    arguments: tuple[str, ...]
    process: subprocess.Popen[bytes]
    started: float
    again: bool = False


class Supervisor:
    """Runs ``python -m service`` with each of several argument lists, until `stop`.

    Parameters
    ----------
    commands : sequence of sequence of str
        The arguments of each process.
    environment : mapping
        Variables for the processes, beside those of this one.
    """

    def __init__(self, commands: Sequence[Sequence[str]], environment: Mapping[str, str]) -> None:
        self._environment = {**os.environ, **environment}
        self._stopping = threading.Event()
        self._children = [self._start(tuple(command)) for command in commands]
        self._watcher: threading.Thread | None = None
        self.status = 0

    def _start(self, arguments: tuple[str, ...]) -> _Child:
        process = subprocess.Popen(
            [sys.executable, "-m", "service", *arguments],
            env=self._environment,
            # The pipe ends when this process does, however it ends: see `end_with_parent`.
            stdin=subprocess.PIPE,
            # A group of its own: Ctrl-C reaches us alone, and we end the others in order.
            start_new_session=True,
        )
        return _Child(arguments, process, time.monotonic())

    @property
    def pids(self) -> list[int]:
        """Process ids, in the order of the commands."""
        return [child.process.pid for child in self._children]

    def watch(self) -> None:
        """Restart what ends, until `stop`, or until a first start shows a process unusable.

        Once it has run, whatever keeps it from starting anew may pass, such as a port that is
        not free yet.
        """
        while not self._stopping.wait(0.2):
            for child in self._children:
                status = child.process.poll()
                if status in UNUSABLE and not child.again:
                    self.status = status
                    self._stopping.set()
                    return
                if status is None or time.monotonic() - child.started < RESTART_SECONDS:
                    continue
                log.warning(
                    "process %d (%s) ended with status %d; starting it again",
                    child.process.pid,
                    " ".join(child.arguments),
                    status,
                )
                _close(child)
                again = self._start(child.arguments)
                child.process, child.started, child.again = again.process, again.started, True

    def watch_aside(self) -> None:
        """Do `watch` on a thread of its own."""
        self._watcher = threading.Thread(target=self.watch, name="supervisor", daemon=True)
        self._watcher.start()

    def stop(self) -> None:
        """End all processes: in good order, by force after a grace period."""
        self._stopping.set()
        if self._watcher is not None:
            self._watcher.join()
        for child in self._children:
            if child.process.poll() is None:
                child.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + GRACE_SECONDS
        for child in self._children:
            try:
                child.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.process.kill()
                child.process.wait()
            _close(child)

    def ask_to_stop(self) -> None:
        """Make `watch` return; safe in a signal handler."""
        self._stopping.set()


def _close(child: _Child) -> None:
    if child.process.stdin is not None:
        child.process.stdin.close()


def end_with_parent() -> None:
    """End this process, in good order, when the supervisor that started it is gone."""

    def wait() -> None:
        while os.read(0, 1):  # unbuffered: a buffer's lock would be held while Python ends
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="parent", daemon=True).start()
