"""A real Redis."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.servers.runtime import need
from tests.servers.server import Server

ANSWER_SECONDS = 20.0


class RedisServer(Server):
    """A Redis server.

    Parameters
    ----------
    directory : Path
        For its file.
    keeps : bool
        Whether it keeps its data over a restart, each write before its answer.
    """

    def __init__(self, directory: Path, *, keeps: bool = False) -> None:
        need(programs=("redis-server",), packages=("redis",))
        super().__init__(directory)
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._keeps = keeps
        self.start()

    def command(self) -> list[str]:
        options = {"port": self.port, "bind": "127.0.0.1", "save": "", "dir": self.directory}
        if self._keeps:
            options |= {"appendonly": "yes", "appendfsync": "always"}
        return ["redis-server", *(w for n, v in options.items() for w in (f"--{n}", str(v)))]

    def answers(self) -> bool:
        import redis

        try:
            return bool(self.client.ping())
        except redis.ConnectionError:
            return False

    @property
    def client(self) -> Any:
        """A client of its own."""
        import redis

        return redis.Redis(port=self.port, socket_timeout=ANSWER_SECONDS)

    def flush(self) -> None:
        """Lose everything that it knows."""
        self.client.flushall()
