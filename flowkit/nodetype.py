"""Node types: what a kind of node is configured with, where it leads and what it does.

A node type is declared once, as a subclass of `NodeType`; defining the class registers it, and
the builder's method, validation, schemas and forms follow from the declaration. Owns the base
class and the registry; what passes between a node and the engine (`step`) goes by its name too.
Imports `step`, `fields`, `retry`, `problems`, `errors`, `plugins`; the built-in types and plug-ins
only when first asked for.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, Literal, NamedTuple, Self, dataclass_transform

from flowkit import plugins
from flowkit.errors import Invalid, NotFound
from flowkit.fields import field, json_schema, normalise, parse, specs
from flowkit.problems import Problem, errors, pointer
from flowkit.step import Arrive as Arrive
from flowkit.step import Await as Await
from flowkit.step import Context as Context
from flowkit.step import Effect as Effect
from flowkit.step import Gather as Gather
from flowkit.step import Next as Next
from flowkit.step import Outcome as Outcome
from flowkit.step import Wait as Wait

CATEGORIES = ("SYSTEM", "ACTION", "LOGIC", "TIME")


@dataclass(frozen=True, slots=True)
class Handle:
    """A way out of a node.

    Parameters
    ----------
    id : str, optional
        What edges name as ``sourceHandle``; None is the single unnamed way out.
    label : str, optional
        What a canvas shows.
    required : bool, optional
        Whether an edge must leave it.
    keyword : str, optional
        Argument of the builder's method that takes what follows; the id where it is a name.
    back : bool, optional
        Whether what follows leads back to the node.
    ends : bool, optional
        Whether the builder leads it to END where nothing is said to follow.
    """

    id: str | None = None
    label: str = ""
    required: bool = True
    keyword: str | None = None
    back: bool = False
    ends: bool = False


class Way(NamedTuple):
    """A way out that is taken when its condition holds and none before it does.

    `path` is the condition's place in the config.
    """

    handle: str
    logic: Any
    path: str


class Text(NamedTuple):
    """A template, and what makes of its rendered text what a node needs.

    ``read`` is a function of the text and ``arguments``, and of nothing else; it raises
    `NodeFailed` where the text will not do.
    """

    template: str
    read: Callable[..., Any]
    arguments: tuple[Any, ...] = ()

    def of(self, ctx: Context) -> Any:
        """Return what is read out of the text over a scope."""
        return self.read(ctx.render(self.template), *self.arguments)


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(field,))
class NodeType:
    """Base of every node type.

    A subclass states its name and category, declares its config with `field`, and says in `run`
    what the node does; it becomes a frozen dataclass and is registered. The docstring's first
    paragraph is its description, and its example the smallest flow that uses it, named ``flow``.

    Examples
    --------
    >>> class AddTag(NodeType, type="ADD_TAG", category="ACTION", verb="add_tag"):
    ...     \"\"\"Remember a tag for the rest of the branch.\"\"\"
    ...
    ...     tag: str = field(help="The tag.", min_length=1)
    ...
    ...     def sets(self) -> tuple[str, ...]:
    ...         return ("tag",)
    ...
    ...     def run(self, ctx: Context) -> Next:
    ...         return Next(vars={"tag": self.tag})
    """

    type: ClassVar[str]
    category: ClassVar[str]
    verb: ClassVar[str | None] = None
    needs_contact: ClassVar[bool] = False
    changes_contact: ClassVar[bool] = False
    internal: ClassVar[str | None] = None
    executed: ClassVar[bool] = True
    handles: ClassVar[tuple[Handle, ...]] = (Handle(),)

    def __init_subclass__(
        cls, *, type: str, category: str, verb: str | None = None, **kwargs: Any
    ) -> None:
        super().__init_subclass__(**kwargs)
        if not re.fullmatch(r"[A-Z][A-Z0-9_]{0,63}", type):
            raise TypeError(f"{type!r} is no name of a node type: write one such as ADD_TAG")
        if category not in CATEGORIES:
            raise TypeError(f"{category!r} is no category; choose from {', '.join(CATEGORIES)}")
        if verb is not None and not (verb.isidentifier() and not verb.startswith("_")):
            raise TypeError(f"{verb!r} is no name of a method")
        clash = set(inspect.get_annotations(cls)) & _RESERVED
        if clash:
            raise TypeError(f"{sorted(clash)} cannot be config fields: NodeType uses the names")
        if "run" in vars(cls) and "texts" not in vars(cls):  # what it inherits says of another run
            cls.texts = NodeType.texts  # type: ignore[method-assign]
        cls.type, cls.category, cls.verb = type, category, verb
        dataclass(frozen=True, kw_only=True)(cls)
        _register(cls)

    def __post_init__(self) -> None:
        normalise(self)

    @classmethod
    def from_call(cls, *args: Any, **kwargs: Any) -> Self:
        """Return the node that a call of the builder's method describes.

        A subclass overrides it to take other arguments than its fields; the override's signature
        is then the method's.
        """
        return cls(*args, **kwargs)

    def to_call(self) -> dict[str, Any]:
        """Return the arguments, by name, with which `from_call` makes this node.

        They are the fields that are not at their default. A subclass whose `from_call` takes
        others overrides it; what is not a field is JSON data, with conditions as `Expr`.
        """
        values = {spec.name: (getattr(self, spec.name), spec.default) for spec in specs(type(self))}
        return {name: value for name, (value, default) in values.items() if value != default}

    def outputs(self) -> tuple[Handle, ...]:
        """Return the ways out of a node with this config."""
        return self.handles

    def check(self) -> Iterable[Problem]:
        """Return what is wrong across fields; paths are relative to the config."""
        return ()

    def listens(self) -> tuple[str, ...]:
        """Return the types of the events that a node with this config may wait for."""
        return ()

    def starts(self) -> tuple[str, int | None] | None:
        """Return the flow that it starts, and the version; None for the newest."""
        return None

    # -- what the validator reasons with; a type overrides what does not hold of it

    def takes(self, handle: str | None) -> tuple[float, float]:
        """Return how many seconds a run takes, at least and at most, that leaves by `handle`.

        ``math.inf`` is no bound.
        """
        return 0.0, 0.0

    def hears(self, handle: str | None) -> bool:
        """Return whether who leaves by `handle` has written since the execution began."""
        return False

    def sends(self) -> Literal["free", "template"] | None:
        """Return whether the contact gets a free-form message, a template, or nothing."""
        return None

    def sets(self) -> tuple[str, ...]:
        """Return the names of the variables that every run sets."""
        return ()

    def decides(self) -> tuple[Way, ...]:
        """Return the conditional ways out in the order in which they are tried."""
        return ()

    # -- what the simulator reasons with

    def texts(self) -> tuple[Text, ...] | None:
        """Return the texts that alone say whether a run asks for its effect or fails.

        It fails where one of them cannot be read, and else always asks for the same, up to the
        request. None where the decision hangs on anything more.
        """
        return None

    def run(self, ctx: Context) -> Next | Wait | Await | Effect | Arrive | Gather:
        """Return what the node does; pure.

        Raises
        ------
        NodeFailed
            When the node cannot do its work.
        """
        raise NotImplementedError(f"{type(self).__name__} has no run()")


def check_ways(path: str, ids: Sequence[str], taken: Collection[str] = ()) -> Iterable[Problem]:
    """Return what is wrong with the ids of ways out, each of an item of the list at `path`.

    Those in `taken` are ways out already.
    """
    seen = set(taken)
    for index, id in enumerate(ids):
        place = path + pointer(index, "id")
        if id in seen:
            message = f"There is another way out {id!r}; each has a name of its own."
            yield Problem("config.duplicate", place, message)
        seen.add(id)


_RESERVED = frozenset(name for name in vars(NodeType) if not name.startswith("_")) | {
    "type",
    "category",
}
_registry: dict[str, type[NodeType]] = {}


def _register(cls: type[NodeType]) -> None:
    """Add a node type; defining the same class anew, as notebooks do, replaces it."""

    def same(other: type[NodeType]) -> bool:
        return (other.__module__, other.__qualname__) == (cls.__module__, cls.__qualname__)

    for other in _registry.values():
        if same(other):
            continue
        if other.type == cls.type:
            raise TypeError(f"node type {cls.type} is defined by {other.__qualname__} already")
        if cls.verb is not None and other.verb == cls.verb:
            raise TypeError(f"the verb {cls.verb!r} belongs to {other.type} already")
    _registry[cls.type] = cls


@cache
def _load() -> None:
    """Import the built-in node types and those of installed packages, once."""
    importlib.import_module("flowkit.nodes")
    plugins.load("flowkit.node_types", "node types")


def node_types() -> dict[str, type[NodeType]]:
    """Return every node type by its name, sorted."""
    _load()
    return dict(sorted(_registry.items()))


def node_type(name: str) -> type[NodeType]:
    """Return the node type of that name.

    Raises
    ------
    NotFound
        When there is none.
    """
    known = _registry.get(name)
    if known is None:
        _load()
        known = _registry.get(name)
    if known is None:
        raise NotFound(f"There is no node type {name!r}; there are {', '.join(sorted(_registry))}.")
    return known


def with_verb(verb: str) -> type[NodeType] | None:
    """Return the node type whose builder method has that name, or None."""
    _load()
    return next((cls for cls in _registry.values() if cls.verb == verb), None)


def describe(cls: type[NodeType]) -> dict[str, Any]:
    """Return what palettes, forms and API documents need to know of a node type; JSON data."""
    return {
        "type": cls.type,
        "category": cls.category,
        "verb": cls.verb,
        "title": cls.type.replace("_", " ").capitalize(),
        "description": inspect.cleandoc(cls.__doc__ or "").split("\n\n")[0].replace("\n", " "),
        "example": example(cls),
        "handles": [
            {"id": handle.id, "label": handle.label, "required": handle.required}
            for handle in cls.handles
        ],
        "needsContact": cls.needs_contact,
        "schema": json_schema(cls),
    }


def example(cls: type[NodeType]) -> str | None:
    """Return Python that makes the smallest ``flow`` with a node of that type; ``fk`` is flowkit.

    It is the example of the type's docstring; None where there is none.
    """
    lines = re.findall(r"^ *(?:>>>|\.\.\.) (.*)$", cls.__doc__ or "", re.MULTILINE)
    return "\n".join(lines) or None


def read_node(name: str, config: Mapping[str, Any], path: str = "") -> NodeType:
    """Return the node that a type's name and a config describe.

    Raises
    ------
    Invalid
        When there is no such type or the config has errors.
    """
    try:
        cls = node_type(name)
    except NotFound as error:
        raise Invalid([Problem("node.unknown_type", path + pointer("type"), str(error))]) from error
    made, found = parse(cls, config, path + pointer("config"))
    if made is None:
        raise Invalid(errors(found))
    return made
