"""The paths of a run beside those of another: whether they differ, and in what.

Both runs know a path by its id. A solution of another length under the same id is another solution.

Invariant: what differs follows from the two indexes alone.
"""

from __future__ import annotations

import polars as pl

DIFFERS = ("absent", "solution", "labels", "judge", "fate", "same")
"""What differs first, in this order: the other run has no such path, the solution, the first error
by labels, the first error by the judge, where it ended. `same`: nothing of these."""
_SAME_SOLUTION = ("steps", "length")
SHOWN = ("state", "stage", "reason", "first_error", "judge_first_error")
"""Columns of the other run that a list shows, named `beside_X`."""


def with_beside(frame: pl.DataFrame, other: pl.DataFrame) -> pl.DataFrame:
    """Rows of the index with `differs` and the columns of the other run."""
    names = (*SHOWN, *_SAME_SOLUTION)
    found = other.select("path_id", *(pl.col(name).alias(f"beside_{name}") for name in names))
    joined = frame.lazy().join(found.lazy(), on="path_id", how="left", maintain_order="left")

    def differs(*columns: str) -> pl.Expr:
        return pl.any_horizontal(
            pl.col(name).ne_missing(pl.col(f"beside_{name}")) for name in columns
        )

    said = (
        pl.when(pl.col("beside_state").is_null()).then(pl.lit("absent"))
        .when(differs(*_SAME_SOLUTION)).then(pl.lit("solution"))
        .when(differs("first_error")).then(pl.lit("labels"))
        .when(differs("judge_first_error")).then(pl.lit("judge"))
        .when(differs("state", "stage", "reason")).then(pl.lit("fate"))
        .otherwise(pl.lit("same"))
    )  # fmt: skip
    lean = [f"beside_{name}" for name in _SAME_SOLUTION]
    return joined.with_columns(differs=said).drop(lean).collect()
