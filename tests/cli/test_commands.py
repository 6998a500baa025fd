"""The command line as a user meets it: exit statuses and one clear line for what is set up wrongly."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from service.demo.flow import abandoned_cart
from tests.processes import HOST, KEY, Installation, installation, until


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Installation]:
    yield from installation(tmp_path, sweep_seconds="0.1")


def flowkit(
    here: Installation, *arguments: str, **variables: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "service", *arguments],
        env={**here.environment, **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def assert_refused(ended: subprocess.CompletedProcess[str], *words: str) -> None:
    """One line, which says what is wrong, and exit status 2."""
    assert ended.returncode == 2, ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1, ended.stderr
    for word in words:
        assert word in ended.stderr


# -- validate


def test_a_good_flow_in_json_and_in_python(here: Installation) -> None:
    document = here.directory / "flow.json"
    document.write_text(abandoned_cart.to_json())
    ended = flowkit(here, "validate", str(document))
    assert (ended.returncode, "no problems" in ended.stdout) == (0, True)
    program = here.directory / "flow.py"
    program.write_text("from service.demo.flow import abandoned_cart as mine\n")
    ended = flowkit(here, "validate", str(program))
    assert (ended.returncode, "mine: no problems" in ended.stdout) == (0, True)


def test_a_flow_with_errors_names_them(here: Installation) -> None:
    document = here.directory / "flow.json"
    document.write_text('{"name": "", "triggerType": "x", "nodes": [], "edges": []}')
    ended = flowkit(here, "validate", str(document))
    assert ended.returncode == 1
    assert "graph.no_trigger" in ended.stdout
    assert "/name" in ended.stdout


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("absent.json", None),
        ("broken.json", b"{"),
        ("binary.json", b"\xff\xfe"),
        ("broken.py", b"def"),
        ("raises.py", b"1/0"),
        ("empty.py", b"x = 1"),
    ],
)
def test_a_file_that_cannot_be_read_as_flows(
    here: Installation, name: str, content: bytes | None
) -> None:
    file = here.directory / name
    if content is not None:
        file.write_bytes(content)
    assert_refused(flowkit(here, "validate", str(file)), name)


# -- what stops the start


@pytest.mark.parametrize("command", ["up", "api", "worker", "demo"])
def test_a_data_directory_that_cannot_be_made(here: Installation, command: str) -> None:
    (here.directory / "file").write_text("")
    assert_refused(flowkit(here, command, "--data", str(here.directory / "file/data")), "file/data")


@pytest.mark.parametrize("command", ["up", "api"])
def test_a_port_that_is_taken(here: Installation, command: str) -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert_refused(flowkit(here, command, "--port", port), port)


@pytest.mark.parametrize("command", ["up", "api", "worker"])
def test_a_store_of_a_newer_version(here: Installation, command: str) -> None:
    here.database.parent.mkdir()
    connection = sqlite3.connect(here.database)
    connection.execute("PRAGMA user_version=99")
    connection.close()
    assert_refused(flowkit(here, command, "--data", str(here.database.parent)), "newer", "99")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("FLOWKIT_LEASE_SECOND", "3"),
        ("FLOWKIT_LEASE_SECONDS", "soon"),
        ("FLOWKIT_LEASE_SECONDS", "-1"),
        ("FLOWKIT_LEASE_SECONDS", "nan"),
        ("FLOWKIT_API_KEY", "short"),
        ("FLOWKIT_WHATSAPP_BASE_URL", "graph.facebook.com"),
        ("FLOWKIT_REDIS_URL", "localhost:6379"),
        ("FLOWKIT_MONGODB_URL", "mongodb://localhost"),
    ],
)
def test_a_setting_that_is_wrong_is_named(here: Installation, variable: str, value: str) -> None:
    assert_refused(flowkit(here, "worker", **{variable: value}), variable)


# -- the key


def test_a_key_is_made_once_and_kept_private(here: Installation) -> None:
    del here.environment["FLOWKIT_API_KEY"]
    processes = [here.start("worker") for _ in range(3)]
    file = here.database.parent / "api-key"
    until(file.exists)
    key = file.read_text()
    assert len(key) >= 32
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    for process in processes:
        until(lambda process=process: "is ready" in here.said(process))
        assert here.stop(process) == 0
    assert file.read_text() == key


# -- up


def children(pid: int) -> list[int]:
    """Return the process ids below `pid`."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            after = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if after[0] != "Z" and int(after[1]) == pid:
            child = int(path.parent.name)
            found += [child, *children(child)]
    return found


def alive(pids: list[int]) -> list[int]:
    still = []
    for pid in pids:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
                still.append(pid)
        except OSError:
            continue
    return still


@pytest.fixture
def up(here: Installation) -> subprocess.Popen[str]:
    process = here.start("up", "--port", str(here.port), "--workers", "2")
    until(lambda: answers(here), what="it answers")
    return process


def answers(here: Installation) -> bool:
    try:
        return here.client.get("/readyz").status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_up_stops_cleanly(here: Installation, up: subprocess.Popen[str], how: int) -> None:
    assert KEY in here.said(up)
    below = children(up.pid)
    assert len(below) >= 3
    up.send_signal(how)
    assert up.wait(30) == 0
    assert not alive(below), "no orphans"


def test_up_restarts_what_dies(here: Installation, up: subprocess.Popen[str]) -> None:
    for pid in children(up.pid):
        os.kill(pid, signal.SIGKILL)
    until(lambda: answers(here) and len(children(up.pid)) >= 3, what="it answers again")
    document = abandoned_cart.to_dict() | {"isActive": True}
    assert here.client.post("/api/flows", json=document).status_code == 201
    assert here.stop(up) == 0


def test_nothing_outlives_up(here: Installation, up: subprocess.Popen[str]) -> None:
    below = children(up.pid)
    up.kill()
    up.wait()
    until(lambda: not alive(below), what="all processes end with the one that started them")
