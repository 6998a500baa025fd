"""What a test needs beside Python: it is skipped where that is missing, and fails in CI."""

from __future__ import annotations

import os
import shutil
from importlib.util import find_spec
from typing import NoReturn

import pytest


def unavailable(reason: str) -> NoReturn:
    """Skip the test for `reason`; fail it where everything must run."""
    if os.environ.get("CI"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def need(*, programs: tuple[str, ...] = (), packages: tuple[str, ...] = ()) -> None:
    """Skip the test, or fail it in CI, unless all programs and Python packages are here."""
    missing = [f"the program {name}" for name in programs if shutil.which(name) is None]
    missing += [f"the Python package {name}" for name in packages if find_spec(name) is None]
    if missing:
        unavailable(f"missing: {', '.join(missing)}")
