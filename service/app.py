"""The application factory of the HTTP API.

May import `flowkit`, `service.api`, `service.settings`, `service.schemas` and the contract of the
store, never a concrete one: the caller passes the store in.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from flask import Flask, request
from werkzeug.exceptions import RequestEntityTooLarge

from flowkit.clock import Clock, SystemClock
from service.api import (
    auth,
    broadcasts,
    contacts,
    docs,
    executions,
    flows,
    health,
    metrics,
    nodetypes,
    openapi,
    retries,
    triggers,
    versions,
)
from service.api.errors import FlowkitApi
from service.api.installation import Installation
from service.api.lines import is_streamed
from service.settings import Settings
from service.store.base import Store

BLUEPRINTS = (
    triggers.blp,
    flows.blp,
    versions.blp,
    broadcasts.blp,
    executions.blp,
    retries.blp,
    contacts.blp,
    metrics.blp,
    nodetypes.blp,
    health.blp,
    metrics.scrape,
)


def create_app(
    settings: Settings,
    store: Store,
    *,
    clock: Clock = SystemClock(),  # noqa: B008 - stateless
    ring: Callable[[], None] = lambda: None,
    queue: Callable[[], None] = lambda: None,
) -> Flask:
    """Return the WSGI application of the API.

    Parameters
    ----------
    settings : Settings
        Prepared: they have a key.
    store : Store
        Where flows and executions are; the caller closes it.
    clock : Clock
        The time that is recorded.
    ring : callable
        Wakes a worker. The API itself never executes anything.
    queue : callable
        Raises when the way to the workers is broken.
    """
    app = Flask("service", static_folder=None)
    app.config.update(openapi.CONFIG, MAX_CONTENT_LENGTH=settings.body_limit_bytes)
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.url_map.merge_slashes = False
    app.extensions["flowkit"] = Installation(settings, store, clock, ring, queue)
    auth.guard(app, settings.api_key)
    app.before_request(_limit_body)
    api = FlowkitApi(app, spec_kwargs=openapi.spec_options())
    for blueprint in BLUEPRINTS:
        api.register_blueprint(blueprint)
    app.register_blueprint(docs.blp)
    return app


def _limit_body() -> None:
    """Refuse a body that is too large also where nobody would read it."""
    if is_streamed():
        request.max_content_length = sys.maxsize  # None would be that of the application
    elif (request.content_length or 0) > (request.max_content_length or 0):
        raise RequestEntityTooLarge
