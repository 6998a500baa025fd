"""The built-in node types, one family a file.

Every module of this package is imported, so a new file, or a new class in one, is all that a new
node type takes. Imports `nodetype`.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

from flowkit.nodetype import NodeType

for _module in pkgutil.iter_modules(__path__):
    for _value in vars(importlib.import_module(f"{__name__}.{_module.name}")).values():
        if isinstance(_value, type) and issubclass(_value, NodeType) and _value is not NodeType:
            globals()[_value.__name__] = _value


def __getattr__(name: str) -> Any:
    # Only for type-checkers, which cannot follow the loop above.
    raise AttributeError(f"there is no built-in node type {name}")
