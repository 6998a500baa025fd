"""Whether the process lives, and whether it can work. Open to anybody."""

from __future__ import annotations

import logging

import marshmallow as ma

from flowkit.problems import Problem
from service.api.body import Blueprint
from service.api.errors import Refused
from service.api.installation import installation
from service.schemas import WireSchema

log = logging.getLogger(__name__)

blp = Blueprint("Health", __name__, description="For load balancers and supervisors.")


class HealthSchema(WireSchema):
    """What a process says of itself."""

    status = ma.fields.String(required=True, validate=ma.validate.Equal("ok"))


@blp.route("/healthz")
@blp.doc(security=[])
@blp.response(200, HealthSchema)
def healthz() -> dict[str, str]:
    """Tell that the process lives."""
    return {"status": "ok"}


@blp.route("/readyz")
@blp.doc(security=[])
@blp.response(200, HealthSchema)
@blp.alt_response(503, "SERVICE_UNAVAILABLE")
def readyz() -> dict[str, str]:
    """Tell whether the store can be read; 503 when it cannot."""
    try:
        installation().store.ping()
    except Exception as error:
        log.warning("the store cannot be read: %s", error)
        message = "The store cannot be read; the service's log says why."
        raise Refused(503, [Problem("store.unavailable", "", message)]) from error
    return {"status": "ok"}
