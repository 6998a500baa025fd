"""Who may come in: whoever presents the key, and anybody at the few addresses listed here.

Owns the guard in front of every route. May import Flask, `flowkit.problems` and `errors`.
"""

from __future__ import annotations

import hmac
from typing import NoReturn

from flask import Flask, request

from flowkit.errors import SettingsError
from flowkit.problems import Problem
from service.api.errors import Refused

OPEN = frozenset(
    {"Health.healthz", "Health.readyz", "docs.page", "docs.static", "api-docs.openapi_json"}
)
"""Endpoints that need no key. Every other address does, also those that do not exist."""

SCHEME = {
    "type": "http",
    "scheme": "bearer",
    "description": "The key of the installation: FLOWKIT_API_KEY, or the one made at first start.",
}
"""How the OpenAPI document describes it."""


def guard(app: Flask, key: str | None) -> None:
    """Let nobody in without `key`.

    Raises
    ------
    SettingsError
        When there is no key: the settings were not prepared.
    """
    if not key:
        raise SettingsError("there is no API key; set FLOWKIT_API_KEY")
    expected = key.encode()

    def check() -> None:
        if request.endpoint in OPEN:
            return
        scheme, _, presented = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            _turn_away(
                "auth.missing", "Send the key of the service as `Authorization: Bearer KEY`."
            )
        # Bytes, since compare_digest refuses text outside ASCII, and a header may hold any.
        if not hmac.compare_digest(presented.strip().encode("utf-8", "surrogatepass"), expected):
            _turn_away(
                "auth.wrong", "The key is not that of this service.", ', error="invalid_token"'
            )

    app.before_request(check)


def _turn_away(code: str, message: str, more: str = "") -> NoReturn:
    challenge = {"WWW-Authenticate": f'Bearer realm="flowkit"{more}'}
    raise Refused(401, [Problem(code, "", message)], challenge)
