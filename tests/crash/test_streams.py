"""Real processes: events delivered by many at once, recipients streamed, connections cut."""

from __future__ import annotations

import json
import multiprocessing
import signal
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from flowkit.client import Client
from flowkit.clock import ManualClock
from flowkit.flow import Flow
from flowkit.testing import EPOCH, at_once
from service.app import create_app
from service.server import free_port
from service.settings import Settings
from service.store.sqlite import SqliteStore
from tests.processes import HOST, KEY, Installation, installation, peak_memory, until

FLOW = Flow("Wait", trigger="test", idempotency_key="event").delay(hours=1).end().to_dict()


SHORT = {"lease_seconds": "1", "sweep_seconds": "0.1"}


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation whose API serves many tests, since starting it would take the most time."""
    for here in installation(tmp_path_factory.mktemp("serving"), **SHORT):
        here.start_api()
        yield here


@pytest.fixture
def here(serving: Installation) -> Iterator[Installation]:
    """The installation of many tests; flows and workers are each test's own."""
    number = len(serving.processes)
    yield serving
    serving.kill_all(since=number)


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Installation]:
    """An installation of a test's own, with nothing running."""
    yield from installation(tmp_path, **SHORT)


@pytest.fixture
def client(here: Installation) -> Iterator[Client]:
    with Client(here.url, api_key=KEY) as client:
        yield client


def add(here: Installation) -> str:
    answer = here.client.post("/api/flows", json=FLOW | {"isActive": True})
    answer.raise_for_status()
    return str(answer.json()["id"])


def contacts(number: int) -> Iterator[dict[str, Any]]:
    return ({"id": f"c{i:06}", "country": "BR", "first_name": "é" * 20} for i in range(number))


def ended(client: Client, told: dict[str, Any], seconds: float = 60.0) -> dict[str, Any]:
    """Wait until a broadcast has ended and return it."""

    def look() -> dict[str, Any] | None:
        found = client.broadcast_status(told["id"])
        return found if found["endedAt"] else None

    found: dict[str, Any] = until(look, seconds=seconds, what="the broadcast ends")
    return found


# ----------------------------------------------------------------------- triggers


def _deliver(path: Path, headers: dict[str, str], barrier: Any, answers: Any) -> None:
    store = SqliteStore(path)
    app = create_app(Settings(api_key=KEY), store, clock=ManualClock(EPOCH))
    client = app.test_client()
    headers = {"Authorization": f"Bearer {KEY}", **headers}
    barrier.wait()
    for event in range(10):
        keys = {name: f"{key}{event}" for name, key in headers.items() if name != "Authorization"}
        answer = client.post(
            "/api/flows/trigger/test", json={"event": event}, headers=headers | keys
        )
        answers.put((event, answer.status_code, answer.get_data(as_text=True)))
    store.close()


@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "key"}])
def test_several_processes_at_once_start_an_event_once(
    tmp_path: Path, headers: dict[str, str]
) -> None:
    path = tmp_path / "flowkit.db"
    store = SqliteStore(path)
    for name in ("one", "two"):
        flow = Flow.from_dict(FLOW | {"id": name, "isActive": True, "version": 1})
        store.insert_flow(flow.replace(created_at=EPOCH, updated_at=EPOCH), publish=True)
    context = multiprocessing.get_context("forkserver")  # it imports once, not once in each
    context.set_forkserver_preload([__name__])
    barrier, answers = context.Barrier(3), context.Queue()
    processes = [
        context.Process(target=_deliver, args=(path, headers, barrier, answers)) for _ in range(3)
    ]
    for process in processes:
        process.start()
    told = [answers.get(timeout=60) for _ in range(30)]
    for process in processes:
        process.join()
    assert len(set(told)) == 10, "each event has one answer, whoever gives it"
    assert {status for _, status, _ in told} == {202}
    with store._file.reading() as c:
        assert c.execute("SELECT count(*) FROM executions").fetchone() == (20,)
    store.close()


def test_an_event_delivered_ten_times_at_once_starts_once(alone: Installation) -> None:
    """To two processes of the API: each says the same."""
    alone.start_api()
    port = free_port()
    alone.start_api(port)
    add(alone)

    def post(i: int) -> Any:
        return alone.client.post(
            f"http://{HOST}:{(alone.port, port)[i % 2]}/api/flows/trigger/test",
            json={},
            headers={"Idempotency-Key": "event-1"},
        ).json()

    answers = at_once(10, post)
    assert answers == answers[:1] * 10
    (started,) = answers[0]["executions"]
    assert [e.id for e in alone.executions()] == [started["executionId"]]


