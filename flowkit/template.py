"""Liquid: the language of message text, bounded, pure and without access to files.

The dialect is python-liquid's standard one without ``include`` and ``render``. A missing variable
renders as nothing. The clock is the scope's ``now``, also for ``"now" | date: ...``; numbers are
taken as seconds in UTC, so the same text comes out on every machine.
Owns the Liquid environment; imports `errors`, `problems` and python-liquid.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from liquid import BoundTemplate, Environment, RenderContext, Token
from liquid.builtin.filters.array import join as liquid_join
from liquid.builtin.filters.misc import date as liquid_date
from liquid.builtin.filters.string import replace as liquid_replace
from liquid.exceptions import FilterArgumentError, LiquidError, LiquidSyntaxError
from liquid.filter import with_context, with_environment

from flowkit.errors import NodeFailed
from flowkit.problems import Problem

MAX_TEMPLATE = 8_192
"""Characters of a template; reading a malformed one takes time quadratic in them."""
MAX_OUTPUT = 65_536
"""Bytes that one template may write."""
MAX_TEXT = 1_000_000
"""Characters that a filter may make of two texts."""
MAX_ITEMS = 10_000
"""Turns of a template's nested loops, and items of a range."""


def render(template: str, scope: Mapping[str, Any]) -> str:
    """Return the text of a Liquid template over `scope`.

    Raises
    ------
    NodeFailed
        ``template_invalid`` when the template is malformed, misuses a filter or exceeds a limit.
    """
    if "{" not in template:
        return template
    try:
        # The library's own `now` and `today` would look at the machine's clock.
        clock = {"now": None, "today": str(scope.get("now"))[:10]}
        return _compiled(template).render(clock | dict(scope))
    except Exception as error:  # filters of the library raise what they like on odd operands
        raise NodeFailed(
            "template_invalid", f"The template cannot be rendered: {_reason(error)}."
        ) from error


def check_template(template: str, path: str = "") -> list[Problem]:
    """Return what is wrong with a Liquid template; the empty list when it can be rendered."""
    try:
        used = _compiled(template).analyze(include_partials=False).filters
    except Exception as error:
        return [Problem("config.template", path, f"The template is not Liquid: {_reason(error)}.")]
    return [
        Problem("config.template", path, f"There is no Liquid filter {name!r}.")
        for name in used
        if name not in _environment.filters
    ]


@lru_cache(maxsize=4096)
def variables(template: str) -> tuple[tuple[str, ...], ...]:
    """Return the paths that a Liquid template reads out of the scope, as far as they are fixed.

    A template that cannot be rendered reads nothing.
    """
    if "{" not in template:
        return ()
    try:
        read = _compiled(template).analyze(include_partials=False).globals
    except Exception:  # `check_template` says why
        return ()
    found = []
    for path in (variable.segments for paths in read.values() for variable in paths):
        fixed = next((i for i, part in enumerate(path) if not isinstance(part, str)), len(path))
        found.append(tuple(str(part) for part in path[:fixed]))
    return tuple(dict.fromkeys(found))


@lru_cache(maxsize=4096)
def _compiled(template: str) -> BoundTemplate:
    if len(template) > MAX_TEMPLATE:
        raise LiquidSyntaxError(f"it has more than {MAX_TEMPLATE} characters", token=None)
    if "{{{" in template:
        raise LiquidSyntaxError("a value stands between two braces: {{ name }}", token=None)
    return _environment.from_string(template)


def _reason(error: Exception) -> str:
    if isinstance(error, LiquidError):
        return str(error.message or type(error).__name__).rstrip(".")
    return f"{type(error).__name__}: {error}"[:200].rstrip(".")


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


_environment = _make_environment()
