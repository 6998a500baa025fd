"""The connection to a service: one request and its answer, one list and its pages.

Owns every HTTP request that the SDK makes, and what is said when one fails. Imports httpx and the
core.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, NoReturn, Self
from urllib.parse import quote

import httpx

from flowkit.errors import Invalid, ServiceError
from flowkit.problems import Problem

PAGE_SIZE = 500
"""Items asked for at once: the most that the service gives."""

Progress = Callable[[int], None]


class Connection:
    """What the methods of `flowkit.client.Client` are made of; it describes the parameters."""

    def __init__(
        self,
        base_url: str,
        *,
        api_key: str,
        transport: httpx.BaseTransport | None = None,
        timeout: float = 30.0,
    ) -> None:
        url = httpx.URL(base_url)
        # Neither is echoed, and a password would take the place of the key in the header.
        if url.scheme not in ("http", "https") or not url.host or url.userinfo:
            example = "http://127.0.0.1:5000"
            refuse("client.url", "base_url", f"write the address as {example}, without a password")
        # A key read from a file ends in a newline, and httpx would quote it in its complaint.
        key = api_key.strip()
        if not (key and key.isascii() and key.isprintable()):
            refuse("client.api_key", "api_key", "a key is one line of printable ASCII")
        self._http = httpx.Client(
            base_url=url,
            headers={"Authorization": f"Bearer {key}", "Accept": "application/json"},
            transport=transport,
            timeout=timeout,
        )
        self._address = str(self._http.base_url).rstrip("/")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._address!r})"

    def close(self) -> None:
        """Close the connections; the client cannot be used after."""
        self._http.close()

    def _items(
        self,
        path: str,
        query: dict[str, str],
        limit: int | None = None,
        progress: Progress | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Yield a list's items, page by page."""
        if limit is not None and limit < 1:
            refuse("filter.limit", "limit", f"{limit} is less than 1; leave it out for all")
        read = 0
        cursor: str | None = None
        while True:
            size = PAGE_SIZE if limit is None else min(PAGE_SIZE, limit - read)
            turn = {"cursor": cursor} if cursor else {}
            page = self._call("GET", path, params={**query, "limit": str(size), **turn})
            items = page.get("items")
            if not isinstance(items, list):
                raise self._foreign(200)
            read += len(items)
            if progress is not None:
                progress(read)
            yield from items
            cursor = page.get("nextCursor")
            if cursor is None or read == limit:
                return

    def _call(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        """Make one request and return the JSON object that it answers."""
        return self._exchange(method, path, **request)[0]

    def _exchange(
        self, method: str, path: str, **request: Any
    ) -> tuple[dict[str, Any], httpx.Headers]:
        try:
            answer = self._http.request(method, path, **request)
        except httpx.TimeoutException as error:
            message = f"{self._address} gave no answer in time; it may still do what was asked"
            raise ServiceError(0, [Problem("service.timeout", "", message)]) from error
        except httpx.HTTPError as error:
            message = (
                f"cannot reach {self._address} ({error}); start the service with `flowkit up`, "
                "or correct the address given to Client"
            )
            raise ServiceError(0, [Problem("service.unreachable", "", message)]) from error
        try:
            content = answer.json()
        except ValueError:
            content = None
        if not answer.is_success:
            raise ServiceError(answer.status_code, _problems(answer, content))
        if not isinstance(content, dict):
            raise self._foreign(answer.status_code)
        return content, answer.headers

    def _foreign(self, status: int) -> ServiceError:
        message = f"what answers at {self._address} is not flowkit; is another program there?"
        return ServiceError(status, [Problem("service.foreign", "", message)])


def refuse(code: str, argument: str, message: str) -> NoReturn:
    """Raise `Invalid` because of an argument."""
    raise Invalid([Problem(code, f"/{argument}", message)])


def path_of(*parts: str) -> str:
    """Return the path of a resource, every part as one segment."""
    return "/api/" + "/".join(quote(part, safe="") for part in parts)


def _problems(answer: httpx.Response, content: Any) -> list[Problem]:
    """Return what an error answer says, whoever wrote it (a proxy between may have)."""
    if isinstance(content, dict) and isinstance(content.get("problems"), list):
        said = [_problem(item) for item in content["problems"] if isinstance(item, dict)]
        if said:
            return said
    return [Problem("service.refused", "", answer.reason_phrase or "no reason given")]


def _problem(item: dict[str, Any]) -> Problem:
    code, path, message = (str(item.get(key) or "") for key in ("code", "path", "message"))
    return Problem(code, path, message, "warning" if item.get("severity") == "warning" else "error")
