"""What holds for every test."""

from __future__ import annotations

from tests import examples
from tests.servers.fixtures import mongodb_server_url, mongodb_url, redis_server

__all__ = ["mongodb_server_url", "mongodb_url", "redis_server"]

examples.register()
