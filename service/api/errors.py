"""Error answers: one body for all of them, made here.

``{"code": 404, "status": "Not Found", "problems": [{code, path, message, severity}]}``.
Owns the mapping of exceptions to statuses. May import `flowkit`, Flask, flask-smorest, werkzeug.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flask import Response, current_app, jsonify, request
from flask_smorest import Api
from werkzeug.exceptions import HTTPException

from flowkit.errors import Conflict, FlowkitError, Invalid, NotFound, StoreUnavailable
from flowkit.problems import Problem
from service.schemas import schema_for

log = logging.getLogger(__name__)

STATUSES: dict[type[FlowkitError], int] = {
    NotFound: 404,
    Conflict: 409,
    Invalid: 422,
    StoreUnavailable: 503,
}
"""What each exception of flowkit means over HTTP; any other is a fault of the service."""

STORE_UNAVAILABLE = Problem(
    StoreUnavailable.code, "", "The store does not answer; the service's log says why."
)


@dataclass(frozen=True, slots=True)
class Error:
    """The body of every error answer."""

    code: int
    status: str
    problems: list[Problem]


class Refused(HTTPException):
    """A request that cannot be served, with the reasons.

    Parameters
    ----------
    code : int
        HTTP status.
    problems : sequence of Problem
        Why, and what to do about it.
    headers : mapping, optional
        Headers of the answer.
    """

    def __init__(
        self, code: int, problems: Sequence[Problem], headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__()
        self.code = code
        self.problems = problems
        self.headers = dict(headers or {})

    def get_headers(self, environ: Any = None, scope: Any = None) -> list[tuple[str, str]]:
        """Return the headers of the answer."""
        return list(self.headers.items())


class FlowkitApi(Api):
    """flask-smorest's Api with this service's error body."""

    ERROR_SCHEMA = schema_for(Error)

    def _register_error_handlers(self) -> None:
        super()._register_error_handlers()
        for kind in STATUSES:
            self._app.register_error_handler(kind, self._handle_flowkit_error)

    def _register_etag_headers(self) -> None:
        """Keep what this service does not use out of the document."""

    _register_pagination_header = _register_etag_headers

    def handle_http_exception(self, error: HTTPException) -> Response:
        """Answer an error that is one of HTTP: raised here, by Flask, or made of a crash."""
        problems = getattr(error, "problems", None) or [_problem_of(error)]
        answer = _answer(error.code or 500, error.name, problems)
        for name, value in error.get_headers():
            if name.lower() not in ("content-type", "content-length"):
                answer.headers[name] = value
        return answer

    def _handle_flowkit_error(self, error: FlowkitError) -> Response:
        status = next(code for kind, code in STATUSES.items() if isinstance(error, kind))
        if isinstance(error, StoreUnavailable):
            log.warning("%s", error)  # its address is nothing to a client
        return self.handle_http_exception(Refused(status, problems_of(error)))


def problems_of(error: FlowkitError) -> list[Problem]:
    """Return what is wrong according to an exception of flowkit."""
    if isinstance(error, StoreUnavailable):
        return [STORE_UNAVAILABLE]
    return error.problems if isinstance(error, Invalid) else [Problem(error.code, "", str(error))]


def _answer(code: int, status: str, problems: Sequence[Problem]) -> Response:
    answer = jsonify(
        {"code": code, "status": status, "problems": [problem.to_dict() for problem in problems]}
    )
    answer.status_code = code
    return answer


def _problem_of(error: HTTPException) -> Problem:
    """Return what to say of an error that Flask or werkzeug raised."""
    code = error.code or 500
    if code == 404:
        message = f"There is nothing at {request.path}; /api/docs lists what there is."
    elif code == 405:
        message = f"{request.method} is not possible at {request.path}."
    elif code == 413:
        limit = current_app.config["MAX_CONTENT_LENGTH"]
        message = f"The body is larger than FLOWKIT_BODY_LIMIT_BYTES ({limit})."
    elif code >= 500:
        # Whatever it was is in the log; a client learns nothing about the inside.
        message = "The service failed at this request; its log says why."
    else:
        message = error.description or error.name
    return Problem(f"http.{error.name.lower().replace(' ', '_')}", "", message)
