"""Liquid: the language of message text, bounded, pure and without access to files.

The dialect is python-liquid's standard one without ``include`` and ``render``. A missing variable
renders as nothing. The clock is the scope's ``now``, also for ``"now" | date: ...``; numbers are
taken as seconds in UTC, so the same text comes out on every machine.
Owns the rendering; imports `errors` and `problems`, and `dialect` with the first template.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from flowkit.errors import NodeFailed
from flowkit.problems import Problem

if TYPE_CHECKING:
    from liquid import BoundTemplate

MAX_TEMPLATE = 8_192
"""Characters of a template; reading a malformed one takes time quadratic in them."""


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
    from flowkit.dialect import environment

    try:
        used = _compiled(template).analyze(include_partials=False).filters
    except Exception as error:
        return [Problem("config.template", path, f"The template is not Liquid: {_reason(error)}.")]
    return [
        Problem("config.template", path, f"There is no Liquid filter {name!r}.")
        for name in used
        if name not in environment.filters
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
    from flowkit.dialect import LiquidSyntaxError, environment

    if len(template) > MAX_TEMPLATE:
        raise LiquidSyntaxError(f"it has more than {MAX_TEMPLATE} characters", token=None)
    if "{{{" in template:
        raise LiquidSyntaxError("a value stands between two braces: {{ name }}", token=None)
    return environment.from_string(template)


def _reason(error: Exception) -> str:
    from flowkit.dialect import LiquidError

    if isinstance(error, LiquidError):
        return str(error.message or type(error).__name__).rstrip(".")
    return f"{type(error).__name__}: {error}"[:200].rstrip(".")
