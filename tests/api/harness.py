"""The application over a real SQLite store, driven through its HTTP seam.

The clock stands until it is moved, and nothing is executed until `Service.work` is called.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from flowkit import engine
from flowkit.clock import ManualClock
from flowkit.engine import Ended, Resume
from flowkit.flow import Flow
from flowkit.nodetype import Outcome

KEY = "test-key-of-the-api"
NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
SENT = Outcome("completed", result={"messageId": "wamid.1"})
REFUSED = Outcome("failed", error={"code": "131026", "message": "No.", "transient": False})
PAYLOAD = {"contact": {"id": "c1", "phone": "+5511999990000"}, "total": 20}

idle: list[Flask] = []
"""Applications that no test uses now: to make one costs more than most tests of the API."""


def delayed(name: str = "Wait", trigger: str = "cart") -> dict[str, Any]:
    """A valid flow that needs no contact: a delay of an hour."""
    return Flow(name, trigger=trigger).delay(hours=1).end().to_dict()


def sending(name: str = "Send", trigger: str = "cart") -> dict[str, Any]:
    """A valid flow that needs a contact: two messages at once."""
    flow = Flow(name, trigger=trigger).parallel(
        lambda b: b.send(text="a"), lambda b: b.send(text="b")
    )
    return flow.end().to_dict()


@dataclass
class Service:
    """The application, the store below it, and a client that has the key."""

    app: Flask
    store: Any
    clock: ManualClock
    rings: list[None] = field(default_factory=list)

    def __call__(
        self, method: str, path: str, body: Any = ..., *, key: str | None = KEY, **options: Any
    ) -> TestResponse:
        """Make a request; `body` is sent as JSON unless it is bytes."""
        headers = dict(options.pop("headers", {}))
        if key is not None:
            headers.setdefault("Authorization", f"Bearer {key}")
        if body is not ...:
            headers.setdefault("Content-Type", "application/json")
            options["data"] = body if isinstance(body, bytes) else json.dumps(body)
        client: FlaskClient = self.app.test_client()
        return client.open(path, method=method, headers=headers, buffered=True, **options)

    def ok(self, method: str, path: str, body: Any = ..., *, status: int = 200) -> Any:
        """Make a request that must succeed; return its JSON."""
        answer = self(method, path, body)
        assert answer.status_code == status, answer.text
        return answer.get_json()

    def refused(
        self, status: int, method: str, path: str, body: Any = ..., **options: Any
    ) -> set[str]:
        """Make a request that must be refused; return the codes of its problems."""
        answer = self(method, path, body, **options)
        assert answer.status_code == status, (answer.status, answer.text)
        return {problem["code"] for problem in problems_of(answer)}

    def add(self, document: dict[str, Any], *, active: bool = True) -> dict[str, Any]:
        """Store a flow and return it."""
        created: dict[str, Any] = self.ok(
            "POST", "/api/flows", document | {"isActive": active}, status=201
        )
        return created

    def start(self, trigger: str = "cart", payload: Any = PAYLOAD) -> list[str]:
        """Trigger and return the ids of the executions."""
        answer = self.ok("POST", f"/api/flows/trigger/{trigger}", payload, status=202)
        return [one["executionId"] for one in answer["executions"]]

    def work(self, perform: Callable[[engine.Performance], Outcome] = lambda _: SENT) -> None:
        """Do what a worker would do now, until nothing is claimable."""
        now = self.clock.now()
        while claims := self.store.claim("worker", now=now, lease_ms=30_000, limit=100):
            for claim in claims:
                flow = self.store.get_version(claim.head.flow_id, claim.head.flow_version)
                events: list[engine.Event] = [Resume(branch) for branch in claim.branches]
                while events:
                    turn = engine.advance(flow, claim, events, now=now)
                    (answer,) = self.store.commit([turn.patch], now=now, lease_ms=30_000)
                    assert answer.outcome == "ok"
                    claim = turn.claim
                    events = [Ended(p.branch_id, perform(p), now) for p in turn.effects]

    def everything(self) -> Any:
        """All that a client can see of what is stored."""
        return [
            self.ok("GET", "/api/flows?limit=500"),
            self.ok("GET", "/api/executions?limit=500&include=context,branches,executedNodes"),
        ]


def problems_of(answer: TestResponse) -> list[dict[str, Any]]:
    """The problems of an error answer, whose form is checked."""
    body = answer.get_json()
    assert set(body) == {"code", "status", "problems"}
    assert body["code"] == answer.status_code
    assert body["problems"]
    for problem in body["problems"]:
        assert set(problem) == {"code", "path", "message", "severity"}
    problems: list[dict[str, Any]] = body["problems"]
    return problems
