"""The application factory of the HTTP API.

May import `flowkit`, `service.api`, `service.settings`, `service.schemas` and the contract of the
store, never a concrete one: the caller passes the store in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Flask, request
from werkzeug.exceptions import RequestEntityTooLarge

from flowkit.clock import Clock, SystemClock
from service.api import auth, docs, executions, flows, health, nodetypes, triggers
from service.api.errors import FlowkitApi
from service.api.installation import Installation
from service.schemas import SchemaPlugin
from service.settings import Settings
from service.store.base import Store

API_VERSION = "1"
BLUEPRINTS = (triggers.blp, flows.blp, executions.blp, nodetypes.blp, health.blp)


def create_app(
    settings: Settings,
    store: Store,
    *,
    clock: Clock = SystemClock(),  # noqa: B008 - stateless
    ring: Callable[[], None] = lambda: None,
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
    """
    app = Flask("service", static_folder=None)
    app.config.update(
        MAX_CONTENT_LENGTH=settings.body_limit_bytes,
        API_TITLE="flowkit",
        API_VERSION=API_VERSION,
        OPENAPI_VERSION="3.1.0",
        OPENAPI_URL_PREFIX="/api",
        OPENAPI_JSON_PATH="openapi.json",
    )
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.url_map.merge_slashes = False
    app.extensions["flowkit"] = Installation(settings, store, clock, ring)
    auth.guard(app, settings.api_key)
    app.before_request(_limit_body)
    api = FlowkitApi(app, spec_kwargs=_spec_options())
    for blueprint in BLUEPRINTS:
        api.register_blueprint(blueprint)
    app.register_blueprint(docs.blp)
    _finish(api)
    return app


def _limit_body() -> None:
    """Refuse a body that is too large also where nobody would read it."""
    if (request.content_length or 0) > (request.max_content_length or 0):
        raise RequestEntityTooLarge


def _spec_options() -> dict[str, Any]:
    return {
        "marshmallow_plugin": SchemaPlugin(),
        "info": {
            "description": "Flows, what triggers them and what they did. Errors are "
            "`{code, status, problems}` with the same problems as the validator gives."
        },
        "security": [{"key": []}],
    }


def _finish(api: FlowkitApi) -> None:
    """Add to the document what holds for every operation."""
    api.spec.components.security_scheme("key", auth.SCHEME)
