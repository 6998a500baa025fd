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


def kept(here: Installation, contacts: int) -> str:
    """Run it with ``--keep`` until it has shown everything, and return what it said."""
    data = str(here.directory / "data")
    process = here.start("demo", "--contacts", str(contacts), "--data", data, "--keep")
    until(lambda: process.poll() is not None or "Ctrl-C ends it" in here.said(process), seconds=60)
    said = here.said(process)
    assert process.poll() is None, said
    return said


def test_it_shows_a_failure_beside_its_siblings_and_the_retry(here: Installation) -> None:
    said = kept(here, 20)
    before, after = said.split("After the retry: executions by status")
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
    assert f"flowkit up --data {here.directory / 'data'}" in after
    (url,) = re.findall(r"The service is at (http://\S+)", said)
    (key,) = re.findall(r"^key: (\S+)$", said, re.MULTILINE)
    with fk.Client(url, api_key=key) as client:
        assert len(client.executions(status="completed")) == 20
    (demo,) = here.processes
    processes = descendants(demo.pid)
    demo.send_signal(signal.SIGINT)
    assert demo.wait(40) == 0
    assert not any(map(alive, processes))
    assert here.rows("SELECT status, count(*) FROM executions GROUP BY status") == [
        ("completed", 20)
    ]


@pytest.mark.long
def test_it_ends_by_itself_and_again_over_the_same_data_counts_its_own(here: Installation) -> None:
    ended = flowkit("demo", "--contacts", "3", "--data", here.directory / "data")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert not ended.stderr
    assert row(kept(here, 5).split("After the retry")[1], "completed", 5)
    assert here.rows("SELECT count(*) FROM executions") == [(8,)]


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
