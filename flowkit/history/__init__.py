"""What has happened, as pandas frames.

Owns the names that analysts use; the work is done in the modules beside it. The only part of
flowkit's core that needs pandas: ``pip install 'flowkit[history]'``. `Archive` needs pyarrow as
well, and is loaded when it is asked for: ``pip install 'flowkit[archive]'``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flowkit.history.frames import (
    COUNTS,
    EXECUTIONS,
    NODE_RUNS,
    TRIGGERS,
    Column,
    counts,
    executions,
    node_runs,
    triggers,
)
from flowkit.history.metrics import node_table, zone_table

if TYPE_CHECKING:
    from flowkit.history.archive import Archive

__all__ = [
    "COUNTS",
    "EXECUTIONS",
    "NODE_RUNS",
    "TRIGGERS",
    "Archive",
    "Column",
    "counts",
    "executions",
    "node_runs",
    "node_table",
    "triggers",
    "zone_table",
]


def __getattr__(name: str) -> Any:
    """Load `Archive`, without which the frames do not need pyarrow."""
    if name == "Archive":
        from flowkit.history.archive import Archive

        return Archive
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
