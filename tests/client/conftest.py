"""A service of a few lines that speaks the wire format, behind httpx's transport seam."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

import httpx
import pytest

from flowkit.client import Client

KEY = "sk-not-to-be-shown"


class FakeService:
    """Flows and executions in lists; every request is kept in `requests`."""

    def __init__(self) -> None:
        self.flows: dict[str, dict[str, Any]] = {}
        self.executions: list[dict[str, Any]] = []  # newest first, as the service lists them
        self.requests: list[httpx.Request] = []
        self.next: httpx.Response | httpx.HTTPError | None = None
        """What the next request gets, whatever it asks."""

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if self.next is not None:
            forced, self.next = self.next, None
            if isinstance(forced, httpx.HTTPError):
                raise forced
            return forced
        if request.url.path == "/healthz":
            return httpx.Response(200, json={"status": "ok"})
        if request.headers["Authorization"] != f"Bearer {KEY}":
            return self.refusal(401, "auth.key", "", "wrong key")
        # The raw path: an id's own slash must stay inside its segment.
        path = request.url.raw_path.decode().partition("?")[0]
        parts = [unquote(part) for part in path.removeprefix("/api/").split("/")]
        match request.method, parts:
            case "GET", ["flows"]:
                return self.page(request, list(self.flows.values()))
            case "POST", ["flows"]:
                return self.store(request, f"flow-{len(self.flows) + 1}", 201)
            case "PUT", ["flows", flow_id] if flow_id in self.flows:
                return self.store(request, flow_id, 200)
            case "GET", ["flows", flow_id] if flow_id in self.flows:
                return httpx.Response(200, json=self.flows[flow_id])
            case "POST", ["flows", "trigger", trigger_type]:
                answer = {"triggerType": trigger_type, "executions": [], "problems": []}
                return httpx.Response(202, json=answer)
            case "POST", ["flows", flow_id, "broadcast"] if flow_id in self.flows:
                paused = "content-length" not in request.headers
                told = {"id": "b/1", "status": "paused" if paused else "running"}
                return httpx.Response(202, json=told)
            case "POST", ["broadcasts", "b/1", "resume" | "pause" | "cancel" as action]:
                status = {"resume": "running", "pause": "paused", "cancel": "cancelled"}[action]
                return httpx.Response(200, json={"id": "b/1", "status": status})
            case "GET" | "PATCH", ["broadcasts", "b/1"]:
                return httpx.Response(200, json={"id": "b/1", "status": "running"})
            case "GET", ["executions"]:
                return self.page(request, self.executions)
            case "POST", ["executions", "retry"]:
                return self.retry(json.loads(request.content))
            case "GET", ["node-types"]:
                return self.page(request, [{"type": "DELAY"}, {"type": "END"}])
            case ("GET", ["executions", wanted]) | (
                "POST",
                ["executions", wanted, "retry" | "cancel"],
            ):
                for document in self.executions:
                    if document["id"] == wanted:
                        return httpx.Response(200, json=document)
        return self.refusal(404, "not_found", "", f"nothing at {path}")

    def page(self, request: httpx.Request, items: list[dict[str, Any]]) -> httpx.Response:
        size = int(request.url.params["limit"])
        assert 1 <= size <= 500
        start = int(request.url.params.get("cursor", "0"))
        more = str(start + size) if start + size < len(items) else None
        return httpx.Response(200, json={"items": items[start : start + size], "nextCursor": more})

    def retry(self, body: dict[str, Any]) -> httpx.Response:
        """Retry one execution in a call; refuse those that have completed."""
        number = int(body.get("cursor", "0"))
        document = self.executions[number]
        problem = {"code": "conflict", "path": "", "message": "no", "severity": "error"}
        refusal = {"executionId": document["id"], "problem": problem}
        bad = document["status"] == "completed"
        answer = {
            "retried": [] if bad else [document["id"]],
            "refused": [refusal] if bad else [],
            "nextCursor": str(number + 1) if number + 1 < len(self.executions) else None,
        }
        return httpx.Response(200, json=answer)

    def store(self, request: httpx.Request, flow_id: str, status: int) -> httpx.Response:
        document = json.loads(request.content)
        version = self.flows.get(flow_id, {}).get("version", 0) + 1
        self.flows[flow_id] = document | {"id": flow_id, "version": version}
        return httpx.Response(status, json=self.flows[flow_id] | {"problems": []})

    @staticmethod
    def refusal(status: int, code: str, path: str, message: str) -> httpx.Response:
        problem = {"code": code, "path": path, "message": message, "severity": "error"}
        return httpx.Response(
            status, json={"code": status, "status": "Refused", "problems": [problem]}
        )

    def sent(self) -> Any:
        """The JSON body of the last request."""
        return json.loads(self.requests[-1].content)

    def query(self) -> dict[str, str]:
        """The query of the last request."""
        return dict(self.requests[-1].url.params)


@pytest.fixture
def service() -> FakeService:
    return FakeService()


@pytest.fixture
def client(service: FakeService) -> Iterator[Client]:
    transport = httpx.MockTransport(service)
    with Client("http://127.0.0.1:5000", api_key=KEY, transport=transport) as client:
        yield client
