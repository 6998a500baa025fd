"""The main job, as a new user runs it."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import flowkit as fk
from service.demo.checkouts import checkouts
from service.demo.flow import CONTACT
from tests.processes import Installation, installation, until


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Installation]:
    yield from installation(tmp_path)


def demo(here: Installation, *arguments: str, **variables: str) -> tuple[int, str]:
    ended = subprocess.run(
        [sys.executable, "-m", "service", "demo", "--contacts", "20", *arguments],
        env={**here.environment, **variables},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    return ended.returncode, ended.stdout + ended.stderr


def test_it_shows_a_failure_beside_its_siblings_and_the_retry(here: Installation) -> None:
    data = here.directory / "data"
    status, said = demo(here, "--data", str(data))
    assert status == 0, said
    first, after = said.split("After the retry: executions", 1)
    assert re.search(r"completed\W+18\b", first)
    assert re.search(r"failed\W+2\b", first)
    assert re.search(r"completed\W+20\b", after)
    assert re.search(r"voucher\W+20\W+18\W+2\W", first)
    assert re.search(r"voucher\W+20\W+20\W+0\W", after)
    assert re.search(r"text\W+accepted\W+60\b", after)
    assert re.search(r"text\W+rejected\W+2\b", after)
    assert str(data) in said.replace("\n", "")
    # Once more over the same data: its own executions only.
    status, said = demo(here, "--data", str(data))
    assert status == 0, said
    assert here.rows("SELECT count(*) FROM executions WHERE status='completed'") == [(40,)]


def test_it_fails_when_executions_do_not_end_as_they_should(here: Installation) -> None:
    # No checkout is as small as this, so none is accepted.
    status, said = demo(here, FLOWKIT_PAYLOAD_LIMIT_BYTES="256")
    assert status == 1, said
    assert "failed" in said


def test_it_can_be_kept(here: Installation) -> None:
    process = here.start("demo", "--contacts", "5", "--keep", "--data", str(here.directory / "d"))
    until(lambda: "Ctrl-C ends it" in here.said(process), seconds=60)
    said = here.said(process)
    url = re.search(r"The service is at (http://\S+)", said)
    key = re.search(r"key: (\S+)", said)
    assert url and key
    with fk.Client(url[1], api_key=key[1]) as client:
        assert len(client.executions(status="completed")) == 5
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0


def test_the_checkouts_are_many_people_and_always_the_same() -> None:
    from flowkit.expression import search

    some = list(checkouts(300))
    assert some == list(checkouts(300))
    contacts = [search(CONTACT, body) for body in some]
    assert len({contact["id"] for contact in contacts}) == 300
    assert len({contact["phone"] for contact in contacts}) == 300
    assert all(re.fullmatch(r"\+[1-9]\d{7,14}", contact["phone"]) for contact in contacts)
    assert {contact["country"] for contact in contacts} == {"BR", "US", "MX"}
