"""Serves the API, and the WhatsApp simulator, by granian.

Owns the choice and the set-up of the WSGI server. May import `service.app`, stores by
`service.store.open`, and the doorbell.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import threading
import time
from typing import TYPE_CHECKING

from granian import Granian
from granian.constants import Interfaces
from granian.log import LogLevels

from flowkit.errors import SettingsError
from service.settings import Settings

if TYPE_CHECKING:
    from flask import Flask

THREADS = 8
"""Requests at once; `?wait=true` holds one for at most ten seconds."""
DRAIN_SECONDS = 15
"""How long requests under way may take to end when the server stops."""


def serve_api(settings: Settings, host: str, port: int) -> None:
    """Serve the API until SIGINT or SIGTERM; `settings` are prepared, the address is free."""
    # granian's worker is a process of its own, which reads the settings from its environment.
    os.environ.update(settings.to_environment())
    _serve("service.server:api", host, port)


def serve_simulator(token: str, host: str, port: int) -> None:
    """Serve the WhatsApp simulator until SIGINT or SIGTERM; the address is free."""
    os.environ["FLOWKIT_WHATSAPP_TOKEN"] = token
    _serve("service.server:simulator", host, port)


def api() -> Flask:
    """Return the API as a WSGI application, from the environment's settings."""
    from service.app import create_app
    from service.store.open import open_store
    from service.worker.queue import Doorbell

    _end_with_server()
    settings = Settings.from_environment().prepared()
    doorbell = Doorbell(settings)
    return create_app(settings, open_store(settings), ring=doorbell.ring, queue=doorbell.ping)


def simulator() -> Flask:
    """Return the simulator as a WSGI application."""
    from service.channels.whatsapp.simulator import create_simulator

    _end_with_server()
    return create_simulator(os.environ["FLOWKIT_WHATSAPP_TOKEN"])


def _serve(target: str, host: str, port: int) -> None:
    Granian(
        target,
        address=host,
        port=port,
        interface=Interfaces.WSGI,
        factory=True,
        workers=1,
        workers_kill_timeout=DRAIN_SECONDS,
        blocking_threads=THREADS,
        websockets=False,
        log_level=LogLevels.error,
    ).serve()


def _end_with_server() -> None:
    """End granian's worker, in which this runs, when the process that started it is killed.

    Else it would go on serving, and hold the port.
    """
    server = multiprocessing.parent_process()
    if server is None:
        return

    def wait() -> None:
        server.join()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(DRAIN_SECONDS)
        os._exit(1)

    threading.Thread(target=wait, name="server", daemon=True).start()


def must_be_free(host: str, port: int) -> None:
    """Refuse an address that cannot be bound, before a server says so in its own words."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise SettingsError(
            f"cannot listen on {host}:{port}: {error.strerror}; choose another --host or --port"
        ) from error


def free_port(host: str = "127.0.0.1") -> int:
    """Return a port that is free now."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
