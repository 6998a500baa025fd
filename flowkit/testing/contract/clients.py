"""How the parts of the contract open a store. May import what `flowkit.testing` may."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

import pytest

from flowkit import engine
from flowkit.engine import Resume
from flowkit.execution import Claim
from flowkit.flow import Flow
from flowkit.testing.examples import EPOCH, SIMPLE


class Clients:
    """What a part of the contract builds on. A test class has a fixture `make_store`.

    `make_store` is a function that opens the same store anew each time it is called within a
    test (two calls are two clients of one store), so that what is kept can be told from what is
    only remembered.
    """

    LEASE_MS = 30_000

    @pytest.fixture
    def store(self, make_store: Callable[[], Any]) -> Iterable[Any]:
        """Yield one client of the store."""
        store = make_store()
        yield store
        store.close()

    def take(self, store: Any, owner: str = "a", *, now: datetime = EPOCH, **more: Any) -> Any:
        """Claim, with defaults."""
        asked = {"lease_ms": self.LEASE_MS, "limit": 100} | more
        return store.claim(owner, now=now, **asked)

    def advanced(self, claim: Claim, *, now: datetime = EPOCH, flow: Flow = SIMPLE) -> Any:
        """Return the turn that resumes every branch of a claim."""
        return engine.advance(flow, claim, [Resume(b) for b in claim.branches], now=now)

    def fresh(self) -> Any:
        """Return an empty store; override where `make_store` opens the same one again."""
        raise NotImplementedError
