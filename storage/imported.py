"""Functions that a setting names, written as `package.module:function`."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from storage.errors import ConfigurationError


def imported(name: str, what: str) -> Callable[..., Any]:
    """Load a function by its name. Raises ConfigurationError, which begins with `what`."""
    module, _, function = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigurationError(
            f"{what} is written as package.module:function, not {name!r}"
        ) from error
    if not callable(found):
        raise ConfigurationError(f"{name} is no function")
    loaded: Callable[..., Any] = found
    return loaded
