"""What a node run keeps of what came of it: bounded JSON data, whatever a node or channel made.

Owns the limits of results and errors. May import `nodetype`, `errors`, `wire`.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from flowkit.errors import NodeFailed
from flowkit.nodetype import Outcome
from flowkit.wire import canonical

MESSAGE_KEPT = 2_000
"""Characters of an error's message that are kept."""


def kept(value: Any, most: int) -> dict[str, Any] | None:
    """Return the JSON object that is kept of `value`: its own copy, as any store gives it back.

    Raises
    ------
    NodeFailed
        When it is no object, no JSON data, or larger than `most` bytes.
    """
    if value is None:
        return None
    if not isinstance(value, dict):
        message = f"the result is no object but {type(value).__name__}"
        raise NodeFailed("result_invalid", message)
    try:
        text = canonical(value)
        size = len(text.encode())
        copy: dict[str, Any] = json.loads(text)
    except (TypeError, ValueError, RecursionError) as error:
        raise NodeFailed("result_invalid", f"the result is not JSON data: {error}") from error
    if size > most:
        message = f"the result has {size} bytes; at most {most} are kept"
        raise NodeFailed("result_too_large", message)
    return copy


def kept_of(outcome: Outcome, most: int) -> Outcome:
    """Return the outcome with data that can be kept: what happened is not undone by its size."""
    try:
        result = kept(outcome.result, most)
    except NodeFailed as failure:
        result = {"omitted": failure.message}
    try:
        error = kept(outcome.error, most)
    except NodeFailed as failure:
        error = error_of(failure)
    if error is None and outcome.status == "failed":
        error = error_of(NodeFailed("effect_failed", "the channel gave no reason"))
    return replace(outcome, result=result, error=error)


def error_of(failure: Exception) -> dict[str, Any]:
    """Return what a node run records of the exception that its node raised."""
    code = "node_error"
    try:
        message = f"{type(failure).__name__}: {failure}"
        if isinstance(failure, NodeFailed):
            code, message = str(failure.code), str(failure.message)
    except Exception:  # not even its text can be had
        message = type(failure).__name__
    return {"code": _readable(code), "message": _readable(message), "transient": False}


def _readable(text: str) -> str:
    """Return text that every store can keep."""
    return text[:MESSAGE_KEPT].encode(errors="replace").decode()
