"""The form of an archive: where its files are, what their columns are, and which of them count.

Owns that form for those who write and those who read. Imports pyarrow, fsspec and the core.

An archive is a directory or a prefix of an object store::

    executions/month=2026-11/part-<batch>.parquet   month (UTC) in which they were created
    node_runs/month=2026-11/part-<batch>.parquet
    manifests/<batch>.json                          {version, parts: [{path, rows, ...}]}

No file is ever written twice. Parts count from the moment at which a manifest names them: it is
written last, when they have been read back. Parts that no manifest names are being written, or
were left by a writer that was killed; they are not read.

An execution may be there more than once: one that was archived and retried at the same moment
stays in the store and is archived again when it ends, and a writer that was killed before it
deleted anything archives the same again. Of several copies the one of the newest ``revision``
counts.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
from fsspec.implementations.local import LocalFileSystem

from flowkit.errors import Invalid, SettingsError
from flowkit.execution import Execution
from flowkit.problems import Problem, pointer
from flowkit.wire import canonical, to_wire

VERSION = 1
"""Version of the form; a reader refuses what is newer."""
VERSION_KEY = b"flowkit.archive"

TEXT, COUNT, TIME = pa.string(), pa.int64(), pa.timestamp("ms", tz="UTC")
JSON = pa.string()
"""Free-form data, as canonical JSON text."""


def _schema(**columns: pa.DataType) -> pa.Schema:
    return pa.schema(columns, metadata={VERSION_KEY: str(VERSION)})


EXECUTIONS = _schema(
    execution_id=TEXT,
    revision=COUNT,
    flow_id=TEXT,
    flow_version=COUNT,
    status=TEXT,
    trigger_type=TEXT,
    contact_id=TEXT,
    created_at=TIME,
    updated_at=TIME,
    ended_at=TIME,
    resume_at=TIME,
    ended_by=JSON,
    context=JSON,
    branches=JSON,
)
NODE_RUNS = _schema(
    execution_id=TEXT,
    revision=COUNT,
    flow_id=TEXT,
    flow_version=COUNT,
    contact_id=TEXT,
    execution_status=TEXT,
    created_at=TIME,  # of the execution
    node_id=TEXT,
    branch_id=TEXT,
    visit=COUNT,
    sequence=COUNT,
    status=TEXT,
    start_time=TIME,
    end_time=TIME,
    source_handle=TEXT,
    result=JSON,
    error=JSON,
    idempotency_key=TEXT,
    retry_count=COUNT,
    arrival_count=COUNT,
    attempts=JSON,
)
SCHEMAS = {"executions": EXECUTIONS, "node_runs": NODE_RUNS}
_FREE = {"ended_by", "context", "branches", "result", "error", "attempts"}


def tables(executions: Sequence[Execution]) -> dict[str, pa.Table]:
    """Return whole executions as the tables of `SCHEMAS`, rows in their order."""
    heads = [{"execution_id": e.id, **_values(e, EXECUTIONS)} for e in executions]
    runs = [
        {
            "execution_id": e.id,
            "revision": e.revision,
            "flow_id": e.flow_id,
            "flow_version": e.flow_version,
            "contact_id": e.contact_id,
            "execution_status": e.status,
            "created_at": e.created_at,
            **_values(run, NODE_RUNS),
        }
        for e in executions
        for run in e.executed_nodes
    ]
    return {
        "executions": pa.Table.from_pylist(heads, EXECUTIONS),
        "node_runs": pa.Table.from_pylist(runs, NODE_RUNS),
    }


def _values(record: Any, schema: pa.Schema) -> dict[str, Any]:
    """Return the columns that are fields of a record."""
    values = {name: getattr(record, name) for name in schema.names if hasattr(record, name)}
    for name in _FREE & values.keys():
        if values[name] is not None:
            values[name] = canonical(to_wire(values[name]))
    return values


def month_of(moment: datetime) -> str:
    """Return the month of a moment in UTC, such as ``2026-11``."""
    return f"{moment:%Y-%m}"


@dataclass(frozen=True, slots=True)
class Part:
    """A file of rows: its path in the archive, and what it must be like."""

    path: str
    rows: int
    bytes: int
    sha256: str

    @property
    def kind(self) -> str:
        """Which of `SCHEMAS` it has."""
        return self.path.partition("/")[0]

    @property
    def month(self) -> str:
        """The month in which its executions were created, such as ``2026-11``."""
        return self.path.partition("month=")[2][:7]


class Place:
    """Where an archive is: a local path, or a URL that fsspec knows.

    Raises
    ------
    SettingsError
        When the URL is of no file system that is installed.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        try:
            self.fs, root = fsspec.url_to_fs(url)
        except (ValueError, ImportError) as error:
            raise SettingsError(f"no archive can be at {url}: {error}") from error
        self.root = root.rstrip("/")

    def put(self, path: str, data: bytes) -> None:
        """Write a whole file; on a local disk it is there after a power loss, whole or not at all.

        Object stores show a file only when it is whole.
        """
        whole = f"{self.root}/{path}"
        if not isinstance(self.fs, LocalFileSystem):
            self.fs.pipe_file(whole, data)
            return
        target = Path(whole)
        made = [folder for folder in target.parents if not folder.exists()]
        target.parent.mkdir(parents=True, exist_ok=True)
        unfinished = target.with_name(f"{target.name}.unfinished")
        with unfinished.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(target)
        for folder in {target.parent, *(new.parent for new in made)}:
            _flush(folder)

    def get(self, path: str) -> bytes:
        """Return the content of a file."""
        data: bytes = self.fs.cat_file(f"{self.root}/{path}")
        return data

    def files(self, folder: str) -> dict[str, int]:
        """Return the files below a folder of the archive, with their sizes in bytes."""
        self.fs.invalidate_cache()
        found = self.fs.find(f"{self.root}/{folder}", detail=True)
        return {path[len(self.root) + 1 :]: info["size"] for path, info in found.items()}

    def manifests(self) -> dict[str, list[Part]]:
        """Return the parts that count, by the name of the batch that they are of.

        Raises
        ------
        Invalid
            ``archive.version`` when the archive is of a newer version, ``archive.damaged`` when
            a manifest cannot be read.
        """
        paths = [path for path in self.files("manifests") if path.endswith(".json")]
        texts = self.fs.cat([f"{self.root}/{path}" for path in paths]) if paths else {}
        return {
            Path(path).stem: read_manifest(path, texts[f"{self.root}/{path}"]) for path in paths
        }

    def leftovers(self, known: Iterable[Part]) -> list[str]:
        """Return the parts that no manifest names; refuse the archive where one is not as named.

        Raises
        ------
        Invalid
            ``archive.damaged`` when a part that counts is missing or has another size.
        """
        there = {path: size for kind in SCHEMAS for path, size in self.files(kind).items()}
        for part in known:
            if there.pop(part.path, None) != part.bytes:
                raise damaged(part.path, "it is missing, or not as long as its manifest says")
        return sorted(there)