@pytest.mark.crash
@pytest.mark.parametrize("point", ["after_pin", "before_create", "after_create"])
def test_an_api_killed_in_the_middle_and_a_redelivery_make_one(
    alone: Installation, point: str
) -> None:
    api = alone.start_api(FLOWKIT_FAIL_AT=f"{point}:1")
    add(alone)
    headers = {"Idempotency-Key": "event-1"}

    def deliver() -> httpx.Response:
        return alone.client.post("/api/flows/trigger/test", json={"event": 1}, headers=headers)

    with pytest.raises(httpx.HTTPError):
        deliver()
    if api.poll() is None:
        alone.kill(api)
    alone.start_api()
    first = deliver()
    assert first.status_code == 202
    assert deliver().json() == first.json()
    (started,) = first.json()["executions"]
    assert [e.id for e in alone.executions()] == [started["executionId"]]


# --------------------------------------------------------------------- broadcasts


@pytest.mark.crash
@pytest.mark.timeout(300)
def test_a_worker_killed_in_the_middle_of_a_broadcast(alone: Installation) -> None:
    alone.start_api()
    number = 1700
    with Client(alone.url, api_key=KEY) as client:
        told = client.broadcast(add(alone), contacts(number))
        for batch in (1, 2):
            victim = alone.start("worker", FLOWKIT_FAIL_AT=f"after_batch:{batch}")
            assert victim.wait(60) == -signal.SIGKILL, alone.said(victim)
        alone.start("worker")
        done = ended(client, told, 180)
    assert (done["status"], done["total"], done["created"]) == ("completed", number, number)
    reached = Counter(execution.contact_id for execution in alone.executions())
    assert len(reached) == number, "nobody is lost"
    assert set(reached.values()) == {1}, "nobody is reached twice"


def test_two_workers_make_nobody_s_execution_twice(here: Installation, client: Client) -> None:
    for _ in range(2):
        here.start("worker")
    flow = add(here)
    done = ended(client, client.broadcast(flow, contacts(3000)))
    assert done["created"] == 3000 == started(here, flow)


def statuses(here: Installation, flow: str) -> list[str]:
    """Return the status of each broadcast of a flow."""
    found = here.client.get("/api/broadcasts").json()["items"]
    return [broadcast["status"] for broadcast in found if broadcast["flowId"] == flow]


def started(here: Installation, flow: str) -> int:
    """Return how many executions of a flow there are."""
    ((number,),) = here.rows(f"SELECT count(*) FROM executions WHERE flow_id = '{flow}'")
    return int(number)


def _with_length(body: bytes) -> bytes:
    return b"Content-Length: %d\r\n\r\n" % (len(body) + 100) + body


def _chunked(body: bytes) -> bytes:
    return b"Transfer-Encoding: chunked\r\n\r\n" + b"%x\r\n%b\r\n" % (len(body), body)


@pytest.mark.parametrize(("form", "status"), [(_with_length, "cancelled"), (_chunked, "paused")])
def test_a_connection_that_is_cut_starts_nothing(
    here: Installation, form: Callable[[bytes], bytes], status: str
) -> None:
    here.start("worker")
    flow = add(here)
    body = b"".join(json.dumps(one).encode() + b"\n" for one in contacts(1500))
    head = (
        f"POST /api/flows/{flow}/broadcast HTTP/1.1\r\nHost: x\r\n"
        f"Authorization: Bearer {KEY}\r\nContent-Type: application/x-ndjson\r\n"
    )
    with socket.create_connection((HOST, here.port)) as connection:
        connection.sendall(head.encode() + form(body))
        until(lambda: statuses(here, flow), what="it comes in")
    until(
        lambda: statuses(here, flow) != ["accepting"],
        what="the end of the connection is noticed",
    )
    assert statuses(here, flow) == [status]
    assert not started(here, flow)


def test_a_refusal_is_heard_although_the_body_is_still_coming(
    client: Client,
) -> None:
    with pytest.raises(Exception, match="404"):
        client.broadcast("nothing", contacts(50_000))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
@pytest.mark.crash
def test_a_long_list_is_held_by_nobody(own: Installation) -> None:
    """24 MB of contacts, after a short list that has shown what a batch needs."""
    api, worker = own.start_api(), own.start("worker")
    flow = add(own)

    def long(number: int) -> Iterator[dict[str, Any]]:
        return ({**one, "note": "x" * 2000} for one in contacts(number))

    with Client(own.url, api_key=KEY) as client:
        ended(client, client.broadcast(flow, long(1500)))
        before = [peak_memory(api.pid), peak_memory(worker.pid)]
        done = ended(client, client.broadcast(flow, long(12_000)), 100)
    assert done["created"] == 12_000
    after = [peak_memory(api.pid), peak_memory(worker.pid)]
    grown = [now - then for now, then in zip(after, before, strict=True)]
    assert max(grown) < 12, grown
