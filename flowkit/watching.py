"""A flow whose nodes are asked by way of someone who watches.

Owns the stand-in: whoever runs it through the engine sees each node asked, and may answer for it.
May import `flow`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from flowkit.flow import Flow

Ask = Callable[[str, Any], Any]
"""Asks the node of that id what it decides in that scope."""


def watched(flow: Flow, ask: Ask) -> Flow:
    """Return what is the flow to the engine, but has `ask` run its nodes."""
    return cast(Flow, _Watched(flow, ask))


class _Watched:
    def __init__(self, flow: Flow, ask: Ask) -> None:
        self._flow = flow
        self._ask = ask

    def __getattr__(self, name: str) -> Any:
        return getattr(self._flow, name)

    def behaviour(self, node_id: str) -> Any:
        """Return the node, watched."""
        return _Node(self._flow.behaviour(node_id), node_id, self._ask)


class _Node:
    def __init__(self, node: Any, node_id: str, ask: Ask) -> None:
        self._node = node
        self._id = node_id
        self._ask = ask

    def __getattr__(self, name: str) -> Any:
        return getattr(self._node, name)

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        """What the node is, for ``isinstance``."""
        return type(self._node)

    def run(self, scope: Any) -> Any:
        """Return what the node decides."""
        return self._ask(self._id, scope)
