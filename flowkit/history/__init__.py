"""What has happened, as pandas frames.

Owns the names that analysts use; the work is done in the modules beside it. The only part of
flowkit's core that needs pandas: ``pip install 'flowkit[history]'``.
"""

from __future__ import annotations

from flowkit.history.frames import EXECUTIONS, NODE_RUNS, Column, executions, node_runs
from flowkit.history.metrics import node_table

__all__ = ["EXECUTIONS", "NODE_RUNS", "Column", "executions", "node_runs", "node_table"]
