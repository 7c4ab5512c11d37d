"""Which rows of the input a build leaves out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from storage.bounds import STRICT, Plain


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaveOutSettings:
    """Problems that a build leaves out: dropped with their reason, counted and said."""

    __pydantic_config__ = STRICT

    wrong: Literal["refuse", "drop"] = "refuse"
    """A row that can't be read, lacks its problem or answer, has a broken answer or the id of
    another: it refuses the whole file, with all such rows named, or is dropped as `wrong_row`."""
    repeated: Literal["keep", "drop"] = "keep"
    """`drop`: a problem whose text an earlier one has is dropped as `repeated`; `keep`: how many
    there are is said."""
    sentences: Literal["keep", "drop"] = "keep"
    """`drop`: a problem whose answer is a sentence is dropped as `sentence`, since it is compared
    letter by letter; `keep`: how many there are is said."""
    against: tuple[Plain, ...] = ()
    """Benchmarks, each read as `problems` is: a problem that stands in one, or shares 13 words in
    a row with one of its problems, is dropped as `contaminated`."""
