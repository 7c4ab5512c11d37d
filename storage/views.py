"""The shapes in which a run's rows can be handed out: a view maps one shard's rows to other rows.

Invariant: a view is a pure function of one shard of committed rows, so that a dataset in another
shape costs no token; its name is the name of its folder.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from storage.records import Example


@dataclass(frozen=True, slots=True)
class View:
    """One shape of the dataset."""

    name: str
    title: str
    """One sentence for the dataset card."""
    row_type: type[Any]
    """A dataclass of the kind that `storage.schemas` understands."""
    rows: Callable[..., Sequence[Any]]
    """Takes the shard's rows of each stage of `reads`, in that order."""
    reads: tuple[str, ...] = ("export",)
    without: tuple[str, ...] = ()
    """Those of `reads` that a run may lack: it has no rows of them."""


GENPRM = View(
    name="genprm",
    title="Conversations in GenPRM's format: a user turn per solution step, an assistant turn "
    "that judges it with a boxed Yes or No, after the analysis and executed Python that the run "
    "has of it.",
    row_type=Example,
    rows=lambda examples: examples,
)
