"""Executions move into an archive whole, once, and only when their copy has been read back."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import service.archive as moving
from flowkit import history
from flowkit.errors import Invalid, SettingsError
from flowkit.execution import Execution, ExecutionFilter
from flowkit.history.layout import Place
from flowkit.testing import EPOCH, started
from service.archive import Summary, archive, cutoff, reach, survey
from service.faults import POINTS
from service.store.sqlite import SqliteStore
from tests.archive.stage import LATE, Ended, moved
from tests.cli.program import CLEAN, called, flowkit, refused

DAY = timedelta(days=1)


def ended(number: int) -> list[Execution]:
    """Executions that ended minutes apart, ten days after they began."""
    executions = started(number)
    for i, execution in enumerate(executions):
        execution.status, execution.open = "cancelled", 0
        execution.ended_at = EPOCH + 10 * DAY + timedelta(minutes=i)
    return executions


def stored(directory: Path, number: int) -> list[str]:
    """Put ended executions into the store of a data directory; return their ids."""
    directory.mkdir(exist_ok=True)
    store = SqliteStore(directory / "flowkit.db")
    store.create(ended(number))
    store.close()
    return [execution.id for execution in ended(number)]


def in_store(directory: Path) -> list[str]:
    store = SqliteStore(directory / "flowkit.db")
    try:
        return sorted(e.id for e in store.list_executions(ExecutionFilter(), limit=1_000))
    finally:
        store.close()


def in_archive(url: str | Path) -> list[str]:
    ids: list[str] = history.Archive(str(url)).executions()["execution_id"].tolist()
    return ids


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages of 2, batches of 4, deletions of 3."""
    for name, size in (("PAGE", 2), ("BATCH", 4), ("DELETE", 3)):
        monkeypatch.setattr(moving, name, size)


# ---------------------------------------------------------------------- what goes


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("90d", datetime(2026, 8, 27, 9, 30, tzinfo=UTC)),
        ("12h", datetime(2026, 11, 24, 21, 30, tzinfo=UTC)),
        ("0d", datetime(2026, 11, 25, 9, 30, tzinfo=UTC)),
        ("2026-11-01", datetime(2026, 11, 1, tzinfo=UTC)),
    ],
)
def test_an_age_or_a_date_says_what_goes(text: str, moment: datetime) -> None:
    assert cutoff(text, datetime(2026, 11, 25, 9, 30, tzinfo=UTC)) == moment


