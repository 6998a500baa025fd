"""How many examples a costly property is tried with: few at each run, many under ``long``.

``pytest --hypothesis-profile long`` is what CI adds to the default run.
"""

from __future__ import annotations

from hypothesis import settings

LONG = "long"


def register() -> None:
    """Make the profiles known, and take the one of each run."""
    # A slow machine is no failure: what is slow is measured by the benchmarks.
    settings.register_profile("flowkit", deadline=None)
    settings.register_profile(LONG, deadline=None)
    settings.load_profile("flowkit")


def examples(few: int, many: int) -> int:
    """Return the number for the profile in force."""
    return many if settings.get_current_profile_name() == LONG else few
