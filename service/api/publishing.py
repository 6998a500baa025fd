"""The rule by which a flow is saved: what the service sets, when it may be active, its version.

Pure: told what is stored and the time, it returns what to store. May import `flowkit` only.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flowkit.errors import Invalid
from flowkit.execution import new_id
from flowkit.flow import Flow
from flowkit.problems import Problem, errors, pointer
from flowkit.validate.calls import unknown_versions
from flowkit.wire import iso

OURS = frozenset({"id", "version", "createdAt", "updatedAt", "problems"})
"""Keys of a flow document that are the service's: what a client sends there is ignored."""
PATCHABLE = frozenset({"name", "triggerType", "isActive", "isPaused", "nodes", "edges", "settings"})
FLOW_ID = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
RESERVED_IDS = frozenset({"trigger"})
"""Ids under which a flow could not be reached, since the path means something else."""


@dataclass(frozen=True, slots=True)
class Saved:
    """A flow to store, whether its content becomes a version, and the validator's findings."""

    flow: Flow
    publish: bool
    problems: list[Problem]


def save(
    document: Any,
    flow_id: str,
    *,
    before: Flow | None,
    published: Flow | None,
    known: Callable[[str, int], bool],
    now: datetime,
    publish: bool = False,
) -> Saved:
    """Return what to store for a document.

    Saving an active flow publishes its content as the next version, unless the last version has
    that content. Saving an inactive one publishes nothing, and it may have errors. Whether it is
    paused is no content, and stays as it is unless the document says so.

    Parameters
    ----------
    document : JSON data
        As a client sends it.
    flow_id : str
        Under which it is stored.
    before : Flow, optional
        What is stored under that id now.
    published : Flow, optional
        Snapshot of the last version, if there is one.
    known : callable
        Whether a flow has a published version of that number.
    now : datetime
        The time of the request.
    publish : bool
        Whether the content is to become a version in any case.

    Raises
    ------
    Invalid
        When the document can be no flow, or asks to be active or published with errors in it.
    """
    require_object(document)
    version = before.version if before is not None else 0
    paused = before is not None and before.is_paused
    created_at = (before.created_at if before is not None else None) or now
    flow = Flow.from_dict(
        {key: value for key, value in document.items() if key not in OURS}
        | {
            "id": flow_id,
            "isActive": False if document.get("isActive") is None else document["isActive"],
            "isPaused": paused if document.get("isPaused") is None else document["isPaused"],
            "version": version,
            "createdAt": iso(created_at),
            "updatedAt": iso(now),
        }
    )
    problems = flow.validate() + unknown_versions(flow, known)
    if not flow.is_active and not publish:
        return Saved(flow, False, problems)
    if errors(problems):
        raise Invalid(problems)
    if not publish and published is not None and published.content() == flow.content():
        return Saved(flow, False, problems)
    return Saved(flow.replace(version=version + 1), True, problems)


def new_flow_id(document: Any, now: datetime) -> str:
    """Return the id of a new flow: the one that its document names, else a fresh one.

    Raises
    ------
    Invalid
        When the document names one that cannot be used.
    """
    require_object(document)
    wanted = document.get("id")
    if wanted is None:
        return new_id(now)
    if not isinstance(wanted, str) or not FLOW_ID.fullmatch(wanted) or wanted in RESERVED_IDS:
        message = "A flow's id is 1 to 64 of A-Z a-z 0-9 _ - (not `trigger`); or leave it out."
        raise Invalid([Problem("flow.id", "/id", message)])
    return wanted


def require_same_id(document: Any, flow_id: str) -> None:
    """Raise `Invalid` when a document names another flow than the address does."""
    require_object(document)
    if document.get("id") not in (None, flow_id):
        message = f"The address names flow {flow_id}; leave the id out of the body or correct it."
        raise Invalid([Problem("flow.id", "/id", message)])


def require_patch(document: Any) -> None:
    """Raise `Invalid` when a document changes what PATCH cannot change."""
    require_object(document)
    wrong = [key for key in document if key not in PATCHABLE | OURS]
    if wrong:
        known = ", ".join(sorted(PATCHABLE))
        message = f"PATCH knows {known}; use PUT to store other keys."
        raise Invalid([Problem("flow.unknown_field", pointer(key), message) for key in wrong])


def require_object(document: Any) -> None:
    """Raise `Invalid` when a document is no JSON object."""
    if not isinstance(document, dict):
        message = "Send the flow as a JSON object with `nodes` and `edges`."
        raise Invalid([Problem("document.type", "", message)])