@pytest.mark.parametrize("text", ["", "90", "d", "-1d", "1.5d", "999999d", "2026-13-01", "90 d"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(Invalid, match=r"archive\.before at /before"):
        cutoff(text, EPOCH)


def test_days_that_are_not_over_stay_and_what_a_redelivery_must_find() -> None:
    now, hour = datetime(2026, 11, 25, 9, 30, tzinfo=UTC), timedelta(hours=1)
    assert reach(now, now, keys=hour) == datetime(2026, 11, 25, tzinfo=UTC)
    assert reach(now, now, keys=24 * hour) == now - DAY
    assert reach(now - 2 * DAY, now, keys=24 * hour) == now - 2 * DAY


# --------------------------------------------------------------------- how it goes


@pytest.mark.usefixtures("small")
def test_what_ended_before_moves_in_batches_and_its_days_are_counted(tmp_path: Path) -> None:
    store, shown = Ended(ended(11)), []
    before = EPOCH + 10 * DAY + timedelta(minutes=9)
    found = survey(store, before=before)
    assert (found.executions, found.batches, len(store.executions)) == (9, 3, 11)

    def show(summary: Summary) -> None:
        shown.append((summary.executions, len(store.executions)))

    summary = archive(store, Place(str(tmp_path)), before=before, progress=show)
    assert shown == [(4, 7), (8, 3), (9, 2)]
    assert (summary.executions, summary.kept, summary.months) == (9, 0, {"2026-01": 9})
    assert store.counted == [(EPOCH + 10 * DAY).date()]
    assert in_archive(tmp_path) == [f"x{i:06}" for i in range(9)]
    assert not list(tmp_path.rglob("*.unfinished"))


def test_what_cannot_be_read_back_is_not_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Ended(ended(3))
    put = Place.put

    def lossy(self: Place, path: str, data: bytes) -> None:
        put(self, path, data[:-1] if path.startswith("node_runs") else data)

    monkeypatch.setattr(Place, "put", lossy)
    with pytest.raises(Invalid, match=r"archive\.damaged at /node_runs/"):
        archive(store, Place(str(tmp_path)), before=LATE)
    assert len(store.executions) == 3
    assert not list(tmp_path.glob("manifests/*"))


def test_rows_that_are_not_those_of_the_store_are_not_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Ended(ended(3))
    write = moving._parquet
    monkeypatch.setattr(moving, "_parquet", lambda table: write(table.slice(0, 2)))
    with pytest.raises(Invalid, match="its rows are not those of the store"):
        archive(store, Place(str(tmp_path)), before=LATE)
    assert len(store.executions) == 3


def test_two_at_once_do_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Ended(ended(5))
    verify: Callable[..., None] = moving._verify

    def with_another(*arguments: Any) -> None:
        monkeypatch.setattr(moving, "_verify", verify)
        archive(store, Place(str(tmp_path)), before=LATE)
        verify(*arguments)

    monkeypatch.setattr(moving, "_verify", with_another)
    summary = archive(store, Place(str(tmp_path)), before=LATE)
    assert summary.kept == 5, "the other deleted them"
    assert in_archive(tmp_path) == [f"x{i:06}" for i in range(5)]


def test_it_cannot_be_anywhere() -> None:
    with pytest.raises(SettingsError, match="no archive can be at foo://bucket"):
        Place("foo://bucket")


# ------------------------------------------------------------------------- killed


@pytest.mark.long
@pytest.mark.parametrize("point", [p for p in POINTS if "archive" in p])
def test_killed_at_a_point_and_run_again_nothing_is_lost_or_counted_twice(
    tmp_path: Path, point: str
) -> None:
    number = moving.DELETE + 20
    ids = stored(tmp_path / "data", number)
    place = tmp_path / "archive"
    command = ["archive", "--before", "1d", "--to", place, "--data", tmp_path / "data"]
    killed = flowkit(*command, FLOWKIT_FAIL_AT=point)
    assert killed.returncode == -signal.SIGKILL, killed
    left = in_store(tmp_path / "data")
    assert len(left) == (20 if point == "after_archive_delete" else number)
    again = flowkit(*command)
    assert again.returncode == 0, again
    assert in_store(tmp_path / "data") == []
    manifests = list(place.glob("manifests/*.json"))
    if point in ("after_archive_write", "after_archive_verify"):
        assert "2 files are not read" in again.stdout.replace("\n", " ")
        with pytest.warns(UserWarning, match="2 files are not read"):
            assert in_archive(place) == ids
    else:
        assert in_archive(place) == ids
    assert len(manifests) == (2 if point == "after_archive_delete" else 1)
    store = SqliteStore(tmp_path / "data" / "flowkit.db")
    day = (EPOCH + 10 * DAY).date()
    (count,) = store.list_counts(since=day, until=day + DAY)
    assert count.count == number
    store.close()


# ---------------------------------------------------------------- the command line


def test_a_dry_run_changes_nothing(tmp_path: Path) -> None:
    ids = stored(tmp_path / "data", 3)
    said = called("archive", "--dry-run", "--data", tmp_path / "data")
    assert said.returncode == 0, said
    assert "would archive 3 executions and 0 node runs" in said.stdout
    assert "2026-01: 3 executions" in said.stdout
    assert in_store(tmp_path / "data") == ids


def test_the_place_may_be_a_setting(tmp_path: Path) -> None:
    ids = stored(tmp_path / "data", 3)
    place = tmp_path / "archive"
    said = called("archive", "--data", tmp_path / "data", FLOWKIT_ARCHIVE_URL=str(place))
    assert said.returncode == 0, said
    assert "archived 3 executions and 0 node runs" in said.stdout
    assert in_store(tmp_path / "data") == []
    assert in_archive(place) == ids
    (manifest,) = place.glob("manifests/*.json")
    assert json.loads(manifest.read_text())["version"] == 1


def test_what_is_asked_wrongly_is_one_line(tmp_path: Path) -> None:
    data = tmp_path / "data"
    stored(data, 1)
    assert "FLOWKIT_ARCHIVE_URL" in refused("archive", "--data", data)
    assert "archive.before" in refused("archive", "--before", "x", "--to", "a", "--data", data)
    line = refused("archive", "--to", tmp_path, "--data", data, FLOWKIT_RETENTION_DAYS="0")
    assert "--before" in line
    (tmp_path / "file").touch()
    line = refused("archive", "--to", tmp_path / "file" / "x", "--data", data)
    assert "cannot be used" in line
    assert in_store(data) == ["x000000"]


def test_a_missing_library_is_one_line(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['pyarrow'] = None\n"
        "sys.argv = ['flowkit', 'archive', '--to', 'x']\n"
        "from service.cli import main; main()"
    )
    environment = CLEAN | {"FLOWKIT_DATA_DIR": str(tmp_path)}
    process = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert process.returncode == 2
    assert "flowkit: archives need `pip install 'flowkit[archive]'`" in process.stderr


def test_an_archive_of_another_store_is_added_to(tmp_path: Path) -> None:
    first, second = ended(4)[:2], ended(4)[2:]
    moved(str(tmp_path), first)
    moved(str(tmp_path), second)
    assert len(in_archive(tmp_path)) == 4
