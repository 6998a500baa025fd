"""The docs page: the OpenAPI document, rendered by a script that this package carries.

Nothing on the page comes from elsewhere, and its content security policy sees to it.
"""

from __future__ import annotations

from flask import Blueprint, Response

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "connect-src 'self'; img-src 'self' data:; font-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

blp = Blueprint(
    "docs",
    __name__,
    url_prefix="/api",
    static_folder="static",
    static_url_path="/docs",
)


@blp.get("/docs")
def page() -> Response:
    """Return the page."""
    answer = blp.send_static_file("docs.html")
    answer.headers["Content-Security-Policy"] = POLICY
    return answer
