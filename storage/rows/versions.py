"""The name and the schema version of each record kind. No Arrow here: it is slow to import.

Invariant: a kind is the snake_case name of its record class, and a record's `VERSION` its version.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

GOES_ON_FROM = {"rationale": 2, "example": 2}
"""Kind -> the oldest version of its rows with which a run may go on. Fields added since then do not
change what later stages make of the rows."""


def kind_of(row_type: type[Any]) -> str:
    """`StateRollouts` -> `state_rollouts`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", row_type.__name__).lower()


def version_of(row_type: type[Any]) -> int:
    """The schema version this program writes: the record's `VERSION`, or 1."""
    version: int = getattr(row_type, "VERSION", 1)
    return version


def schema_versions(row_types: Iterable[type[Any]]) -> dict[str, int]:
    """Kind -> version, for a run's spec."""
    return {kind_of(row_type): version_of(row_type) for row_type in row_types}


def resumed_version(kind: str, stored: int, current: int) -> int:
    """The version for a resumed run: `stored` if `GOES_ON_FROM` allows it, else `current`."""
    return stored if GOES_ON_FROM.get(kind, current) <= stored < current else current
