"""A simulator on a loopback port, and clients that talk to it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from werkzeug.serving import make_server

from service.channels.whatsapp.client import WhatsAppClient
from service.channels.whatsapp.simulator import create_simulator

TOKEN = "EAAG-test-token"


class Simulator:
    """The simulator's control side, as a test sees it over HTTP."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.http = httpx.Client(base_url=url, trust_env=False)

    def rule(self, **options: Any) -> str:
        answer = self.http.post("/_simulator/rules", json=options)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def hits(self, rule: str) -> int:
        rules = self.http.get("/_simulator/rules").json()["items"]
        return int(next(r["hits"] for r in rules if r["id"] == rule))

    def lift(self) -> None:
        self.http.delete("/_simulator/rules").raise_for_status()

    def messages(self) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = self.http.get("/_simulator/messages").json()["items"]
        return items


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with running() as control:
        yield control


@contextmanager
def running() -> Iterator[Simulator]:
    """Yield a simulator that listens."""
    server = make_server("127.0.0.1", 0, create_simulator(TOKEN), threaded=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    control = Simulator(f"http://127.0.0.1:{server.server_port}")
    yield control
    control.lift()  # or a request that hangs would outlive the test
    control.http.close()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def connect() -> Iterator[Callable[..., WhatsAppClient]]:
    """Make clients that are closed at the end."""
    made: list[WhatsAppClient] = []

    def make(url: str, token: str = TOKEN) -> WhatsAppClient:
        made.append(WhatsAppClient(url, token, "106540352242922", "v25.0"))
        return made[-1]

    yield make
    for client in made:
        client.close()
