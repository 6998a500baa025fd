"""Whether the process lives, and whether it can work. Open to anybody."""

from __future__ import annotations

import logging
from typing import Any

import marshmallow as ma

from flowkit.problems import Problem
from service.api.body import Blueprint
from service.api.errors import STORE_UNAVAILABLE, Refused
from service.api.installation import installation
from service.schemas import WireSchema, schema_for

log = logging.getLogger(__name__)

blp = Blueprint("Health", __name__, description="For load balancers and supervisors.")


class HealthSchema(WireSchema):
    """What a process says of itself."""

    status = ma.fields.String(required=True, validate=ma.validate.Equal("ok"))


class ReadinessSchema(WireSchema):
    """Whether a process can do its work; degraded when it can, but not as it should."""

    status = ma.fields.String(required=True, validate=ma.validate.OneOf(["ok", "degraded"]))
    problems = ma.fields.List(ma.fields.Nested(schema_for(Problem)))


@blp.route("/healthz")
@blp.doc(security=[])
@blp.response(200, HealthSchema)
def healthz() -> dict[str, str]:
    """Tell that the process lives."""
    return {"status": "ok"}


@blp.route("/readyz")
@blp.doc(security=[])
@blp.response(200, ReadinessSchema)
@blp.alt_response(503, "SERVICE_UNAVAILABLE")
def readyz() -> dict[str, Any]:
    """Tell whether store and queue can be reached.

    503 when the store cannot: nothing is accepted. Without the queue the service is degraded:
    triggers are accepted, and workers find them by their sweep.
    """
    try:
        installation().store.ping()
    except Exception as error:
        log.warning("the store cannot be read: %s", error)
        raise Refused(503, [STORE_UNAVAILABLE]) from error
    try:
        installation().queue()
    except Exception as error:
        log.warning("the queue cannot be reached: %s", error)
        message = "The queue does not answer: work waits for the sweep of the workers."
        problem = Problem("queue.unavailable", "", message, "warning")
        return {"status": "degraded", "problems": [problem]}
    return {"status": "ok"}
