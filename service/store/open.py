"""Opens the store that the settings name: the only place that knows which stores there are.

Owns the wait for a server that does not answer yet.
"""

from __future__ import annotations

import logging
import time

from flowkit.errors import SettingsError, StoreUnavailable
from service.settings import Settings
from service.store.base import Store
from service.store.sqlite import SqliteStore

log = logging.getLogger(__name__)

RETRY_SECONDS = 2.0
"""From one try to the next."""


def open_store(settings: Settings) -> Store:
    """Return the store of an installation; `settings` are prepared.

    A server that does not answer is tried again for `store_wait_seconds`, one line in the log
    for each try.

    Raises
    ------
    SettingsError
        When it cannot be opened, or was written by a newer version.
    StoreUnavailable
        When its server does not answer in time.
    """
    deadline = time.monotonic() + settings.store_wait_seconds
    while True:
        try:
            return _open(settings)
        except StoreUnavailable as error:
            left = deadline - time.monotonic()
            if left <= 0:
                raise
            log.warning("%s; trying again for %.0f s", error, left)
            time.sleep(min(RETRY_SECONDS, left))


def _open(settings: Settings) -> Store:
    if settings.mongodb_url is None:
        return SqliteStore(settings.data_dir / "flowkit.db")
    try:
        from service.store.mongo.store import MongoStore
    except ModuleNotFoundError as error:
        if error.name in ("bson", "mongoengine", "pymongo"):
            raise SettingsError(
                f"FLOWKIT_MONGODB_URL is set, but the package {error.name} is missing: "
                'pip install "flowkit[mongodb]"'
            ) from error
        raise
    return MongoStore(
        settings.mongodb_url,
        retention_days=settings.expires_after_days,
        key_hours=settings.idempotency_hours,
    )
