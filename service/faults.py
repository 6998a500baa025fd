"""Named points at which the crash tests kill this process, or stop it; nothing otherwise.

``FLOWKIT_FAIL_AT=after_commit:3`` kills the process the third time it gets to that point, as
SIGKILL does: no clean-up, no flush. ``after_commit:3:SIGSTOP`` lets it stand still there, with all
its threads, until someone wakes it. Imports the standard library only.
"""

from __future__ import annotations

import itertools
import os
import signal

POINTS = (
    "after_pin",
    "before_create",
    "after_create",
    "after_claim",
    "before_commit",
    "after_commit",
    "before_effect",
    "after_effect",
    "before_settle",
    "after_batch",
    "after_archive_write",
    "after_archive_verify",
    "after_archive_commit",
    "after_archive_delete",
)

_point, _number, _signal, *_ = [*os.environ.get("FLOWKIT_FAIL_AT", "").split(":"), "", ""]
_visits = itertools.count(1)


def hit(point: str) -> None:
    """Die here, or stand still, if that was asked for."""
    if point == _point and next(_visits) == int(_number or 1):
        os.kill(os.getpid(), signal.Signals[_signal or "SIGKILL"])