def write_manifest(parts: Sequence[Part]) -> bytes:
    """Return the manifest of a batch."""
    return canonical({"version": VERSION, "parts": [asdict(part) for part in parts]}).encode()


def read_manifest(path: str, text: bytes) -> list[Part]:
    """Return the parts that a manifest names; see `Place.manifests` for what is refused."""
    try:
        manifest = json.loads(text)
        check_version(path, int(manifest["version"]))
        return [Part(**part) for part in manifest["parts"]]
    except (ValueError, TypeError, KeyError) as error:
        raise damaged(path, f"it is no manifest ({error})") from error


def check_version(path: str, version: int) -> None:
    """Refuse what a newer version of this program wrote."""
    if version > VERSION:
        message = f"It is of version {version} and this flowkit knows {VERSION}: upgrade flowkit."
        raise Invalid([Problem("archive.version", pointer(*path.split("/")), message)])


def damaged(path: str, why: str) -> Invalid:
    """Return the refusal of an archive because of one of its files."""
    message = f"The archive is damaged: {why}. Put the file back from a copy."
    return Invalid([Problem("archive.damaged", pointer(*path.split("/")), message)])


def not_read(leftovers: Sequence[str]) -> str:
    """Return what to say of parts that no manifest names."""
    return (
        f"{len(leftovers)} files are not read, since no manifest names them (the first is "
        f"{leftovers[0]}): they are being written, or were left by a writer that was killed; "
        "nothing of the latter is lost, and they can be deleted"
    )


def _flush(folder: Path) -> None:
    """Make the names in a folder survive a power loss."""
    if os.name == "nt":  # Windows opens no folders, and its file system keeps a journal
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
