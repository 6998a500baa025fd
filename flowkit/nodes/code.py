"""Nodes that compute. Imports `nodetype`, `fields`, `functions`, `errors`, `problems`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from flowkit.errors import NodeFailed
from flowkit.fields import field
from flowkit.functions import named
from flowkit.nodetype import Context, Next, NodeType
from flowkit.problems import Problem, pointer


class SetVariable(NodeType, type="SET_VARIABLE", category="LOGIC", verb="set_variable"):
    """Set variables of the branch, which expressions and templates see as ``vars``.

    Examples
    --------
    >>> flow = (
    ...     fk.Flow("Greeting", trigger="signed_up")
    ...     .set_variable({"code": "HELLO10"})
    ...     .send(template="welcome", language="en_US", parameters=["{{ vars.code }}"])
    ...     .end()
    ... )
    """

    values: Mapping[str, Any] = field(
        help="Value by name, as JSONLogic; a text or a number is itself.",
        kind="expression",
        max_length=50,
    )

    @classmethod
    def from_call(cls, values: Mapping[str, Any]) -> SetVariable:
        """Return the setting of values by name."""
        return cls(values=dict(values))

    def check(self) -> Iterable[Problem]:
        """Require a value, and names that expressions can read."""
        if not self.values:
            yield Problem("config.missing", "/values", "Name a variable and its value.")
        for name in self.values:
            if not name.isidentifier():
                message = f"{name!r} cannot be read as vars.{name}: use letters, digits and _."
                yield Problem("config.name", pointer("values", name), message)

    def sets(self) -> tuple[str, ...]:
        """Return their names."""
        return tuple(self.values)

    def run(self, ctx: Context) -> Next:
        """Set them; each is computed from what was known before."""
        return Next(vars={name: ctx.evaluate(logic) for name, logic in self.values.items()})


class Python(NodeType, type="PYTHON", category="ACTION", verb="python"):
    """Call a function that the installation has registered under a name.

    Examples
    --------
    >>> @fk.function("points")
    ... def points(total: float) -> int:
    ...     return int(total // 10)
    >>> flow = (
    ...     fk.Flow("Points", trigger="order_paid")
    ...     .python("points", {"total": fk.trigger.total}, id="earned")
    ...     .send(template="points", language="en_US", parameters=["{{ nodes.earned.value }}"])
    ...     .end()
    ... )
    """

    function: str = field(
        help="The name under which it is registered.", min_length=1, max_length=64
    )
    arguments: Mapping[str, Any] | None = field(
        None,
        help="Arguments by keyword, as JSONLogic.",
        kind="expression",
        max_length=50,
    )

    @classmethod
    def from_call(cls, function: str, arguments: Mapping[str, Any] | None = None) -> Python:
        """Return the call of a function with arguments by name."""
        return cls(function=function, arguments=arguments)

    def check(self) -> Iterable[Problem]:
        """Remark that the function is unknown here; the workers may know it."""
        if named(self.function) is None:
            yield Problem(
                "python.unknown_function",
                "/function",
                f"No function {self.function!r} is registered here; install its package where "
                "the workers run, or the node fails.",
                "warning",
            )

    def run(self, ctx: Context) -> Next:
        """Call it; the result is ``nodes.<id>.value``."""
        known = named(self.function)
        if known is None:
            raise NodeFailed(
                "function_unknown",
                f"no function {self.function!r} is registered where this worker runs; install "
                "its package there, then retry",
            )
        given = {name: ctx.evaluate(logic) for name, logic in (self.arguments or {}).items()}
        try:
            return Next(result={"value": known(**given)})
        except Exception as error:  # whatever an engineer's function does, only its node fails
            raise NodeFailed("function_failed", f"{type(error).__name__}: {error}") from error
