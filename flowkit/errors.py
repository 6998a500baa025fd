"""Every exception that flowkit raises on purpose, in one tree.

::

    FlowkitError
    ├── Invalid            the input is wrong; `.problems` says where
    ├── NotFound           no such flow, version or execution
    ├── Conflict           the state it was asked for has passed; reload and decide again
    ├── NodeFailed         a node cannot do its work; raised by `NodeType.run`
    ├── SettingsError      the installation is set up wrongly; the program ends with status 2
    │   └── StoreTooNew    the store was written by a newer version of this program
    ├── StoreUnavailable   the store does not answer; the program ends with status 3
    └── ServiceError       the service answered with an error; raised by `Client`

Children are told apart by what the caller can do. Each has a stable string `code`.
Imports the standard library and `problems`.
"""

from __future__ import annotations

from collections.abc import Sequence

from flowkit.problems import Problem


class FlowkitError(Exception):
    """Base of every error that flowkit raises on purpose."""

    code = "flowkit"


class Invalid(FlowkitError):
    """The input cannot be accepted.

    Parameters
    ----------
    problems : sequence of Problem
        What is wrong and where; never empty.
    """

    code = "invalid"

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = list(problems)
        super().__init__("; ".join(str(problem) for problem in self.problems))

    def __reduce__(self) -> tuple[type[Invalid], tuple[list[Problem]]]:
        return (type(self), (self.problems,))


class NotFound(FlowkitError, LookupError):
    """No record has that id."""

    code = "not_found"


class Conflict(FlowkitError):
    """What was asked no longer fits the state of the record."""

    code = "conflict"


class NodeFailed(FlowkitError):
    """A node cannot do its work, and trying the same again would not help.

    Parameters
    ----------
    code : str
        Stable name of the reason, kept in the node run's ``error.code``.
    message : str
        What happened and what to do, kept in ``error.message``.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return self.message


class SettingsError(FlowkitError):
    """The installation is set up wrongly: the message names the setting or path."""

    code = "settings"


class StoreTooNew(SettingsError):
    """The store was written by a newer version of this program."""

    code = "store_too_new"


class StoreUnavailable(FlowkitError):
    """The store's server does not answer: the message says which; the same may work later."""

    code = "store.unavailable"


class ServiceError(FlowkitError):
    """The service refused a request or could not be reached.

    Parameters
    ----------
    status : int
        HTTP status; 0 when there was no answer.
    problems : sequence of Problem
        What the service said is wrong.
    """

    code = "service"

    def __init__(self, status: int, problems: Sequence[Problem]) -> None:
        self.status = status
        self.problems = list(problems)
        said = "; ".join(str(problem) for problem in self.problems) or "no reason given"
        super().__init__(f"HTTP {status}: {said}" if status else said)

    def __reduce__(self) -> tuple[type[ServiceError], tuple[int, list[Problem]]]:
        return (type(self), (self.status, self.problems))
