"""Who may come in: whoever presents a key, and anybody at the few addresses listed here.

Owns the guard in front of every route. May import Flask, `flowkit`, `service.keys` and what is
beside it.
"""

from __future__ import annotations

import hmac
from datetime import datetime, timedelta
from typing import NoReturn

from flask import Flask, g, request

from flowkit.errors import SettingsError
from flowkit.problems import Problem
from service.api.errors import Refused
from service.api.installation import Installation, installation
from service.keys import FORM, digest_of

OPEN = frozenset(
    {"Health.healthz", "Health.readyz", "docs.page", "docs.static", "api-docs.openapi_json"}
)
"""Endpoints that need no key. Every other address does, also those that do not exist."""

SCHEME = {
    "type": "http",
    "scheme": "bearer",
    "description": "The key of the installation (FLOWKIT_API_KEY, or the one made at first "
    "start), or one made by `flowkit keys create`.",
}
"""How the OpenAPI document describes it."""
REMEMBERED = timedelta(seconds=3)
"""For how long a key that was found is taken without looking: how long a deleted one may live."""


def guard(app: Flask, key: str | None) -> None:
    """Let nobody in without `key`, or one that is stored.

    ``g.key_name`` is then the name of the stored key.

    Raises
    ------
    SettingsError
        When there is no key: the settings were not prepared.
    """
    if not key:
        raise SettingsError("there is no API key; set FLOWKIT_API_KEY")
    expected = key.encode()
    names = _Names()

    def check() -> None:
        if request.endpoint in OPEN:
            return
        scheme, _, presented = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            _turn_away(
                "auth.missing", "Send the key of the service as `Authorization: Bearer KEY`."
            )
        presented = presented.strip()
        # Bytes, since compare_digest refuses text outside ASCII, and a header may hold any.
        if hmac.compare_digest(presented.encode("utf-8", "surrogatepass"), expected):
            return
        g.key_name = names.of(presented, installation())
        if g.key_name is None:
            _turn_away(
                "auth.wrong", "The key is not one of this service.", ', error="invalid_token"'
            )

    app.before_request(check)


class _Names:
    """The names of stored keys, as they were found last: a webhook costs no further query.

    Only what was found is kept, so there are never more than there are keys.
    """

    def __init__(self) -> None:
        self._found: dict[str, tuple[str, datetime]] = {}

    def of(self, key: str, here: Installation) -> str | None:
        """Return the name of a key, or None when there is no such key."""
        if not FORM.fullmatch(key):
            return None
        digest, now = digest_of(key), here.clock.now()
        name, since = self._found.get(digest, (None, now))
        if name is not None and timedelta(0) <= now - since < REMEMBERED:
            return name
        found = here.store.find_api_key(digest)
        if found is None:
            self._found.pop(digest, None)
            return None
        self._found[digest] = (found.name, now)
        return found.name


def _turn_away(code: str, message: str, more: str = "") -> NoReturn:
    challenge = {"WWW-Authenticate": f'Bearer realm="flowkit"{more}'}
    raise Refused(401, [Problem(code, "", message)], challenge)
