"""The doorbell: huey on SQLite or Redis, carrying nothing that matters.

Owns the wiring of huey and nothing else. A bell says "look for work"; it may be lost or rung
twice without harm, since the store holds all that is true. May import `service.settings` and
huey.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from huey import Huey, RedisHuey, SqliteHuey
from huey.consumer import Worker

from service.settings import Settings

log = logging.getLogger(__name__)

# A bell's way through SQLite is a matter of polling; these keep it near 10 ms and idle CPU low.
POLL_FIRST_SECONDS = 0.005
POLL_SLOWEST_SECONDS = 0.03
POLL_BACKOFF = 1.2


class Doorbell:
    """Rings for workers, and listens for them.

    Parameters
    ----------
    settings : Settings
        Prepared; `redis_url` chooses Redis.
    """

    def __init__(self, settings: Settings) -> None:
        options = {"name": "flowkit", "results": False, "utc": True}
        self._huey: Huey
        if settings.redis_url is not None:
            self._huey = RedisHuey(url=settings.redis_url, read_timeout=1, **options)
        else:
            # Losing a bell in a power cut costs one sweep, so nothing is forced to the disk.
            self._huey = SqliteHuey(
                filename=str(settings.data_dir / "queue.db"), fsync=False, **options
            )
        self._wake: Callable[[], None] = lambda: None
        self._bell = self._huey.task(name="bell")(lambda: self._wake())
        # huey tells of every task at INFO.
        logging.getLogger("huey").setLevel(logging.WARNING)

    def ring(self) -> None:
        """Wake a worker, unless a bell is on its way already; never raises."""
        try:
            if self._huey.pending_count() == 0:
                self._bell()
        except Exception as error:
            log.warning("no bell was rung (%s); workers will find the work by their sweep", error)

    def listen(self, wake: Callable[[], None], stop: threading.Event) -> threading.Thread:
        """Call `wake` for each bell, on a thread that ends when `stop` is set."""
        self._wake = wake
        worker = Worker(self._huey, stop, POLL_FIRST_SECONDS, POLL_SLOWEST_SECONDS, POLL_BACKOFF)

        def loop() -> None:
            while not stop.is_set():
                worker.loop()
            self._huey.storage.close()

        thread = threading.Thread(target=loop, name="doorbell", daemon=True)
        thread.start()
        return thread
