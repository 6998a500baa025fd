"""What holds for every test."""

from __future__ import annotations

from hypothesis import settings

# A slow machine is no failure: what is slow is measured by the benchmarks.
settings.register_profile("flowkit", deadline=None)
settings.load_profile("flowkit")
