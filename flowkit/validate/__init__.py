"""What is wrong with a flow, and what to do about it.

`validate` takes any JSON document and never raises; each rule is a small function from a
`Subject` to problems. Everything is loaded when it is first asked for, for whoever imports
flowkit imports this. Imports `flow`, `errors`, `problems` and its own modules.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flowkit.problems import Problem
    from flowkit.validate.rules import FINDINGS as FINDINGS
    from flowkit.validate.rules import RULES as RULES
    from flowkit.validate.rules import UNDECIDED as UNDECIDED
    from flowkit.validate.rules import check_flow as check_flow
    from flowkit.validate.rules import read_templates as read_templates


def validate(document: Any, *, templates: Any = None) -> list[Problem]:
    """Return what is wrong with a flow document, errors and warnings.

    Parameters
    ----------
    document : JSON data
        Anything; what is no flow gives problems too.
    templates : list, dict, str or path, optional
        The account's message templates as the Cloud API lists them, or the JSON file with them.
        Only with these can be told what is wrong with templates, and with marketing.

    Returns
    -------
    list of Problem
        Empty when the flow can be activated without a remark. Paths are JSON pointers into
        `document`. All that it can say is in `FINDINGS`.

    Raises
    ------
    Invalid
        When `templates` are none, or not all of them.
    """
    from flowkit.errors import Invalid
    from flowkit.flow import Flow
    from flowkit.validate.rules import check_flow, read_templates

    known = None if templates is None else read_templates(templates)
    try:
        flow = Flow.from_dict(document)
    except Invalid as error:
        return error.problems
    return check_flow(flow, known)


def __getattr__(name: str) -> Any:
    if name in ("FINDINGS", "RULES", "UNDECIDED", "check_flow", "read_templates"):
        return getattr(importlib.import_module("flowkit.validate.rules"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
