"""``flowkit up`` and the programs that run alone: they start, serve, restart what dies, and end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from flowkit.testing import SIMPLE
from service import supervisor
from tests.cli.program import alive, descendants, flowkit
from tests.processes import HOST, KEY, Installation, installation, until

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Installation]:
    yield from installation(tmp_path, sweep_seconds="0.2", lease_seconds="2")


def answers(here: Installation) -> bool:
    try:
        return here.client.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


def start_up(here: Installation, *options: str) -> tuple[subprocess.Popen[str], dict[int, str]]:
    """Start ``up`` and return it with its processes: API, the API's worker, workers."""
    process = here.start("up", "--port", str(here.port), *options)
    until(lambda: answers(here), what=f"it answers; it said {here.said(process)}")
    return process, descendants(process.pid)


def pids(processes: dict[int, str], kind: str) -> list[int]:
    return [pid for pid, command in processes.items() if f"-m service {kind} " in command]


def test_it_serves_restarts_what_is_killed_and_ctrl_c_stops_it(here: Installation) -> None:
    up, processes = start_up(here, "--workers", "2")
    said = here.said(up)
    assert f"http://{HOST}:{here.port}" in said
    assert KEY in said
    assert str(here.directory / "data") in said
    assert len(pids(processes, "worker")) == 2
    server, *served_by = sorted(pids(processes, "api"))
    # Killed is what started the API's worker; that must not go on serving on the same port.
    os.kill(server, signal.SIGKILL)
    for pid in pids(processes, "worker"):
        os.kill(pid, signal.SIGKILL)
    until(lambda: not any(map(alive, processes)), what="what is left of them ends")

    def restarted() -> bool:
        now = descendants(up.pid)
        return len(pids(now, "worker")) == 2 and len(pids(now, "api")) == 1 + len(served_by)

    until(restarted, what="they are started again")
    until(lambda: answers(here), what="the API answers again")
    document = SIMPLE.to_dict() | {"isActive": True}
    del document["id"]
    here.client.post("/api/flows", json=document).raise_for_status()
    payloads = [{"contact": {"id": f"c{i}", "phone": f"+55119000{i:05}"}} for i in range(5)]
    assert len(here.trigger(payloads)) == 5
    here.wait_for_all()  # without WhatsApp each fails, but it runs
    processes = descendants(up.pid)
    before = here.said(up).count("starting it again")
    os.kill(max(pids(processes, "api")), signal.SIGKILL)  # the API's worker alone
    until(lambda: here.said(up).count("starting it again") > before)
    until(lambda: answers(here), what="the API answers again")
    processes |= descendants(up.pid)
    os.kill(up.pid, signal.SIGINT)
    assert up.wait(40) == 0, here.said(up)
    assert not any(map(alive, processes))
    assert "Traceback" not in here.said(up)


def test_nothing_outlives_it(here: Installation) -> None:
    up, processes = start_up(here)
    assert len(processes) >= 3
    up.kill()
    up.wait()
    until(lambda: not any(map(alive, processes)), what="its processes end with it")


def test_a_process_that_cannot_run_as_it_is_set_up_ends_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when it takes its time to find out, as on a machine that is busy."""
    monkeypatch.setattr(supervisor, "RESTART_SECONDS", 0.0)
    (tmp_path / "file").touch()
    settings = {"FLOWKIT_DATA_DIR": str(tmp_path / "file" / "data"), "FLOWKIT_API_KEY": KEY}
    watched = supervisor.Supervisor([["worker", "--child"]], settings)
    watched.watch()
    watched.stop()
    assert watched.status == 2


@pytest.mark.parametrize("status", [2, 3])
def test_it_ends_as_a_process_that_could_not_start(
    status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\nexit {status}\n")
    program.chmod(0o700)
    monkeypatch.setattr("sys.executable", str(program))
    watched = supervisor.Supervisor([["worker"]], {})
    watched.watch()
    watched.stop()
    assert watched.status == status


def test_a_worker_alone(here: Installation) -> None:
    worker = here.start("worker")
    until(lambda: "is ready" in here.said(worker))
    assert here.stop(worker) == 0


def test_an_api_alone_killed_serves_no_longer(here: Installation) -> None:
    api = here.start_api()
    processes = descendants(api.pid)
    assert processes
    api.kill()
    api.wait()
    until(lambda: not any(map(alive, processes)), what="its worker ends with it")


def test_an_api_alone_keeps_what_it_is_told_to_where_it_is_told_to(here: Installation) -> None:
    data = here.directory / "elsewhere"
    api = here.start("api", "--port", str(here.port), "--data", str(data), FLOWKIT_API_KEY="")
    until(lambda: answers(here), what="the API answers")
    key = (data / "api-key").read_text()
    assert key in here.said(api)
    headers = {"Authorization": f"Bearer {key}"}
    assert httpx.get(f"{here.url}/api/flows", headers=headers).status_code == 200
    assert here.client.get("/api/flows").status_code == 401
    assert here.stop(api) == 0
    assert not here.database.exists()


def test_the_simulator_alone(here: Installation) -> None:
    address = here.start_simulator()
    (simulator,) = here.processes
    processes = descendants(simulator.pid)
    assert address in here.said(simulator)
    message = {
        "messaging_product": "whatsapp",
        "recipient_type": "individual",
        "to": "+5511999990000",
        "type": "text",
        "text": {"body": "Hello"},
    }
    url = f"{address}/v25.0/1065/messages"
    assert httpx.post(url, json=message, headers={"Authorization": "Bearer t"}).status_code == 200
    assert httpx.post(url, json=message, headers={"Authorization": "Bearer x"}).status_code == 401
    (item,) = httpx.get(f"{address}/_simulator/messages").json()["items"]
    assert item["to"] == "+5511999990000"
    assert here.stop(simulator) == 0
    assert not any(map(alive, processes))


def test_workers_in_several_processes(here: Installation) -> None:
    workers = here.start("worker", "--processes", "2", "--threads", "3")
    until(lambda: here.said(workers).count("is ready") == 2)
    processes = descendants(workers.pid)
    first, _ = pids(processes, "worker")
    assert "FLOWKIT_EFFECT_CONCURRENCY=3" in Path(f"/proc/{first}/environ").read_text()
    os.kill(first, signal.SIGKILL)
    until(lambda: here.said(workers).count("is ready") == 3, what="it is started again")
    processes = descendants(workers.pid)
    until(lambda: "2 worker processes are alive" in checked(here)[1])
    assert here.stop(workers) == 0, here.said(workers)
    assert not any(map(alive, processes))
    assert checked(here) == (1, "0 worker processes are alive\n")


def checked(here: Installation) -> tuple[int, str]:
    process = flowkit("worker", "--check", "--data", here.directory / "data")
    assert process.stderr == ""
    return process.returncode, process.stdout


def test_a_worker_that_is_stuck_is_told(here: Installation) -> None:
    sign = here.directory / "data" / f"worker-{socket.gethostname()}-{os.getpid()}.alive"
    sign.parent.mkdir()
    sign.touch()
    os.utime(sign, (0, 0))
    assert checked(here) == (1, f"no sign of life for 60 s from worker {os.getpid()}\n")
