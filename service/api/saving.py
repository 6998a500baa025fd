"""How a change of a flow is stored: at the revision that the client meant, one change at a time.

Owns the loop around `publishing`'s rule, `ETag` and `If-Match`, and who publishes with what
message. May import `flowkit`, Flask, marshmallow and what is beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import marshmallow as ma
from flask import g, request

from flowkit.errors import Conflict
from flowkit.flow import Flow
from flowkit.problems import Problem
from service.api import publishing
from service.api.errors import Refused
from service.api.installation import Installation
from service.api.publishing import Saved
from service.schemas import WireSchema

ATTEMPTS = 10
"""How often a change is made anew when the flow changes at the same time."""
FIRST_REVISION = 1
ETAG = {"ETag": {"description": "Its revision, for `If-Match`.", "schema": {"type": "string"}}}
"""How the OpenAPI document describes the header."""


def _text(longest: int, description: str) -> ma.fields.String:
    return ma.fields.String(
        validate=[
            ma.validate.Length(1, longest),
            ma.validate.ContainsNoneOf("\0", error="NUL cannot be stored."),
        ],
        metadata={"description": description},
    )


class Publication(WireSchema):
    """Who publishes a version, and why."""

    author = _text(200, "Who publishes; the name of the API key when absent.")
    message = _text(2000, "What changes with the version, kept with it.")


class Condition(WireSchema):
    """At which revision a flow is to be changed."""

    if_match = ma.fields.String(
        data_key="If-Match",
        metadata={
            "description": "The ETag of the flow as you know it: 412 when it has changed since. "
            "`*`, or nothing, for whatever is stored."
        },
    )


def etag(revision: int) -> dict[str, str]:
    """Return the header that names a revision."""
    return {"ETag": f'"{revision}"'}


def answer(saved: Saved, revision: int) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the body and the headers of the answer to a change."""
    return saved.flow.to_dict() | {"problems": saved.problems}, etag(revision)


def conditional() -> bool:
    """Whether the request says which revision it means."""
    return "If-Match" in request.headers and not request.if_match.star_tag


def require_match(flow_id: str, revision: int) -> None:
    """Refuse the request with 412 when it was made for another revision than this one."""
    # A proxy that compresses answers weakens their tags; a revision is the same in any coding.
    if conditional() and not request.if_match.contains_weak(str(revision)):
        message = f"Flow {flow_id} has changed meanwhile; load it, and make your change again."
        raise Refused(412, [Problem("flow.changed", "", message)], etag(revision))


def authorship(publication: dict[str, Any]) -> dict[str, Any]:
    """Return author and message as the store takes them."""
    return {
        "author": publication.get("author") or g.get("key_name"),
        "message": publication.get("message"),
    }


def save(
    here: Installation,
    flow_id: str,
    change: Callable[[Flow], Any],
    publication: dict[str, Any],
    *,
    publish: bool = False,
) -> tuple[Saved, int]:
    """Store what `change` makes of a flow, making it anew when the flow changes meanwhile.

    Parameters
    ----------
    here : Installation
        Where.
    flow_id : str
        Of the flow.
    change : callable
        Returns the document to store for the flow that is stored.
    publication : dict
        What `Publication` has read.
    publish : bool
        Whether the content becomes a version in any case.

    Returns
    -------
    tuple of (Saved, int)
        What was stored, and its revision.

    Raises
    ------
    NotFound, Conflict, Invalid
        There is no such flow, it keeps changing, or it cannot be stored like that.
    Refused
        412 when the request was made for another revision.
    """
    for _ in range(ATTEMPTS):
        before, revision = here.store.get_flow(flow_id)
        require_match(flow_id, revision)
        last = here.store.get_version(flow_id, before.version) if before.version else None
        saved = publishing.save(
            change(before),
            flow_id,
            before=before,
            published=last,
            known=here.has_version,
            now=here.clock.now(),
            publish=publish,
        )
        try:
            here.store.replace_flow(
                saved.flow,
                revision=revision,
                publish=saved.publish,
                **authorship(publication),
            )
        except Conflict:
            continue
        return saved, revision + 1
    raise Conflict(f"flow {flow_id} keeps changing; try again")
