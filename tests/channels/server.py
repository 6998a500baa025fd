"""Somebody's system on a loopback port: answers as the test says, and remembers what came."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = tuple[int, dict[str, str], bytes]


@dataclass
class System:
    """What is at `url`."""

    url: str = ""
    answer: Callable[[dict[str, Any]], Answer] = lambda request: (200, {}, b'{"ok": true}')
    requests: list[dict[str, Any]] = field(default_factory=list)
    gone: threading.Event = field(default_factory=threading.Event)

    def hang(self, request: dict[str, Any]) -> Answer:
        """Answer nothing until the test is over."""
        self.gone.wait(30)
        return 200, {}, b""


@contextmanager
def system() -> Iterator[System]:
    """Yield a system that listens."""
    made = System()

    class Handler(BaseHTTPRequestHandler):
        def do(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            request = {
                "method": self.command,
                "path": self.path,
                "headers": dict(self.headers),
                "body": self.rfile.read(length).decode(),
            }
            made.requests.append(request)
            status, headers, body = made.answer(request)
            try:
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)
            except OSError:  # nobody waits any more
                pass

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    made.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield made
    finally:
        made.gone.set()
        server.shutdown()
        thread.join()
        server.server_close()
