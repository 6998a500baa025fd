"""Kills a random process every second while triggers come in, then lets it settle and checks.

``python -m tests.crash.soak --seconds N [--store sqlite|mongodb] [--seed S]`` does that for N
seconds on each store. The simulator of WhatsApp stays, since it holds the ledger; servers of
MongoDB's protocol and of Redis stay too (`test_outages` ends those).
"""

from __future__ import annotations

import contextlib
import random
import secrets
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import click
import httpx

from tests.crash.flows import FLOWS, TRANSIENT, payloads
from tests.crash.guarantees import check
from tests.processes import Installation, installation, until
from tests.servers.mongo import MongoServer
from tests.servers.redis import RedisServer

WORKERS = 2
LONGEST_SECONDS = 3600
SETTLE_SECONDS = 240
PACE_SECONDS = 0.1
"""Between two triggers."""


class Stream:
    """Triggers that come in all the time; one that got no answer is delivered again.

    `accepted` holds the ids of executions that a 2xx answer has named.
    """

    def __init__(self, here: Installation, rng: random.Random) -> None:
        self.accepted: set[str] = set()
        self.refused = 0
        self._here = here
        self._rng = rng
        self._people = payloads(1000)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        number = 0
        while not self._stop.wait(PACE_SECONDS):
            kind = self._rng.choice(list(FLOWS))
            self._deliver(kind, number)
            number += 1

    def _deliver(self, kind: str, number: int) -> None:
        body = self._people[number % len(self._people)]
        headers = {"Idempotency-Key": f"event-{number}"}
        while not self._stop.is_set():
            try:
                answer = self._here.client.post(
                    f"/api/flows/trigger/{kind}", json=body, headers=headers
                )
                answer.raise_for_status()
            except httpx.HTTPError:
                self.refused += 1
                self._stop.wait(PACE_SECONDS)
                continue
            self.accepted |= {e["executionId"] for e in answer.json()["executions"]}
            return

    def end(self) -> None:
        """Deliver nothing more."""
        self._stop.set()
        self._thread.join()


@contextlib.contextmanager
def installed(store: str, directory: Path) -> Iterator[Installation]:
    """Yield an installation over a store, empty."""
    settings = {"lease_seconds": "1", "sweep_seconds": "0.2"}
    with contextlib.ExitStack() as stack:
        if store == "mongodb":
            mongodb, redis = MongoServer(directory), RedisServer(directory)
            stack.callback(mongodb.kill)
            stack.callback(redis.kill)
            settings |= {"mongodb_url": mongodb.url, "redis_url": redis.url}
        yield from installation(directory, **settings)


def soak(here: Installation, seconds: int, rng: random.Random) -> str:
    """Soak an installation, check it, and return what was done.

    Raises
    ------
    AssertionError
        When a guarantee is broken, or it does not settle.
    """
    here.start_simulator()
    api = ["api", "--port", str(here.port)]
    commands = [api, *([["worker"]] * WORKERS)]
    alive = [here.start_api(), *(here.start("worker") for _ in range(WORKERS))]
    for flow in FLOWS.values():
        here.client.post("/api/flows", json=flow).raise_for_status()
    refusal = {"text": "flaky", "code": TRANSIENT, "times": 20}
    httpx.post(f"{here.simulator}/_simulator/rules", json=refusal).raise_for_status()
    stream = Stream(here, random.Random(rng.random()))
    kills = [0] * len(alive)
    try:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            time.sleep(1.0)
            # The API rarely, or nothing would come in while it starts.
            (victim,) = rng.choices(range(len(alive)), [1, *[3] * WORKERS])
            here.kill(alive[victim])
            alive[victim] = here.start(*commands[victim])
            kills[victim] += 1
            click.echo(f"kill {sum(kills)}: {commands[victim][0]} ({len(stream.accepted)} started)")
        until(lambda: _answers(here), what="the API is back")
    finally:
        stream.end()
    here.wait_for_all(SETTLE_SECONDS)
    assert all(process.poll() is None for process in alive), "no process ended by itself"
    found = {execution.id for execution in here.executions()}
    assert stream.accepted, "it has accepted something"
    assert stream.accepted <= found, "an accepted trigger is never lost"
    check(here, found, crashes=sum(kills[1:]))
    return f"{sum(kills)} kills, {len(found)} executions, {stream.refused} deliveries unanswered"


def _answers(here: Installation) -> bool:
    try:
        return here.client.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


@click.command()
@click.option("--seconds", type=click.IntRange(1, LONGEST_SECONDS), required=True)
@click.option("--store", "stores", multiple=True, type=click.Choice(["sqlite", "mongodb"]))
@click.option("--seed", type=int, help="Of what is killed and triggered; printed.")
def main(seconds: int, stores: tuple[str, ...], seed: int | None) -> None:
    """Soak each store for some seconds; exit status 1 if a guarantee is broken."""
    seed = secrets.randbits(32) if seed is None else seed
    for store in stores or ("sqlite", "mongodb"):
        click.echo(f"{store}: {seconds} s, seed {seed}")
        with (
            tempfile.TemporaryDirectory() as directory,
            installed(store, Path(directory)) as here,
        ):
            click.echo(f"{store}: {soak(here, seconds, random.Random(seed))}")


if __name__ == "__main__":
    main()
