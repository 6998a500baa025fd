"""JSON data whose texts are Liquid: checked as a whole, and filled in where a flow runs.

A filled-in text stays a text, also where it reads like a number. Names of objects are taken as
they are. Imports `nodetype`, `problems` and `template`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from flowkit.nodetype import Context
from flowkit.problems import Problem, pointer
from flowkit.template import check_template


def check_texts(data: Any, path: str) -> Iterable[Problem]:
    """Yield what is wrong with the Liquid in JSON data."""
    if isinstance(data, str):
        yield from check_template(data, path)
    elif isinstance(data, (dict, list, tuple)):
        items = data.items() if isinstance(data, dict) else enumerate(data)
        for name, item in items:
            yield from check_texts(item, path + pointer(name))


def filled(ctx: Context, data: Any) -> Any:
    """Return JSON data with every text rendered.

    Raises
    ------
    NodeFailed
        ``template_invalid`` when one cannot be.
    """
    if isinstance(data, str):
        return ctx.render(data)
    if isinstance(data, dict):
        return {name: filled(ctx, item) for name, item in data.items()}
    return [filled(ctx, item) for item in data] if isinstance(data, (list, tuple)) else data
