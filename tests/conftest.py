"""What holds for every test."""

from __future__ import annotations

from hypothesis import settings

from tests.servers.fixtures import mongodb_server_url, mongodb_url, redis_server

__all__ = ["mongodb_server_url", "mongodb_url", "redis_server"]

# A slow machine is no failure: what is slow is measured by the benchmarks.
settings.register_profile("flowkit", deadline=None)
settings.load_profile("flowkit")
