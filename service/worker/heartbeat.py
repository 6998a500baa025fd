"""A worker's sign of life: a file that its loop touches, for supervisors to look at.

Owns the files and what they mean. Imports the standard library only.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from pathlib import Path

log = logging.getLogger(__name__)

BEAT_SECONDS = 1.0
"""Not more often than this, however fast the loop goes."""


class Heartbeat:
    """Shows that this process goes on.

    Parameters
    ----------
    directory : Path
        The data directory; workers of several machines may share it.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / f"{_prefix()}{os.getpid()}.alive"
        self._rests_until = 0.0

    def beat(self) -> None:
        """Show it now; never raises."""
        if time.monotonic() < self._rests_until:
            return
        self._rests_until = time.monotonic() + BEAT_SECONDS
        try:
            self._path.touch()
        except OSError as error:
            log.warning("no sign of life could be left: %s", error)

    def end(self) -> None:
        """Take the sign away: the process ends in good order."""
        self._path.unlink(missing_ok=True)


def ages(directory: Path, *, now: float) -> dict[int, float]:
    """Return for each worker process of this machine how many seconds ago it showed itself.

    Parameters
    ----------
    directory : Path
        The data directory.
    now : float
        Seconds since the epoch, the clock of files.
    """
    found = {}
    for path in directory.glob(f"{_prefix()}*.alive"):
        pid = int(path.stem.rpartition("-")[2])
        if _runs(pid):  # else it was killed: who started it notices by itself
            found[pid] = now - path.stat().st_mtime
    return found


def _prefix() -> str:
    return f"worker-{socket.gethostname()}-"


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it runs for another user
        return True
    return True
