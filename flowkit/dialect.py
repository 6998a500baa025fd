"""The Liquid environment of every template: the standard dialect, with limits and without files.

Owns the only use of python-liquid's classes; `template` loads it with the first template, for it
takes longer to load than the rest of flowkit. Imports python-liquid.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from liquid import BoundTemplate, Environment, RenderContext, Token
from liquid.builtin.filters.array import join as liquid_join
from liquid.builtin.filters.misc import date as liquid_date
from liquid.builtin.filters.string import replace as liquid_replace
from liquid.exceptions import FilterArgumentError
from liquid.exceptions import LiquidError as LiquidError
from liquid.exceptions import LiquidSyntaxError as LiquidSyntaxError
from liquid.filter import with_context, with_environment

MAX_OUTPUT = 65_536
"""Bytes that one template may write."""
MAX_TEXT = 1_000_000
"""Characters that a filter may make of two texts."""
MAX_ITEMS = 10_000
"""Turns of a template's nested loops, and items of a range."""


class _Context(RenderContext):
    """A rendering whose filters are handed no endless range."""

    def filter(self, name: str, token: Token | None) -> Callable[..., object]:
        """Return the filter of that name."""
        wanted = super().filter(name, token)

        def bounded(left: object, *args: Any, **kwargs: Any) -> object:
            if isinstance(left, range) and left.stop - left.start > MAX_ITEMS:
                raise FilterArgumentError("the range is too long", token=token)
            return wanted(left, *args, **kwargs)

        return bounded


class _Template(BoundTemplate):
    context_class = _Context


class _Bounded(Environment):
    """The environment of every template, with its limits."""

    loop_iteration_limit = MAX_ITEMS
    local_namespace_limit = 1_000_000
    output_stream_limit = MAX_OUTPUT
    template_class = _Template


@with_context
def _date(value: Any, form: Any = "", *, context: RenderContext) -> Any:
    """``date`` without the machine's clock and zone."""
    if value in ("now", "today"):
        value = context.resolve("now", default=None)
    if isinstance(value, str) and value.isdigit() and len(value) < 12:
        value = int(value)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        value = datetime.fromtimestamp(value, UTC)
    return liquid_date(value, form, environment=context.env)


def _replace(value: Any, old: Any, new: Any = "") -> Any:
    """``replace`` that cannot multiply one text by another."""
    text, wanted = str(value), str(old)
    places = text.count(wanted) if wanted else len(text) + 1
    _refuse_above(MAX_TEXT, len(text) + places * len(str(new)), "replace")
    return liquid_replace(value, old, new)


@with_environment
def _join(value: Any, separator: Any = " ", *, environment: Environment) -> Any:
    """``join`` that cannot multiply a text by a list."""
    items = len(value) if isinstance(value, (list, tuple, range)) else 1
    _refuse_above(MAX_TEXT, items * len(str(separator)), "join")
    return liquid_join(value, separator, environment=environment)


def _refuse_above(limit: int, size: int, name: str) -> None:
    if size > limit:
        raise FilterArgumentError(f"the result of {name} is too long", token=None)


def _make_environment() -> Environment:
    environment = _Bounded()
    for tag in ("include", "render"):
        del environment.tags[tag]
    environment.add_filter("date", _date)
    environment.add_filter("join", _join)
    environment.add_filter("replace", _replace)
    return environment


environment = _make_environment()
