"""Which key stands for which event, so that one that is delivered twice starts its flows once.

Owns the derivations and nothing else: what is read from headers and payloads is told, as is the
time. May import `flowkit` and `service.store.base`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from flowkit.errors import Invalid, NodeFailed
from flowkit.execution import new_id
from flowkit.expression import search
from flowkit.flow import Flow
from flowkit.problems import Problem
from flowkit.wire import canonical
from service.store.base import TriggerKey

HEADER = "Idempotency-Key"
_FORM = re.compile(r"[!-~]{1,255}")


def check_header(key: str) -> None:
    """Raise `Invalid` unless a header's key is 1 to 255 visible ASCII characters."""
    if not _FORM.fullmatch(key):
        message = f"{HEADER} is 1 to 255 visible ASCII characters, without spaces."
        raise Invalid([Problem("trigger.key_invalid", f"/{HEADER}", message)])


def header_key(
    key: str,
    trigger_type: str,
    payload: Any,
    versions: Sequence[tuple[str, int]],
    *,
    now: datetime,
) -> TriggerKey:
    """Return what to pin for a header's key, which stands for one payload of a trigger type."""
    return TriggerKey(
        id=_digest("header", trigger_type, key),
        digest=_digest(payload),
        seed=new_id(now),
        versions=tuple(versions),
        created_at=now,
    )


def payload_key(flow: Flow, payload: Any, *, now: datetime) -> TriggerKey | None:
    """Return what to pin for the event's own id, or None when `flow` or `payload` names none.

    The id stands for the event, whatever else the payload says.

    Raises
    ------
    Invalid
        When the mapping cannot be applied, or finds something else than text or a whole number.
    """
    trigger: Any = flow.behaviour(flow.start)
    if trigger.idempotency_key is None:
        return None
    try:
        found = search(trigger.idempotency_key, payload)
    except NodeFailed as failure:
        raise _refusal(flow, failure.code, failure.message) from failure
    if found is None:
        return None
    if not isinstance(found, (str, int)) or isinstance(found, bool) or found == "":
        message = f"the mapping {trigger.idempotency_key!r} finds neither text nor a whole number"
        raise _refusal(flow, "trigger.key_unusable", message)
    return TriggerKey(
        id=_digest("payload", flow.id, found),
        digest="",
        seed=new_id(now),
        versions=((flow.id or "", flow.version),),
        created_at=now,
    )


def require_same(key: TriggerKey, pinned: TriggerKey) -> None:
    """Raise `Invalid` when a key was used before, with another body."""
    if key.digest != pinned.digest:
        message = f"This {HEADER} came with another body before; a new event needs a new key."
        raise Invalid([Problem("trigger.key_reused", f"/{HEADER}", message)])


def _digest(*parts: Any) -> str:
    return hashlib.sha256(canonical(parts).encode()).hexdigest()


def _refusal(flow: Flow, code: str, message: str) -> Invalid:
    told = f"flow {flow.id} ({flow.name}) was not started: {message}"
    return Invalid([Problem(code, "", told)])
