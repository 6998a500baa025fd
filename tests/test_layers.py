"""Who may import whom, and how large a module may be."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted([*(ROOT / "flowkit").rglob("*.py"), *(ROOT / "service").rglob("*.py")])
STANDARD = sys.stdlib_module_names | {"__future__"}
CORE = {"jmespath", "liquid"}

# What a place may import from outside the standard library, the first that fits deciding.
ALLOWED: list[tuple[str, set[str]]] = [
    ("flowkit/client.py", {"flowkit", "httpx", "pandas"}),
    ("flowkit/broadcast_calls.py", {"flowkit", "pandas"}),
    ("flowkit/connection.py", {"flowkit", "httpx"}),
    ("flowkit/history/archive.py", {"flowkit", "pandas", "numpy", "pyarrow"}),
    ("flowkit/history/layout.py", {"flowkit", "pyarrow", "fsspec"}),
    ("flowkit/history/", {"flowkit", "pandas", "numpy"}),
    ("flowkit/simulation/", {"flowkit", "pandas", "numpy"}),
    ("flowkit/testing/", {"flowkit", "pytest", "hypothesis"}),
    ("flowkit/", {"flowkit", *CORE}),
    ("service/store/mongo/", {"flowkit", "service", "mongoengine", "pymongo"}),
    ("service/store/", {"flowkit", "service"}),
    ("service/channels/", {"flowkit", "service", "httpx", "flask", "werkzeug"}),
    ("service/archive.py", {"flowkit", "service", "pyarrow"}),
    ("service/archive_command.py", {"flowkit", "service", "rich"}),
    ("service/counting.py", {"service"}),
    ("service/worker/", {"flowkit", "service", "huey", "redis"}),
    (
        "service/api/",
        {"flowkit", "service", "flask", "flask_smorest", "marshmallow", "werkzeug"}
        | {"webargs", "apispec"},
    ),
]
# What of this project a place must not know, although it may import the package.
STORES = ("service.store.sqlite", "service.store.mongo")
FORBIDDEN: list[tuple[str, tuple[str, ...]]] = [
    ("flowkit/", ("service",)),
    (
        "service/api/",
        (*STORES, "service.store.open", "service.worker"),
    ),
    ("service/store/", ("service.api", "service.worker", "service.app", "service.channels")),
    (
        "service/worker/",
        ("service.api", "service.app", *STORES),
    ),
    ("service/archive.py", ("service.api", "service.store.sqlite", "service.worker")),
    (
        "service/archive_command.py",
        ("service.api", "service.app", *STORES),
    ),
    ("service/channels/", ("service.api", "service.app", "service.store", "service.worker")),
]
# The core of flowkit is what is neither a way in nor on top of it.
ON_TOP = (
    "flowkit.client",
    "flowkit.broadcast_calls",
    "flowkit.connection",
    "flowkit.gallery",
    "flowkit.history",
    "flowkit.planning",
    "flowkit.simulation",
    "flowkit.testing",
)
# What decides how executions go on: no clock, no chance, no outside.
PURE = [
    ROOT / "flowkit" / name
    for name in (
        *(
            "engine.py",
            "turn.py",
            "walk.py",
            "working.py",
            "byhand.py",
            "receive.py",
            "ending.py",
            "inbox.py",
            "entry.py",
            "options.py",
            "retry.py",
            "size.py",
            "scope.py",
        ),
        *("outcome.py", "broadcast.py", "jsonlogic.py", "template.py", "joins.py", "shape.py"),
        *("whatsapp.py", "filling.py", "limits.py", "sharing.py"),
        *("dialect.py", "ledger.py", "patched.py", "course.py", "watching.py", "trial.py"),
        *("starting.py", "world.py", "kin.py", "step.py"),
    )
] + sorted((ROOT / "flowkit" / "nodes").glob("*.py"))
OUTSIDE = {"os", "pathlib", "random", "secrets", "socket", "subprocess", "threading", "time"} | {
    "uuid", "httpx", "tempfile", "io", "sqlite3", "urllib", "http", "asyncio", "concurrent"
}  # fmt: skip
CLOCKS = {"now", "utcnow", "today", "monotonic", "perf_counter", "open", "print", "input"}


def imports(path: Path) -> Iterator[str]:
    """Yield each module that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def within(name: str, package: str) -> bool:
    return name == package or name.startswith((f"{package}.", f"{package}_"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_module_imports_what_its_place_allows(path: Path) -> None:
    place = path.relative_to(ROOT).as_posix()
    allowed = next((names for prefix, names in ALLOWED if place.startswith(prefix)), None)
    for name in imports(path):
        top = name.partition(".")[0]
        if allowed is not None:
            assert top in STANDARD or top in allowed, f"{place} imports {name}"
        for prefix, packages in FORBIDDEN:
            if place.startswith(prefix):
                assert not any(within(name, package) for package in packages), (
                    f"{place} imports {name}"
                )


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_core_knows_nothing_of_what_is_on_top(path: Path) -> None:
    place = path.relative_to(ROOT).as_posix()
    core = place.startswith("flowkit/") and place not in (
        "flowkit/__init__.py",
        "flowkit/client.py",
        "flowkit/broadcast_calls.py",
        "flowkit/connection.py",
        "flowkit/planning.py",
    )
    on_top = ("gallery/", "history/", "simulation/", "testing/")
    if core and not place.startswith(tuple("flowkit/" + folder for folder in on_top)):
        for name in imports(path):
            assert not any(within(name, top) for top in ON_TOP), f"{place} imports {name}"


@pytest.mark.parametrize("path", PURE, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_what_decides_reads_no_clock_and_touches_nothing(path: Path) -> None:
    assert not OUTSIDE & {name.partition(".")[0] for name in imports(path)}
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else None
            called = node.func.id if isinstance(node.func, ast.Name) else called
            assert called not in CLOCKS, f"{path.name}:{node.lineno} calls {called}()"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_module_holds_one_idea(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) <= 500


HEAVY = {
    "pyarrow",
    "fsspec",
    "pandas",
    "numpy",
    "flask",
    "huey",
    "marshmallow",
    "hypothesis",
    "pytest",
}

# Of the standard library, what takes long to load: by far most of what uses flowkit needs none.
SLOW = {
    *("asyncio", "concurrent.futures", "difflib", "email", "http.client", "importlib.metadata"),
    *("logging", "multiprocessing", "socket", "sqlite3", "ssl", "tempfile", "unittest", "zipfile"),
}


@pytest.mark.parametrize(
    ("modules", "unwanted"),
    [
        ("flowkit", HEAVY | {"liquid", "httpx", "jmespath", "dataclasses", "inspect"} | SLOW),
        ("flowkit.flow", HEAVY | {"liquid", "httpx", "flowkit.nodes"} | SLOW),
        ("flowkit.trial, flowkit.simulation", HEAVY),
        ("flowkit, flowkit.engine, flowkit.nodes", HEAVY),
        ("flowkit.history", {"fsspec", "pyarrow.dataset", "flask"}),
        ("service.store.open", HEAVY),
        ("service.worker.process", HEAVY - {"huey"}),
        ("service.app", HEAVY - {"flask", "marshmallow"}),
    ],
)
def test_an_import_brings_nothing_along_that_has_no_place_there(
    modules: str, unwanted: set[str]
) -> None:
    """Also not by way of a module that another imports."""
    code = f"import sys, {modules}; print(*sys.modules)"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert not unwanted & set(found.stdout.split())
