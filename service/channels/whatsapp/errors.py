"""The Graph API's error codes, each declared once: what it means and what to do about it.

The client reads the class and the advice, the simulator the title and the HTTP status.
Meta asks integrators to decide by code, never by title or HTTP status; so does the client.
Imports the standard library only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ErrorClass = Literal["transient", "permanent", "account", "user"]
"""What a failed send says about the next one.

``transient``: the same request may succeed later. ``permanent``: this message never will.
``account``: no message will until somebody repairs the account. ``user``: this contact must
not be written to, or not now.
"""

MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0


@dataclass(frozen=True, slots=True)
class GraphError:
    """One error code of the Graph API.

    Parameters
    ----------
    code : int
        Number in the body's ``error.code``.
    error_class : {"transient", "permanent", "account", "user"}
        What the code says about the next attempt.
    title : str
        What went wrong, in a few words.
    advice : str
        What to do about it.
    retry_after : float or None
        Seconds before which another attempt is useless or harmful; None when waiting alone
        changes nothing or no number is known.
    http_status : int
        Status that usually carries the code; only the simulator relies on it.
    """

    code: int
    error_class: ErrorClass
    title: str
    advice: str
    retry_after: float | None = None
    http_status: int = 400

    @property
    def transient(self) -> bool:
        """Whether the same request may succeed later."""
        return self.error_class == "transient"


_BACK_OFF = "Retry with growing pauses."
_TOKEN = "Stop sending and renew the access token or its permissions."
_REPAIR = "Stop sending; somebody must put the account in order."
_FIX = "Correct the request; the details say what is wrong."
_FIX_TEMPLATE = "Compare the template's parameters with its definition and correct them."

GRAPH_ERRORS: dict[int, GraphError] = {
    error.code: error
    for error in (
        GraphError(0, "account", "Authentication failed", _TOKEN, None, 401),
        GraphError(1, "transient", "Unknown error", "Retry once; then check the request.", 5),
        GraphError(2, "transient", "Service temporarily unavailable", _BACK_OFF, 1, 503),
        GraphError(3, "account", "Capability or permission missing", _TOKEN, None, 500),
        GraphError(4, "transient", "App call rate reached", "Retry in minutes.", 5 * MINUTE),
        GraphError(10, "account", "Permission denied", _TOKEN, None, 403),
        GraphError(33, "account", "Business phone number deleted", _REPAIR),
        GraphError(100, "permanent", "Invalid parameter", _FIX),
        GraphError(190, "account", "Access token expired or invalid", _TOKEN, None, 401),
        GraphError(368, "account", "Blocked for policy violations", _REPAIR, None, 403),
        GraphError(80007, "transient", "Account rate limit", "Retry in minutes.", 5 * MINUTE),
        GraphError(130403, "user", "Contact blocked by the business", "Do not retry."),
        GraphError(130429, "transient", "Rate limit hit", "Send more slowly overall.", 5),
        GraphError(130472, "permanent", "Contact is part of an experiment", "Use another channel."),
        GraphError(
            130497,
            "permanent",
            "Business may not message this country",
            "Leave this country out.",
            None,
            403,
        ),
        GraphError(
            131000, "transient", "Something went wrong", "Retry at most three times.", 5, 500
        ),
        GraphError(131005, "account", "Access denied", _TOKEN, None, 403),
        GraphError(131008, "permanent", "Required parameter is missing", _FIX),
        GraphError(131009, "permanent", "Parameter value is not valid", _FIX),
        GraphError(131016, "transient", "Service unavailable", _BACK_OFF, 5, 500),
        GraphError(131021, "permanent", "Recipient is the sender", "Use another number."),
        GraphError(
            131026,
            "permanent",
            "Message undeliverable",
            "The number may not be on WhatsApp; mark it bad when this repeats.",
        ),
        GraphError(
            131030, "permanent", "Recipient not in allowed list", "Add it to the test numbers."
        ),
        GraphError(131031, "account", "Business account locked", _REPAIR, None, 403),
        GraphError(131037, "account", "Display name not approved", _REPAIR),
        GraphError(131042, "account", "Payment issue", _REPAIR),
        GraphError(131045, "account", "Sender number badly registered", _REPAIR, None, 500),
        GraphError(
            131047, "permanent", "24 hours since the last reply", "Send a template instead."
        ),
        GraphError(
            131048,
            "account",
            "Spam rate limit hit",
            "Stop marketing on this number for hours or days and check its quality.",
        ),
        GraphError(
            131049,
            "user",
            "Not delivered to keep engagement healthy",
            "Wait at least 24 hours; earlier attempts lengthen the block.",
            DAY,
        ),
        GraphError(
            131050, "user", "Contact stopped marketing messages", "Send no marketing again."
        ),
        GraphError(131051, "permanent", "Unsupported message type", _FIX),
        GraphError(131053, "permanent", "Media upload error", "Check media type and size."),
        GraphError(
            131056,
            "transient",
            "Too many messages to this contact",
            "Wait 4^n seconds before attempt n; other contacts are not affected.",
            4,
        ),
        GraphError(
            131057, "transient", "Account in maintenance", "Retry in a minute.", MINUTE, 500
        ),
        GraphError(131062, "permanent", "User id not allowed here", "Send to the phone number."),
        GraphError(131063, "account", "Marketing switched off on the Cloud API", _REPAIR),
        GraphError(131064, "account", "Limited for misclassified templates", _REPAIR),
        GraphError(132000, "permanent", "Template parameter count mismatch", _FIX_TEMPLATE),
        GraphError(
            132001,
            "permanent",
            "Template does not exist in this language",
            "Check its name, language and approval.",
            None,
            404,
        ),
        GraphError(132005, "permanent", "Template text too long", "Shorten the parameters."),
        GraphError(132007, "permanent", "Template breaks content policy", "Edit the template."),
        GraphError(132008, "permanent", "Template parameter value invalid", _FIX_TEMPLATE),
        GraphError(132012, "permanent", "Template parameter format mismatch", _FIX_TEMPLATE),
        GraphError(
            132015, "permanent", "Template is paused", "Hold its messages until it is resumed."
        ),
        GraphError(132016, "permanent", "Template is disabled", "Use another template."),
        GraphError(
            132018,
            "permanent",
            "Template parameter text invalid",
            "Remove line breaks, tabs and runs of more than four spaces.",
        ),
        GraphError(132068, "permanent", "Flow is blocked", "Repair the WhatsApp Flow."),
        GraphError(132069, "transient", "Flow is throttled", "Retry in an hour.", HOUR),
        GraphError(133004, "transient", "Server temporarily unavailable", _BACK_OFF, MINUTE, 503),
        GraphError(
            133010, "account", "Business phone number not registered", "Register the number."
        ),
        GraphError(
            133015, "transient", "Number is being deleted", "Retry in 5 minutes.", 5 * MINUTE
        ),
        GraphError(133016, "account", "Too many registration attempts", _REPAIR),
        GraphError(134011, "account", "Payments terms not accepted", _REPAIR),
        GraphError(135000, "permanent", "Generic user error", _FIX),
        GraphError(137000, "permanent", "Contact's identity key changed", "Confirm the contact."),
    )
}
"""Every code that a send may answer with, by number."""


def graph_error(code: int, *, says_transient: bool = False) -> GraphError:
    """Return what is known about `code`.

    Parameters
    ----------
    code : int
        Number in the body's ``error.code``.
    says_transient : bool
        The body's ``error.is_transient``; believed only for codes that are not in the table.

    Returns
    -------
    GraphError
        The table's entry. Codes 200 to 299 are permissions; any other stranger is permanent
        unless the answer itself says otherwise, since resending what is not understood is how
        contacts get a message twice.
    """
    known = GRAPH_ERRORS.get(code)
    if known is not None:
        return known
    if 200 <= code <= 299:
        return GraphError(code, "account", "Permission missing", _TOKEN, None, 403)
    if says_transient:
        return GraphError(code, "transient", "Temporary error", _BACK_OFF, 5)
    return GraphError(code, "permanent", "Unlisted error", "Look the code up in Meta's list.")
