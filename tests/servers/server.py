"""A server of a test's own: a program that listens on a port, and can be killed."""

from __future__ import annotations

import subprocess
from abc import ABC, abstractmethod
from pathlib import Path

from service.server import free_port
from tests.processes import ROOT, until

BUILT = ROOT / "build" / "servers"
"""Where servers that are built here are kept; not part of the sources."""


class Server(ABC):
    """Starts a program on a port that it keeps.

    Parameters
    ----------
    directory : Path
        For what it prints, and for its data if it keeps any.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = free_port()

    @abstractmethod
    def command(self) -> list[str]:
        """Return the command line."""

    @abstractmethod
    def answers(self) -> bool:
        """Return whether a client gets an answer."""

    def start(self) -> None:
        """Start it, and wait until it answers."""
        name = f"{type(self).__name__}-{self.port}.log"
        with (self.directory / name).open("a") as log:
            self.process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

        def ready() -> bool:
            assert self.process.poll() is None, (self.directory / name).read_text()
            return self.answers()

        until(ready, what=f"{type(self).__name__} answers")

    def kill(self) -> None:
        """End it as a crash would (SIGKILL)."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """End it in good order."""
        self.process.terminate()
        self.process.wait(30)

    def restart(self) -> None:
        """Kill it and start it again: same port, and what it has kept."""
        self.kill()
        self.start()
