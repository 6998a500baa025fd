"""One time-out for a whole HTTP call, where httpx has four. Imports httpx."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from time import monotonic
from typing import Any

import httpx

NEVER_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
)
"""The exceptions that httpx raises only before it writes the request."""


def until(deadline: float, connect: float) -> dict[str, Any]:
    """Return the extensions of a request that ends at `deadline`, in monotonic seconds.

    Two things can outlast it: the operating system's name look-up (nothing is sent after the time
    is up), and a peer that trickles its answer byte by byte, as each read waits for what was left
    when headers or body began. `connect` bounds the time in which a connection must stand.
    """

    def before_writing(event: str, info: Mapping[str, Any]) -> None:
        if event.endswith("send_request_headers.started") and monotonic() >= deadline:
            raise httpx.ConnectTimeout("the time was up before the request was written")

    return {"timeout": _Remaining(deadline, connect), "trace": before_writing}


class _Remaining(Mapping[str, float]):
    """The time-outs of a call, each cut to what is left when its phase begins.

    httpx reads ``pool``, ``connect``, ``write`` and ``read`` from the request's time-outs as
    it gets there; fixed numbers would add up to four times the time-out.
    """

    def __init__(self, deadline: float, connect: float) -> None:
        self._deadline = deadline
        self._connect = connect

    def __getitem__(self, phase: str) -> float:
        left = max(self._deadline - monotonic(), 0.001)  # 0 would mean "do not block"
        return min(left, self._connect) if phase == "connect" else left

    def __iter__(self) -> Iterator[str]:
        return iter(("connect", "read", "write", "pool"))

    def __len__(self) -> int:
        return 4
