"""A run at a glance: the figures of its first page, from the index alone.

Invariant: every figure is a sum over the rows and commits that the index holds, so that figures of
a run that is still read are those of the part that is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from storage.runs.run import Run
from workflows.browsing.filters import UNSET, shown_value

BINS = 20
"""Of the histogram of MC."""
MOST = 40
"""Groups of a figure; what is behind them is left out."""


def glance(run: Run, frame: pl.DataFrame, figures: pl.DataFrame) -> dict[str, Any]:
    """All figures, ready for JSON."""
    labelled = frame.filter(pl.col("labels").is_not_null())
    return {
        "run": run.name,
        "problems": run.spec.plan.items,
        "paths": frame.height,
        "states": _counts(frame, "state"),
        "stages": _stages(run, figures),
        "funnel": _funnel(run.spec.stages, frame),
        "pass_at_1": {name: _pass_at_1(frame, name) for name in ("level", "subject")},
        "mc": _histogram(labelled),
        "rollouts": _counts(labelled, "rollouts"),
        "labels": _labels(labelled),
        "agreement": _agreement(labelled),
        "votes": _counts(frame.filter(pl.col("votes").is_not_null()), "votes"),
        "code": _counts(frame.filter(pl.col("code").is_not_null()), "code"),
        "models": dict(run.spec.models),
    }


def _counts(frame: pl.DataFrame, name: str) -> list[list[Any]]:
    """[value, paths], the value that most have first; numbers in their order."""
    found = frame.group_by(name).len()
    by_value = frame.schema[name].is_numeric()
    found = found.sort(name) if by_value else found.sort("len", name, descending=[True, False])
    return [list(row) for row in found.head(MOST).iter_rows()]


def _stages(run: Run, figures: pl.DataFrame) -> list[dict[str, Any]]:
    """Of each stage its shards, rows, seconds of work, tokens and drops."""
    found = []
    for stage in run.spec.stages:
        of = figures.filter(pl.col("stage") == stage)
        said = dict(zip(of["name"], of["value"], strict=True))
        drops = {
            name.removeprefix("drops."): int(value)
            for name, value in said.items() if name.startswith("drops.")
        }  # fmt: skip
        found.append({
            "stage": stage,
            "shards": int(said.get("shards", 0)),
            "of_shards": run.spec.plan.shards,
            "rows": int(said.get("rows", 0)),
            "seconds": round(said.get("seconds", 0.0), 1),
            "tokens": int(said.get("counts.tokens", 0)),
            "bytes": int(said.get("bytes", 0)),
            "engine_s": round(said.get("engine_s", 0.0), 3),
            "counts": {
                name: int(said.get(f"counts.{name}", 0))
                for name in ("texts", "tokens", "prompt_tokens")
            },
            "drops": sorted(drops.items(), key=lambda drop: -drop[1]),
        })  # fmt: skip
    return found


def _funnel(stages: Sequence[str], frame: pl.DataFrame) -> list[dict[str, Any]]:
    """Of each stage that paths end at: how many entered, and what they ended as."""
    ended = (
        frame.filter(pl.col("reason").is_not_null())
        .group_by("stage", "reason").len().sort("len", descending=True)
    )  # fmt: skip
    left, found = frame.height, []
    for stage in stages:
        lost = ended.filter(pl.col("stage") == stage)
        reasons = [[reason, n] for reason, n in lost.select("reason", "len").iter_rows()]
        found.append({"stage": stage, "entered": left, "reasons": reasons})
        left -= sum(n for _, n in reasons)
    return found


def _pass_at_1(frame: pl.DataFrame, name: str) -> list[list[Any]]:
    """[group, problems, Pass@1]: the share of right answers of the first round, problem by problem.

    Later rounds go on only for problems that lack something, and would pull the share down.
    """
    found = (
        frame.lazy().filter(pl.col("round") == 0)
        .group_by(name, "problem_id").agg(pl.col("correct").mean())
        .group_by(name).agg(pl.len(), pl.col("correct").mean()).sort(name)
        .head(MOST).collect()
    )  # fmt: skip
    return [[group or UNSET, n, round(share, 4)] for group, n, share in found.iter_rows()]


def _histogram(labelled: pl.DataFrame) -> list[int]:
    """States by their MC; the last bin holds 1, and the last state of a path is left out."""
    bins = (
        labelled.lazy()
        .select(mc=pl.col("mc").list.head(pl.col("mc").list.len() - 1).explode())
        .select(bin=(pl.col("mc") * BINS).floor().clip(0, BINS - 1).cast(pl.Int32))
        .drop_nulls().group_by("bin").len().collect()
    )  # fmt: skip
    counts = dict(bins.iter_rows())
    return [counts.get(bin, 0) for bin in range(BINS)]


def _labels(labelled: pl.DataFrame) -> list[dict[str, Any]]:
    """By form: paths, paths without a wrong step, steps, and wrong steps."""
    steps = pl.col("labels").list.len().sum()
    right = pl.col("labels").list.sum().sum()
    return (
        labelled.group_by("form")
        .agg(
            paths=pl.len(), clean=(pl.col("first_error") == -1).sum(), steps=steps, right=right,
            threshold=pl.col("threshold").first(),
        )
        .sort("form").to_dicts()
    )  # fmt: skip


def _agreement(labelled: pl.DataFrame) -> dict[str, Any]:
    """Paths by what labels and judge say of each: first error against first error."""
    both = labelled.filter(pl.col("judge_first_error").is_not_null())
    label, judge = pl.col("first_error"), pl.col("judge_first_error")
    named = (
        pl.when((label == -1) & (judge == -1)).then(pl.lit("neither sees an error"))
        .when(label == judge).then(pl.lit("the same first error"))
        .when(label == -1).then(pl.lit("only the judge sees one"))
        .when(judge == -1).then(pl.lit("only the labels see one"))
        .when(judge < label).then(pl.lit("the judge sees an earlier one"))
        .otherwise(pl.lit("the judge sees a later one"))
    )  # fmt: skip
    kinds = both.select(kind=named)
    cells = (
        both.group_by(shown_value("first_error"), shown_value("judge_first_error")).len()
        .sort("len", descending=True).head(400)
    )  # fmt: skip
    return {
        "paths": both.height,
        "kinds": _counts(kinds, "kind"),
        "cells": [list(row) for row in cells.iter_rows()],
    }
