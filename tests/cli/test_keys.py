"""``flowkit keys``: made, shown once, listed, deleted."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.keys import FORM, digest_of
from service.store.sqlite import SqliteStore
from tests.cli.program import called, refused


def test_a_key_is_shown_once_and_only_its_digest_is_kept(tmp_path: Path) -> None:
    made = called("keys", "create", "ann@example.com", "--data", tmp_path)
    assert made.returncode == 0, made
    key = made.stdout.strip()
    assert FORM.fullmatch(key)
    assert made.stdout.splitlines() == [key], "it can be taken by a script"
    store = SqliteStore(tmp_path / "flowkit.db")
    try:
        (kept,) = store.list_api_keys()
        assert (kept.name, kept.digest) == ("ann@example.com", digest_of(key))
    finally:
        store.close()
    for file in tmp_path.iterdir():
        assert key.encode() not in file.read_bytes(), file
    listed = called("keys", "list", FLOWKIT_DATA_DIR=str(tmp_path)).stdout
    assert listed.startswith("ann@example.com\t")
    assert key not in listed


def test_a_key_is_deleted_by_its_name(tmp_path: Path) -> None:
    called("keys", "create", "ann", "--data", tmp_path)
    assert "ann" in refused("keys", "create", "ann", "--data", tmp_path)
    assert called("keys", "delete", "ann", "--data", tmp_path).returncode == 0
    assert called("keys", "list", "--data", tmp_path).stdout == ""
    assert "ann" in refused("keys", "delete", "ann", "--data", tmp_path)


@pytest.mark.parametrize("name", ["", "a b", "x" * 65, "né", "-x\n"])
def test_a_name_that_is_none_is_refused(tmp_path: Path, name: str) -> None:
    made = called("keys", "create", "--data", tmp_path, "--", name)
    assert made.returncode == 2
    assert "a name is" in made.stderr
