"""Runs the program as a user does, and looks after its processes."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path
from unittest import mock

from service.cli import main
from tests.processes import ROOT

CLEAN = {k: v for k, v in os.environ.items() if not k.startswith("FLOWKIT_")} | {
    "PYTHONPATH": str(ROOT)
}
"""The environment without anyone's settings."""


def flowkit(*arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the program to its end."""
    return subprocess.run(
        [sys.executable, "-m", "service", *map(str, arguments)],
        env=CLEAN | variables,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def called(*arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the program to its end in this process, which takes a tenth of the time."""
    words = ["flowkit", *map(str, arguments)]
    with (
        mock.patch.dict(os.environ, CLEAN | variables, clear=True),
        mock.patch.object(sys, "argv", words),
        contextlib.redirect_stdout(io.TextIOWrapper(io.BytesIO(), "utf-8")) as out,
        contextlib.redirect_stderr(io.TextIOWrapper(io.BytesIO(), "utf-8")) as said,
    ):
        status: object = 0
        try:
            main()
        except SystemExit as ended:
            status = ended.code or 0
    assert isinstance(status, int)
    for stream in (out, said):
        stream.seek(0)
    return subprocess.CompletedProcess(words, status, out.read(), said.read())


def refused(*arguments: str | Path, **variables: str) -> str:
    """Call the program, which must end with status 2 and one line, and return the line."""
    ended = called(*arguments, **variables)
    assert ended.returncode == 2, ended
    return the_line(ended.stderr)


def the_line(said: str) -> str:
    """Return the one line that says why the program does not run."""
    (line,) = said.splitlines()
    assert line.startswith("flowkit: ")
    return line


def alive(pid: int) -> bool:
    """Whether a process runs; one that is only waiting for its parent does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def descendants(pid: int) -> dict[int, str]:
    """Return the command lines of a process's children, their children and so on."""
    found: dict[int, str] = {}
    parents = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            stat = (entry / "stat").read_text()
            command = (entry / "cmdline").read_text().replace("\0", " ")
        except (FileNotFoundError, ProcessLookupError):
            continue
        parents[int(entry.name)] = (int(stat.rpartition(")")[2].split()[1]), command)
    wave = {pid}
    while wave:
        wave = {child for child, (parent, _) in parents.items() if parent in wave}
        found |= {child: parents[child][1] for child in wave}
    return found
