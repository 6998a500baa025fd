"""Python source as ruff lays it out: an expression on one line where it fits, else broken up.

Owns the pieces that source is made of and how each is written. A piece knows its one-line form
(`flat`) and its form over several lines (`broken`). Imports the standard library only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

WIDTH = 100
_STEP = 4


class Piece(Protocol):
    """An expression of Python."""

    @property
    def flat(self) -> str:
        """The expression on one line."""
        ...

    def broken(self, indent: int, before: int, after: int) -> str:
        """Return the expression over several lines.

        Parameters
        ----------
        indent : int
            Column at which its last line begins.
        before, after : int
            Characters that stand before it in its first line, and after it in its last.
        """
        ...


def written(piece: Piece, indent: int, before: int = 0, after: int = 0) -> str:
    """Return the source of a piece, on one line where it fits."""
    flat = piece.flat
    if indent + before + len(flat) + after <= WIDTH and "\n" not in flat:
        return flat
    return piece.broken(indent, before, after)


@dataclass(frozen=True)
class Atom:
    """What is never broken up."""

    flat: str

    def broken(self, indent: int, before: int, after: int) -> str:
        """Return it as it is, too long."""
        return self.flat


def quoted(text: str) -> str:
    """Return a text as a literal, in double quotes unless single ones save escapes."""
    lines = text.split("\n")
    if len(lines) > 1 and all(map(str.isprintable, lines)) and not re.search(r'\\|"""|"$', text):
        return f'"""{text}"""'
    single = repr('"' + text)[2:-1]  # a double quote makes repr take single ones
    if text.count('"') > text.count("'"):
        return f"'{single}'"
    return '"' + single.replace("\\'", "'").replace('"', '\\"') + '"'


@dataclass(frozen=True)
class Args:
    """What stands between brackets: items, each with a prefix such as ``name=``."""

    opening: str
    closing: str
    items: Sequence[tuple[str, Piece]]
    one_line: bool = False
    """Whether the items may share a line of their own, as arguments do."""

    @property
    def flat(self) -> str:
        """All of it on one line."""
        inside = ", ".join(prefix + piece.flat for prefix, piece in self.items)
        return f"{self.opening}{inside}{self.closing}"

    def broken(self, indent: int, before: int, after: int) -> str:
        """Return the items on a line of their own, or each on one."""
        if not self.items:
            return self.opening + self.closing
        inner = indent + _STEP
        margin, inside = " " * inner, ", ".join(p + piece.flat for p, piece in self.items)
        if self.one_line and inner + len(inside) <= WIDTH and "\n" not in inside:
            lines = margin + inside
        else:
            lines = "\n".join(f"{margin}{_item(p, piece, inner)}," for p, piece in self.items)
        return f"{self.opening}\n{lines}\n{' ' * indent}{self.closing}"


def _item(prefix: str, piece: Piece, indent: int) -> str:
    text = written(piece, indent, len(prefix), 1)
    if isinstance(piece, Joined) and prefix and "\n" in text:
        return f"{prefix}{_parenthesised(piece, indent)}"
    return prefix + text


def _parenthesised(piece: Piece, indent: int) -> str:
    inner = indent + _STEP
    return f"(\n{' ' * inner}{written(piece, inner)}\n{' ' * indent})"


@dataclass(frozen=True)
class Joined:
    """Operands of one operator that is said again and again."""

    operator: str
    parts: Sequence[Piece]

    @property
    def flat(self) -> str:
        """All of it on one line."""
        return f" {self.operator} ".join(part.flat for part in self.parts)

    def broken(self, indent: int, before: int, after: int) -> str:
        """Return each operand on a line that the operator begins."""
        return f"\n{' ' * indent}{self.operator} ".join(part.flat for part in self.parts)


