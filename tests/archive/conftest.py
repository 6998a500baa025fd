"""A service to archive, on either store."""

from __future__ import annotations

from tests.api.conftest import make_service

__all__ = ["make_service"]
