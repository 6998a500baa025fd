"""An account's message templates, as the Cloud API lists them, and what a flow must know of each.

Owns the reading of ``GET /{account}/message_templates``. Imports `errors`, `problems`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from flowkit.errors import Invalid
from flowkit.problems import Problem, pointer

_VARIABLE = re.compile(r"\{\{\s*([A-Za-z0-9_]+)\s*\}\}")
MEDIA = {"IMAGE": "image", "VIDEO": "video", "DOCUMENT": "document"}
"""Formats of headers that are files, and the kind of header that fills them."""


@dataclass(frozen=True, slots=True)
class Button:
    """A button of a template: its type, such as ``URL``, its text, and its address if any."""

    type: str
    text: str
    url: str

    @property
    def kind(self) -> str | None:
        """Kind of the parameter without which it cannot be sent."""
        if self.type == "OTP" or (self.type == "URL" and _VARIABLE.search(self.url)):
            return "url"
        return "copy_code" if self.type == "COPY_CODE" else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """One template in one language."""

    name: str
    language: str
    status: str
    category: str
    header: str | None
    header_text: str
    body: str
    footer: str
    buttons: tuple[Button, ...]

    @property
    def variables(self) -> tuple[str, ...]:
        """The variables of the body, each once."""
        return tuple(dict.fromkeys(_VARIABLE.findall(self.body)))

    @property
    def named(self) -> bool:
        """Whether the body's variables have names, in place of numbers."""
        return any(not name.isdigit() for name in self.variables)

    @property
    def words(self) -> str:
        """All that is said for certain."""
        shown = [self.header_text, self.body, self.footer, *(b.text for b in self.buttons)]
        return "\n".join(shown)


class Templates:
    """An account's templates, by name and language."""

    def __init__(self, listed: Sequence[Template]) -> None:
        self._by_name: dict[str, dict[str, Template]] = {}
        for template in listed:
            self._by_name.setdefault(template.name, {})[_plain(template.language)] = template

    def languages(self, name: str) -> list[str]:
        """Return the languages of a template, sorted; none of one that is not there."""
        return sorted(template.language for template in self._by_name.get(name, {}).values())

    def find(self, name: str, language: str) -> Template | None:
        """Return a template in a language, however its dash is written."""
        return self._by_name.get(name, {}).get(_plain(language))


def _plain(language: str) -> str:
    return language.replace("-", "_").lower()


def read_templates(source: Any) -> Templates:
    """Return the templates of an account.

    Parameters
    ----------
    source : list, dict, str or path
        What the Cloud API lists: the items, an answer ``{"data": [...]}``, a list of such pages,
        or the JSON file with one of these.

    Raises
    ------
    Invalid
        ``templates.file``, ``templates.type`` or ``templates.incomplete``.
    """
    if isinstance(source, Templates):
        return source
    if isinstance(source, (str, PathLike)):
        source = _read_file(Path(source))
    found: list[Problem] = []
    listed = [_read(item, path, found) for item, path in _items(source, found)]
    if found:
        raise Invalid(found)
    return Templates([template for template in listed if template is not None])


def _read_file(file: Path) -> Any:
    try:
        return json.loads(file.read_text("utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        message = f"{file} cannot be read as JSON: {error}."
        raise Invalid([Problem("templates.file", "", message)]) from error


def _items(source: Any, found: list[Problem]) -> Iterator[tuple[Any, str]]:
    """Yield each item and its place; of pages only the last may lack what follows."""
    paged = isinstance(source, list) and any(isinstance(x, dict) and "data" in x for x in source)
    pages = source if paged else [source]
    for number, page in enumerate(pages):
        path = pointer(number) if paged else ""
        if isinstance(page, dict) and isinstance(page.get("data"), list):
            follows = page.get("paging")
            if number == len(pages) - 1 and isinstance(follows, Mapping) and follows.get("next"):
                message = "More pages follow; fetch paging.next until there is none."
                found.append(Problem("templates.incomplete", path + "/paging/next", message))
            page, path = page["data"], path + "/data"
        if isinstance(page, list):
            yield from ((item, path + pointer(place)) for place, item in enumerate(page))
        else:
            message = 'This must be a list of templates, or an answer {"data": [...]}.'
            found.append(Problem("templates.type", path, message))


def _read(item: Any, path: str, found: list[Problem]) -> Template | None:
    values: dict[str, str] = {}
    for key in ("name", "language", "status", "category"):
        value = item.get(key) if isinstance(item, dict) else None
        if isinstance(value, str):
            values[key] = value
        else:
            message = f"A template has a text as {key}; ask the API for fields=name,language,..."
            found.append(Problem("templates.type", path + pointer(key), message))
    components = item.get("components") if isinstance(item, dict) else None
    if not isinstance(components, list):
        message = "A template has a list of components; ask the API for that field too."
        found.append(Problem("templates.type", path + pointer("components"), message))
    if not isinstance(components, list) or len(values) < 4:
        return None
    by_type = {_upper(part.get("type")): part for part in components if isinstance(part, dict)}
    header, buttons = by_type.get("HEADER", {}), by_type.get("BUTTONS", {}).get("buttons")
    return Template(
        name=values["name"],
        language=values["language"],
        status=_upper(values["status"]),
        category=_upper(values["category"]),
        header=(_upper(header.get("format")) or "TEXT") if header else None,
        header_text=_text(header.get("text")),
        body=_text(by_type.get("BODY", {}).get("text")),
        footer=_text(by_type.get("FOOTER", {}).get("text")),
        buttons=tuple(
            Button(_upper(b.get("type")), _text(b.get("text")), _text(b.get("url")))
            for b in (buttons if isinstance(buttons, list) else ())
            if isinstance(b, dict)
        ),
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _upper(value: Any) -> str:
    return _text(value).upper()
