"""The demonstration, as a new user runs it: real processes, real HTTP."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

import flowkit as fk
from tests.cli.program import alive, descendants, flowkit
from tests.processes import Installation, installation, until


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Installation]:
    yield from installation(tmp_path)


def row(said: str, *cells: str | int) -> bool:
    """Whether a table that was printed has a row that begins so."""
    return bool(re.search(r"│\s*" + r"\s*│\s*".join(map(str, cells)) + r"\s*│", said))


def test_it_shows_a_failure_beside_its_siblings_and_the_retry(here: Installation) -> None:
    data = here.directory / "data"
    ended = flowkit("demo", "--contacts", "20", "--data", data)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert not ended.stderr
    before, after = ended.stdout.split("After the retry: executions by status")
    assert "After the first run: executions by status" in before
    assert row(before, "completed", 18)
    assert row(before, "failed", 2)
    assert row(before, "voucher", 20, 18, 2)
    assert row(before, "link", 20, 20, 0)
    assert row(before, "end_1", 20, 20, 0)
    assert row(after, "completed", 20)
    assert not row(after, "failed", r"\d+")
    assert row(after, "voucher", 20, 20, 0)
    assert row(after, "template", "accepted", 20)
    assert row(after, "text", "accepted", 60)
    assert row(after, "text", "rejected", 2)
    assert f"flowkit up --data {data}" in after

    # Again over the same data, and kept: it counts its own executions only.
    kept = here.start("demo", "--contacts", "5", "--data", str(data), "--keep")
    until(lambda: kept.poll() is not None or "Ctrl-C ends it" in here.said(kept), seconds=60)
    said = here.said(kept)
    assert kept.poll() is None, said
    assert row(said.split("After the retry")[1], "completed", 5)
    (url,) = re.findall(r"The service is at (http://\S+)", said)
    (key,) = re.findall(r"^key: (\S+)$", said, re.MULTILINE)
    with fk.Client(url, api_key=key) as client:
        assert len(client.executions(status="completed")) == 25
    processes = descendants(kept.pid)
    kept.send_signal(signal.SIGINT)
    assert kept.wait(40) == 0
    assert not any(map(alive, processes))
    assert here.rows("SELECT status, count(*) FROM executions GROUP BY status") == [
        ("completed", 25)
    ]


def test_it_fails_when_executions_do_not_end_as_they_should(tmp_path: Path) -> None:
    """The Graph API has no such version: every message is refused."""
    ended = flowkit(
        "demo", "--contacts", "5", FLOWKIT_WHATSAPP_API_VERSION="v1234.0", TMPDIR=str(tmp_path)
    )
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert row(ended.stdout, "failed", 5)
    assert "The demonstration failed: expected" in ended.stdout
    assert "Traceback" not in ended.stderr
    (data,) = tmp_path.iterdir()
    assert (data / "flowkit.db").exists(), "the history is there to look into"
