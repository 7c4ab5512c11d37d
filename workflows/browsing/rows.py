"""The rows of the index: one per path of some shards, with what a list shows and filters by.

Texts stay where they are: of a solution only its length is kept, and of a rationale its verdicts.

Invariant: rows are a pure function of committed rows and drops. A path ended at the first stage
that dropped it or its problem, as `why` says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import polars as pl
import pyarrow as pa

from storage.errors import ConfigurationError
from storage.rows import schemas
from storage.rows.kinds import (
    AGREEMENTS,
    LABELS,
    PATHS,
    PROBLEMS,
    RATIONALES,
    ROLLOUTS,
    Rows,
    ShardRows,
    unfolding,
)
from storage.rows.parquet import read_parquet
from storage.runs.commits import Commit, receipt_of
from storage.runs.run import Run

VERSION = 2
"""Of the rows below and what `glance` makes of them: an index of another version is made anew."""
NO_ERROR = -1
TITLE = 160
"""Characters of a problem that a list shows."""

_TEXT = ("path_id", "problem_id", "state", "stage", "reason", "level", "subject", "source", "form",
         "votes", "code", "title")  # fmt: skip
_SHORT = ("round", "first_error", "judge_first_error")
_WHOLE = ("shard", "steps", "length", "tokens", "rollouts", "written", "attempts")
SCHEMA = pl.Schema(
    [(name, pl.String()) for name in _TEXT]
    + [(name, pl.Int16()) for name in _SHORT]
    + [(name, pl.Int32()) for name in _WHOLE]
    + [("correct", pl.Boolean()), ("pass_at_1", pl.Float32()), ("threshold", pl.Float32())]
    + [("mc", pl.List(pl.Float32())), ("labels", pl.List(pl.Boolean()))]
)
"""Column -> type. The first errors are -1 where no step is wrong, null where nothing was said;
`rollouts` is the greatest number of rollouts of a state."""

_PATHS = ("path_id", "problem_id", "round", "steps", "correct", "invalid_reason", "duplicate_of",
          "selected", "tokens")  # fmt: skip
_LABELS = ("path_id", "mc", "n", "labels", "first_error", "form", "threshold", "policy_pass_at_1")
_RATIONALES = ("path_id", "votes", "executions", "tokens", "attempt", "dropped")
_AGREEMENTS = ("path_id", "reason", "judge_first_error")
_PROBLEMS = ("problem_id", "problem", "level", "subject", "source")
_LEAVES = {"executions": "executions.list.element.verdict"}
"""What is decoded of a column of structs."""


@dataclass(frozen=True, slots=True)
class Part:
    """Some shards, read."""

    rows: pl.DataFrame
    figures: pl.DataFrame
    """stage, name, value: sums over the commits (`rows`, `bytes`, `seconds`, `engine_s`, `shards`,
    `counts.X`, `drops.X`)."""


def read_part(run: Run, shards: Sequence[int], done: dict[int, tuple[str, ...]]) -> Part:
    """The rows of some shards; `done` says which stages of each are committed."""
    commits = {
        stage: [run.commit(stage, shard) for shard in shards if stage in done[shard]]
        for stage in run.spec.stages
    }
    whole = {shard for shard in shards if len(done[shard]) == len(run.spec.stages)}
    return Part(_rows(run, commits, whole), _figures(commits))


def check_browsable(run: Run) -> None:
    """Raise ConfigurationError for a run that samples no paths."""
    if PATHS.stage not in run.spec.stages:
        raise ConfigurationError(
            f"run {run.name!r} has no paths, only {', '.join(run.spec.stages)}: "
            "look at it with open_run(...).scan(STAGE)"
        )


def _figures(commits: dict[str, list[Commit]]) -> pl.DataFrame:
    said = [
        (stage, name, float(value))
        for stage, made in commits.items()
        for commit in made
        for name, value in chain(
            (("shards", 1), ("rows", commit.rows), ("seconds", commit.seconds)),
            (("bytes", commit.bytes), ("engine_s", receipt_of(commit).busy_s)),
            ((f"counts.{name}", value) for name, value in commit.counts.items()),
            ((f"drops.{drop.reason}", 1) for drop in commit.drops),
        )
    ]
    schema = {"stage": pl.String, "name": pl.String, "value": pl.Float64}
    frame = pl.DataFrame(said, schema=schema, orient="row")
    return frame.group_by("stage", "name", maintain_order=True).sum()


def _rows(run: Run, commits: dict[str, list[Commit]], whole: set[int]) -> pl.DataFrame:
    stages = run.spec.stages
    problems = _table(run, PROBLEMS, commits, _PROBLEMS).unique("problem_id", keep="first")
    kind = unfolding(stages)
    paths = _unfolded(run, commits, kind) if kind else _table(run, PATHS, commits, _PATHS)
    frame = (
        paths.lazy()
        .with_columns(
            steps=pl.col("steps").list.len().cast(pl.Int32),
            length=pl.col("steps").list.eval(pl.element().str.len_chars()).list.sum(),
        )
        .join(
            problems.lazy().with_columns(title=pl.col("problem").str.slice(0, TITLE)).drop("shard"),
            on="problem_id", how="left", maintain_order="left",
        )
    )  # fmt: skip
    for of in (_labelled(run, commits), _written(run, commits), _agreed(run, commits)):
        frame = frame.join(of.lazy(), on="path_id", how="left", maintain_order="left")
    frame = _ended(frame, run, commits, whole)
    present = frame.collect_schema().names()
    lacking = {name: pl.lit(None, dtype) for name, dtype in SCHEMA.items() if name not in present}
    return frame.with_columns(**lacking).select(*SCHEMA.names()).cast(SCHEMA).collect()


def _ended(
    frame: pl.LazyFrame, run: Run, commits: dict[str, list[Commit]], whole: set[int]
) -> pl.LazyFrame:
    """With `stage`, `reason` and `state`: the first stage that dropped the path or its problem."""
    stages = run.spec.stages
    sample = stages.index(PATHS.stage)
    dropped = pl.DataFrame(
        [
            (stages.index(commit.stage), drop.item, drop.reason)
            for made in commits.values() for commit in made for drop in commit.drops
        ],
        schema={"at": pl.Int32, "item": pl.String, "why": pl.String}, orient="row",
    ).sort("at", maintain_order=True).unique("item", keep="first")  # fmt: skip
    of_problems = dropped.filter(pl.col("at") <= sample)
    of_paths = dropped.filter(pl.col("at") > sample)
    last: dict[int, int] = {}
    for number, stage in enumerate(stages):
        last |= {commit.shard: number for commit in commits[stage]}
    reached = pl.DataFrame(
        {"shard": list(last), "reached": list(last.values()), "whole": [s in whole for s in last]},
        schema={"shard": pl.Int32, "reached": pl.Int32, "whole": pl.Boolean},
    )
    unselected = pl.coalesce(
        "invalid_reason",
        pl.when(pl.col("duplicate_of").is_not_null()).then(pl.lit("duplicate")),
        pl.lit("not_selected"),
    )
    gone = ~pl.col("selected")
    names = pl.Series(list(stages))
    at = pl.coalesce("at", pl.when(gone).then(sample), "at_path", "reached")
    return (
        frame.join(of_problems.lazy(), left_on="problem_id", right_on="item", how="left",
                   maintain_order="left")
        .join(of_paths.lazy().rename({"at": "at_path", "why": "why_path"}), left_on="path_id",
              right_on="item", how="left", maintain_order="left")
        .join(reached.lazy(), on="shard", how="left", maintain_order="left")
        .with_columns(
            reason=pl.coalesce("why", pl.when(gone).then(unselected), "why_path"),
            stage=at.replace_strict(list(range(len(names))), names, return_dtype=pl.String),
        )
        .with_columns(
            state=pl.when(pl.col("reason").is_not_null()).then(pl.lit("dropped"))
            .when("whole").then(pl.lit("kept")).otherwise(pl.lit("open")),
        )
    )  # fmt: skip


def _labelled(run: Run, commits: dict[str, list[Commit]]) -> pl.DataFrame:
    rows = _table(run, LABELS, commits, _LABELS)
    return rows.select(
        "path_id", "labels", "form", "threshold", mc=pl.col("mc").cast(pl.List(pl.Float32)),
        rollouts=pl.col("n").list.max(), pass_at_1=pl.col("policy_pass_at_1").fill_nan(None),
        first_error=pl.col("first_error").fill_null(NO_ERROR),
    )  # fmt: skip


def _written(run: Run, commits: dict[str, list[Commit]]) -> pl.DataFrame:
    """Of each path the rationale that stands, and how many were tried."""
    rows = _table(run, RATIONALES, commits, _RATIONALES).sort("path_id", "attempt")
    verdicts = pl.col("executions").list.eval(pl.element().struct.field("verdict"))
    bad = verdicts.list.eval(pl.element().filter(pl.element() != "ok"))
    code = (
        pl.when(verdicts.list.len() == 0).then(pl.lit("none"))
        .when(bad.list.len() == 0).then(pl.lit("ok")).otherwise(bad.list.first())
    )  # fmt: skip
    known = pl.col("votes").list.drop_nulls()
    votes = (
        pl.when(pl.col("votes").list.len() == 0).then(None)
        .when(known.list.len() == 0).then(pl.lit("unreadable"))
        .when(known.list.n_unique() > 1).then(pl.lit("split")).otherwise(pl.lit("unanimous"))
    )  # fmt: skip
    stands = pl.col("dropped").is_null()
    return (
        rows.with_columns(code=pl.when(stands).then(code), votes=pl.when(stands).then(votes))
        .group_by("path_id", maintain_order=True)
        .agg(
            pl.col("code").drop_nulls().last(),
            pl.col("votes").drop_nulls().last(),
            written=pl.col("tokens").sum(),
            attempts=pl.len(),
        )
    )


def _agreed(run: Run, commits: dict[str, list[Commit]]) -> pl.DataFrame:
    rows = _table(run, AGREEMENTS, commits, _AGREEMENTS)
    unread = pl.col("reason").str.starts_with("judge_").fill_null(False)
    said = pl.when(~unread).then(pl.col("judge_first_error").fill_null(NO_ERROR))
    return rows.select("path_id", judge_first_error=said)


def _table(
    run: Run, kind: Rows[Any], commits: dict[str, list[Commit]], names: Sequence[str]
) -> pl.DataFrame:
    """Some columns of a stage with their shards; no rows where the run lacks the stage."""
    fields = [_leaf_field(kind, name) for name in names]
    empty = pa.schema(fields).empty_table().append_column("shard", pa.array([], pa.int32()))
    tables = [empty]
    for commit in commits.get(kind.stage, ()):
        wanted = [_LEAVES.get(name, name) for name in names]
        table = read_parquet(kind.record, run.data_of(commit), key=commit.data_key, columns=wanted)
        table = schemas.completed(kind.record, table, names).replace_schema_metadata(None)
        shard = pa.array([commit.shard] * table.num_rows, pa.int32())
        tables.append(table.append_column("shard", shard))
    frame = pl.from_arrow(pa.concat_tables(tables, promote_options="permissive"))
    assert isinstance(frame, pl.DataFrame)
    return frame


def _leaf_field(kind: Rows[Any], name: str) -> pa.Field:
    if name not in _LEAVES:
        return schemas.schema_of(kind.record).field(name)
    leaf = pa.struct([pa.field("verdict", pa.string(), nullable=False)])
    return pa.field(name, pa.list_(pa.field("element", leaf, nullable=False)), nullable=False)


def _unfolded(run: Run, commits: dict[str, list[Commit]], kind: Rows[Any]) -> pl.DataFrame:
    """The paths that later stages read in the place of sampled ones."""
    sampled = {commit.shard: commit for commit in commits[PATHS.stage]}
    made = {commit.shard: commit for commit in commits[kind.stage]}
    frames = []
    for shard, commit in sampled.items():
        paths = {path.path_id: path for path in run.rows_of(commit, PATHS)}
        if shard in made and kind.unfold:
            rows = {PATHS: paths.values(), kind: run.rows_of(made[shard], kind), ROLLOUTS: ()}
            for path in (each for each in kind.unfold(ShardRows(rows))[PATHS] if each.selected):
                known = paths.get(path.path_id, path)
                paths[path.path_id] = replace(
                    known, steps=path.steps, correct=path.correct, selected=True
                )
        found = pl.from_arrow(schemas.to_table(PATHS.record, list(paths.values())))
        assert isinstance(found, pl.DataFrame)
        frames.append(found.select(_PATHS).with_columns(shard=pl.lit(shard, pl.Int32)))
    return pl.concat(frames) if frames else _table(run, PATHS, {}, _PATHS)
