"""The doorbell: huey on SQLite or Redis, carrying nothing that matters.

Owns the wiring of huey and nothing else. A bell says "look for work"; it may be lost or rung
twice without harm, since the store holds all that is true. May import `service.settings` and
huey.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
import threading
import time
from collections.abc import Callable

from huey import Huey, RedisHuey, SqliteHuey

from flowkit.errors import SettingsError
from service.settings import Settings

log = logging.getLogger(__name__)

# A bell's way through SQLite is a matter of polling; these keep it near 10 ms and idle CPU low.
POLL_FIRST_SECONDS = 0.005
POLL_SLOWEST_SECONDS = 0.03
POLL_BACKOFF = 1.2
READ_SECONDS = 1
"""How long one look into Redis waits for a bell: the longest that `listen` outlives `stop`."""
ANSWER_SECONDS = 2.0
"""How long the queue may take to answer; more than `READ_SECONDS`."""
BROKEN_SECONDS = 2.0
"""How long a queue that failed is left alone, so that nobody has to wait for it each time."""


class Doorbell:
    """Rings for workers, and listens for them.

    Parameters
    ----------
    settings : Settings
        Prepared; `redis_url` chooses Redis.

    Raises
    ------
    SettingsError
        When the queue cannot be set up. A Redis that is down only leaves the bells unheard.
    """

    def __init__(self, settings: Settings) -> None:
        self._huey = _redis(settings.redis_url) if settings.redis_url else _sqlite(settings)
        self._broken_until = 0.0
        self._wake: Callable[[], None] = lambda: None
        self._bell = self._huey.task(name="bell")(lambda: self._wake())
        # huey tells of every task at INFO.
        logging.getLogger("huey").setLevel(logging.WARNING)

    def ring(self) -> None:
        """Wake a worker, unless a bell is on its way already; never raises."""
        if time.monotonic() < self._broken_until:
            return
        try:
            if self._huey.pending_count() == 0:
                self._bell()
        except Exception as error:
            self._broken_until = time.monotonic() + BROKEN_SECONDS
            log.warning("no bell was rung (%s); workers will find the work by their sweep", error)

    def ping(self) -> None:
        """Raise, whatever the reason, unless the queue answers."""
        self._huey.pending_count()

    def listen(self, wake: Callable[[], None], stop: threading.Event) -> threading.Thread:
        """Call `wake` for each bell, on a thread that ends when `stop` is set."""
        self._wake = wake

        def loop() -> None:
            pause = POLL_FIRST_SECONDS
            while not stop.is_set():
                try:
                    bell = self._huey.dequeue()
                    if bell is not None:
                        self._huey.execute(bell)
                except Exception as error:
                    log.warning("no bell can be heard (%s); the sweep finds the work", error)
                    stop.wait(BROKEN_SECONDS)
                    continue
                if bell is not None:
                    pause = POLL_FIRST_SECONDS
                elif not self._huey.storage.blocking:
                    stop.wait(pause)
                    pause = min(pause * POLL_BACKOFF, POLL_SLOWEST_SECONDS)

        thread = threading.Thread(target=loop, name="doorbell", daemon=True)
        thread.start()
        return thread

    def close(self) -> None:
        """Let go of the queue."""
        with contextlib.suppress(Exception):
            self._huey.storage.close()


def _sqlite(settings: Settings) -> Huey:
    path = settings.data_dir / "queue.db"
    try:
        # Losing a bell in a power cut costs one sweep, so nothing is forced to the disk.
        return SqliteHuey(
            "flowkit",
            results=False,
            utc=True,
            filename=str(path),
            fsync=False,
            timeout=ANSWER_SECONDS,
        )
    except sqlite3.Error as error:
        raise SettingsError(
            f"cannot open the queue {path}: {error}; it holds nothing that is not in the store "
            "and may be deleted"
        ) from error


def _redis(url: str) -> Huey:
    try:
        from redis import ConnectionPool
    except ImportError as error:
        raise SettingsError(
            "FLOWKIT_REDIS_URL is set, but the package redis is missing: "
            'pip install "flowkit[redis]"'
        ) from error
    try:
        pool = ConnectionPool.from_url(
            url, socket_timeout=ANSWER_SECONDS, socket_connect_timeout=ANSWER_SECONDS
        )
    except ValueError:  # which may quote a part of the password
        raise SettingsError(
            "FLOWKIT_REDIS_URL is malformed: write it as redis://:password@host:6379/0"
        ) from None
    return RedisHuey(
        "flowkit", results=False, utc=True, connection_pool=pool, read_timeout=READ_SECONDS
    )
