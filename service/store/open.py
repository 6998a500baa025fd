"""Opens the store that the settings name: the only place that knows which stores there are."""

from __future__ import annotations

from service.settings import Settings
from service.store.base import Store
from service.store.sqlite import SqliteStore


def open_store(settings: Settings) -> Store:
    """Return the store of an installation; `settings` are prepared.

    Raises
    ------
    SettingsError
        When it cannot be opened, or was written by a newer version.
    """
    return SqliteStore(settings.data_dir / "flowkit.db")
