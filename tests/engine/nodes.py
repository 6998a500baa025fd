"""Node types that only these tests know: well behaved, and not."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from flowkit import nodetype
from flowkit.errors import NodeFailed
from flowkit.fields import field
from flowkit.nodetype import Context, Effect, Handle, Next, NodeType, Wait

_registered = dict(nodetype._registry)


class Unprintable(Exception):
    """An exception whose text cannot be had."""

    def __str__(self) -> str:
        raise ValueError("no text")


def _raise(error: BaseException) -> Any:
    raise error


def _deep() -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(100_000):
        value = {"in": value}
    return value


ODD: dict[str, Callable[[Context], Any]] = {
    "raises": lambda ctx: _raise(ZeroDivisionError("by zero")),
    "raises without text": lambda ctx: _raise(Unprintable()),
    "raises an endless text": lambda ctx: _raise(ValueError("x" * 10**6)),
    "raises what is no text": lambda ctx: _raise(ValueError("\ud800")),
    "raises odd codes": lambda ctx: _raise(NodeFailed(42, None)),  # type: ignore[arg-type]
    "recurses": lambda ctx: ODD["recurses"](ctx),
    "runs out of memory": lambda ctx: _raise(MemoryError()),
    "returns nothing": lambda ctx: None,
    "returns a class": lambda ctx: Next,
    "returns a text": lambda ctx: "next",
    "takes an unknown way": lambda ctx: Next(handle="nowhere"),
    "takes no way at all": lambda ctx: Next(handle=["a"]),  # type: ignore[arg-type]
    "waits for no moment": lambda ctx: Wait(until="tomorrow"),  # type: ignore[arg-type]
    "waits in no zone": lambda ctx: Wait(until=datetime(2030, 1, 1)),
    "waits for ever": lambda ctx: Wait(until=datetime.max.replace(tzinfo=ctx.now.tzinfo)),
    "gives a list": lambda ctx: Next(result=[1]),  # type: ignore[arg-type]
    "gives a set": lambda ctx: Next(result={"a": {1}}),
    "gives NaN": lambda ctx: Next(result={"a": float("nan")}),
    "gives keys that do not compare": lambda ctx: Next(result={1: 1, "a": 2}),  # type: ignore[dict-item]
    "gives half a character": lambda ctx: Next(result={"a": "\ud800"}),
    "gives no end": lambda ctx: Next(result=_deep()),
    "gives too much": lambda ctx: Next(result={"a": "x" * 20_000}),
    "gives too much while it waits": lambda ctx: Wait(
        until=ctx.now + timedelta(days=1), result={"a": "x" * 20_000}
    ),
    "sets what is no object": lambda ctx: Next(vars="vars"),  # type: ignore[arg-type]
    "sets too much": lambda ctx: Next(vars={"a": "x" * 20_000}),
    "sets what is no data": lambda ctx: Next(vars={"a": object()}),
}


class Odd(NodeType, type="TEST_ODD", category="ACTION"):
    """Do something that no node should."""

    how: str = field(help="A key of ODD.")

    def run(self, ctx: Context) -> Any:
        """Do it."""
        return ODD[self.how](ctx)


class Remember(NodeType, type="TEST_REMEMBER", category="ACTION"):
    """Render a template, as a variable of the branch and as a result."""

    name: str = field(help="Of the variable.")
    value: str = field(help="As Liquid.", kind="template")

    def run(self, ctx: Context) -> Next:
        """Set it."""
        said = ctx.render(self.value)
        return Next(vars={self.name: said}, result={"said": said})


class Choose(NodeType, type="TEST_CHOOSE", category="ACTION"):
    """Do something outside that leads by a way which need not be connected."""

    handles = (Handle("done"), Handle("more", required=False))
    way: str = field(help="The way to take.")

    def run(self, ctx: Context) -> Effect:
        """Do it."""
        return Effect(kind="test", request={}, timeout=1, handle=self.way)


class Shapes(NodeType, type="TEST_SHAPES", category="ACTION"):
    """Give a result in shapes that JSON knows under another name."""

    def run(self, ctx: Context) -> Next:
        """Give it."""
        return Next(result={"tuple": (1, 2), "number": {3: "three"}})  # type: ignore[dict-item]


class Pause(NodeType, type="TEST_PAUSE", category="TIME"):
    """Wait for some microseconds."""

    microseconds: int = field(help="How many.")

    def run(self, ctx: Context) -> Wait:
        """Wait."""
        return Wait(until=ctx.now + timedelta(microseconds=self.microseconds))


TYPES = {name: cls for name, cls in nodetype._registry.items() if name not in _registered}
# Only while a test of this directory runs: others take the registry as the catalogue.
for _name in TYPES:
    del nodetype._registry[_name]
