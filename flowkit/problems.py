"""`Problem`: the one shape in which bad input is reported, everywhere.

Owns the record only. Imports the standard library.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with an input, and where.

    Parameters
    ----------
    code : str
        Stable, machine-readable name such as ``config.out_of_range``.
    path : str
        JSON pointer (RFC 6901) into the input, such as ``/nodes/3/config/amount``;
        empty for the input as a whole.
    message : str
        A sentence that says what is wrong and what to do about it.
    severity : {"error", "warning"}
        A flow with errors cannot be active; warnings are advice.
    """

    code: str
    path: str
    message: str
    severity: Severity = "error"

    def to_dict(self) -> dict[str, Any]:
        """Return the wire form: ``{code, path, message, severity}``."""
        return {
            "code": self.code,
            "path": self.path,
            "message": self.message,
            "severity": self.severity,
        }

    def __str__(self) -> str:
        return f"{self.severity} {self.code} at {self.path or '/'}: {self.message}"


def pointer(*parts: str | int) -> str:
    """Return the JSON pointer made of `parts`, escaped as RFC 6901 asks."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


def errors(problems: Iterable[Problem]) -> list[Problem]:
    """Return the problems of severity ``error``, in their order."""
    return [problem for problem in problems if problem.severity == "error"]
