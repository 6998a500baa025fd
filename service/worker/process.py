"""A worker process: store, doorbell, channels and a runner, wired together until told to stop.

May import everything of the service but Flask.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import secrets
import signal
import socket
import threading
from collections.abc import Callable, Iterator

from flowkit.clock import Clock
from flowkit.engine import Limits, Performance
from flowkit.nodetype import Outcome
from flowkit.sharing import KINDS
from flowkit.whatsapp import MESSAGE
from service.channels.http import HttpChannel
from service.channels.whatsapp.client import WhatsAppClient
from service.settings import Settings
from service.store.base import Store
from service.store.open import open_store
from service.worker.broadcasting import Broadcasting
from service.worker.clock import StoreClock, clock_of
from service.worker.flows import KINDS as FLOWS
from service.worker.flows import Flows
from service.worker.heartbeat import Heartbeat
from service.worker.holding import Holding
from service.worker.internal import Internal
from service.worker.kin import Kin
from service.worker.queue import Doorbell
from service.worker.retention import Retention
from service.worker.runner import STOP_SECONDS, Perform, Runner
from service.worker.sweep import Chore, Sweep

log = logging.getLogger(__name__)


@contextlib.contextmanager
def channels(settings: Settings) -> Iterator[Perform]:
    """Yield the function that performs effects through the channels that are set up."""
    with contextlib.ExitStack() as stack:
        whatsapp: WhatsAppClient | None = None
        if settings.whatsapp_token and settings.whatsapp_phone_number_id:
            whatsapp = WhatsAppClient(
                settings.whatsapp_base_url,
                settings.whatsapp_token,
                settings.whatsapp_phone_number_id,
                settings.whatsapp_api_version,
            )
            stack.callback(whatsapp.close)
        http = HttpChannel(allow_private=settings.http_allow_private)
        stack.callback(http.close)

        def perform(performance: Performance) -> Outcome:
            effect = performance.effect
            if effect.kind == "http.request":
                return http.perform(effect.request, performance.key, effect.timeout)
            if effect.kind != MESSAGE:
                return _refused("effect_unsupported", f"no channel performs {effect.kind!r}")
            if whatsapp is None:
                return _refused(
                    "whatsapp_not_configured",
                    "set FLOWKIT_WHATSAPP_TOKEN and FLOWKIT_WHATSAPP_PHONE_NUMBER_ID for the "
                    "workers, then retry",
                )
            return whatsapp.perform(effect.request, performance.key, effect.timeout)

        yield perform


def performing(
    store: Store, clock: Clock, limits: Limits, ring: Callable[[], None], outside: Perform
) -> Perform:
    """Return the function that performs every effect: in the store, or `outside` of it."""
    internal, flows = Internal(store, clock), Flows(store, clock, limits, ring)

    def perform(performance: Performance) -> Outcome:
        kind = performance.effect.kind
        if kind in FLOWS:
            return flows.perform(performance)
        return internal.perform(performance) if kind in KINDS else outside(performance)

    return perform


def _refused(code: str, message: str) -> Outcome:
    return Outcome("failed", error={"code": code, "message": message, "transient": False})


def check(settings: Settings) -> None:
    """Raise what would keep processes with these settings from starting.

    Raises
    ------
    SettingsError
        When queue, store or channel refuse them.
    StoreUnavailable
        When the store's server does not answer.
    """
    Doorbell(settings).close()
    with contextlib.closing(open_store(settings)), channels(settings):
        pass


def work(settings: Settings) -> None:
    """Run a worker until SIGINT or SIGTERM; must be called in the main thread."""
    stop = threading.Event()
    store = open_store(settings)
    doorbell = Doorbell(settings)
    heartbeat = Heartbeat(settings.data_dir)
    owner = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
    clock = clock_of(store)
    with contextlib.closing(store), channels(settings) as outside:
        limits = Limits(
            fork_queue=settings.fork_queue_limit,
            result_bytes=settings.result_limit_bytes,
            execution_bytes=settings.execution_limit_bytes,
        )
        runner = Runner(
            store,
            performing(store, clock, limits, doorbell.ring, outside),
            clock=clock,
            owner=owner,
            lease_seconds=settings.lease_seconds,
            sweep_seconds=settings.sweep_seconds,
            limits=limits,
            batch=settings.claim_batch,
            concurrency=settings.effect_concurrency,
            ring=doorbell.ring,
            beat=heartbeat.beat,
            clock_off=clock.off if isinstance(clock, StoreClock) else None,
        )

        chores: list[Chore] = [
            Holding(store, ring=doorbell.ring),
            Kin(store, doorbell.ring, limits),
            Broadcasting(store, doorbell.ring, limits),
            Retention(store, settings),
        ]
        sweep = Sweep(
            store,
            chores,
            clock=clock,
            owner=owner,
            lease_seconds=settings.lease_seconds,
            interval_seconds=settings.sweep_seconds,
        )
        sweeper = threading.Thread(target=sweep.run, args=(stop,), name="sweep", daemon=True)

        def end(signum: int, frame: object) -> None:
            stop.set()
            runner.stop()

        # What is made in a turn is gone after it, and hardly any of it is a cycle: to look for
        # some after every 700 objects, among all modules, takes a good part of the time.
        gc.freeze()
        gc.set_threshold(20_000)
        signal.signal(signal.SIGTERM, end)
        signal.signal(signal.SIGINT, end)
        listener = doorbell.listen(runner.wake, stop)
        sweeper.start()
        log.info("worker %d is ready", os.getpid())
        runner.run()
        stop.set()
        # A chore in the middle of much, such as the counting of a day, can be cut off like a worker
        # that is killed: it begins anew elsewhere.
        sweeper.join(timeout=STOP_SECONDS)
        listener.join(timeout=5)
        doorbell.close()
        heartbeat.end()
        log.info("worker %d ends after %d commits", os.getpid(), store.transactions)
