"""Installations of real processes over each store."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.crash.flows import FLOWS
from tests.processes import Installation, installation
from tests.servers.fixtures import fresh_database

SHORT = {"lease_seconds": "1", "sweep_seconds": "0.1"}


@pytest.fixture(params=["sqlite", "mongodb"])
def store_settings(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """The settings of a store, empty, and of its queue: SQLite for both, or two servers."""
    if request.param == "sqlite":
        yield SHORT
    else:
        mongodb = request.getfixturevalue("mongodb_url")
        redis = request.getfixturevalue("redis_server")
        yield SHORT | {"mongodb_url": mongodb, "redis_url": redis.url}


@pytest.fixture
def alone(tmp_path: Path, store_settings: dict[str, str]) -> Iterator[Installation]:
    """An installation of the test's own, with nothing running."""
    yield from installation(tmp_path, **store_settings)


@pytest.fixture(scope="session")
def running() -> Iterator[dict[str, Installation]]:
    """The installations that run for many tests, by their stores."""
    found: dict[str, Installation] = {}
    yield found
    for here in found.values():
        here.close()


@pytest.fixture(scope="session")
def lasting(request: pytest.FixtureRequest) -> Iterator[contextlib.ExitStack]:
    """What lasts until the last test has ended."""
    with contextlib.ExitStack() as stack:
        yield stack


@pytest.fixture(params=["sqlite", "mongodb"])
def here(
    request: pytest.FixtureRequest,
    running: dict[str, Installation],
    lasting: contextlib.ExitStack,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Installation]:
    """An installation with API, simulator and all flows, shared by tests; workers are theirs.

    Its API outlives each test, since starting it would take most of their time.
    """
    kind = request.param
    if kind not in running:
        settings = SHORT
        if kind == "mongodb":
            server = request.getfixturevalue("mongodb_server_url")
            database = contextlib.contextmanager(fresh_database)(server)
            redis = request.getfixturevalue("redis_server")
            settings = SHORT | {
                "mongodb_url": lasting.enter_context(database),
                "redis_url": redis.url,
            }
        running[kind] = Installation(tmp_path_factory.mktemp(kind), **settings)
        running[kind].start_simulator()
        running[kind].start_api()
        for flow in FLOWS.values():
            running[kind].client.post("/api/flows", json=flow).raise_for_status()
    here = running[kind]
    for what in ("messages", "rules"):
        httpx.delete(f"{here.simulator}/_simulator/{what}").raise_for_status()
    number = len(here.processes)
    yield here
    here.kill_all(since=number)
    if any(here.store.count_open().values()):  # a failure must not become another test's
        running.pop(kind).close()