@dataclass(frozen=True)
class Chain:
    """Calls of methods, one on the result of the other; each is its name and its arguments."""

    head: Piece
    calls: Sequence[tuple[str, Args]]

    @property
    def flat(self) -> str:
        """All of it on one line."""
        return self.head.flat + "".join(f".{name}{args.flat}" for name, args in self.calls)

    def broken(self, indent: int, before: int, after: int) -> str:
        """Return a line for each call, or only the arguments of a call broken up."""
        attached = isinstance(self.head, Atom)  # its first call shares its line
        if len(self.calls) - attached >= 2:
            inner = indent + _STEP
            margin = "\n" + " " * inner
            shown = [written(self.head, inner)]
            shown += [f".{name}" + written(args, inner, len(name) + 1) for name, args in self.calls]
            if attached:
                name, args = self.calls[0]
                shown[:2] = [
                    f"{self.head.flat}.{name}"
                    + written(args, inner, len(self.head.flat) + len(name) + 1)
                ]
            return f"({margin}{margin.join(shown)}\n{' ' * indent})"
        # The arguments of the last call are broken up first, then those before it.
        text = self.head.flat
        parts: list[tuple[str, Args]] = [(f".{name}", args) for name, args in self.calls]
        if isinstance(self.head, Call):
            text, parts = "", [(self.head.name, self.head.args), *parts]
        last = max((i for i, (_, args) in enumerate(parts) if args.items), default=0)
        flat_before = text + "".join(name + args.flat for name, args in parts[:last])
        fits = indent + before + len(flat_before) + len(parts[last][0]) + 1 <= WIDTH
        for index, (name, args) in enumerate(parts):
            whole = fits and index != last
            column = before + len(text.rpartition("\n")[2]) + len(name)
            text += name + (args.flat if whole else written(args, indent, column, after))
        if "\n" not in text and last < len(parts):
            name, args = parts[last]
            head = text.removesuffix("".join(n + a.flat for n, a in parts[last:]))
            tail = "".join(n + a.flat for n, a in parts[last + 1 :])
            text = head + name + args.broken(indent, before, after) + tail
        return text


@dataclass(frozen=True)
class Call:
    """A call of a function."""

    name: str
    args: Args

    @property
    def flat(self) -> str:
        """All of it on one line."""
        return self.name + self.args.flat

    def broken(self, indent: int, before: int, after: int) -> str:
        """Return it with its arguments broken up."""
        return self.name + self.args.broken(indent, before + len(self.name), after)


@dataclass(frozen=True)
class Lambda:
    """A function of one argument that is one expression."""

    name: str
    body: Piece

    @property
    def flat(self) -> str:
        """All of it on one line."""
        return f"lambda {self.name}: {self.body.flat}"

    def broken(self, indent: int, before: int, after: int) -> str:
        """Return it with its body broken up."""
        head = f"lambda {self.name}: "
        return head + self.body.broken(indent, before + len(head), after)


def call(name: str, *positional: Piece, **named: Piece) -> Call:
    """Return a call."""
    return Call(name, arguments(positional, named))


def arguments(positional: Iterable[Piece], named: Mapping[str, Piece]) -> Args:
    """Return the arguments of a call."""
    items = [("", piece) for piece in positional]
    items += [(f"{name}=", piece) for name, piece in named.items()]
    return Args("(", ")", items, one_line=True)


def listing(pieces: Iterable[Piece]) -> Args:
    """Return a list."""
    return Args("[", "]", [("", piece) for piece in pieces])


def mapping(pieces: Mapping[str, Piece]) -> Args:
    """Return a dictionary whose keys are texts."""
    return Args("{", "}", [(f"{quoted(key)}: ", piece) for key, piece in pieces.items()])


def literal(value: Any) -> Piece:
    """Return JSON data as Python writes it."""
    if isinstance(value, str):
        return Atom(quoted(value))
    if isinstance(value, dict):
        return mapping({key: literal(item) for key, item in value.items()})
    if isinstance(value, (list, tuple)):
        return listing(literal(item) for item in value)
    return Atom(json.dumps(value) if isinstance(value, float) else repr(value))
