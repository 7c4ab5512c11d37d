"""What each problem of a run took, read from the shards that have passed its whole road.

A commit has the true sums of its shard. They are split among the shard's problems by what the rows
say: tokens by their tokens, texts by their texts, seconds by tokens, bytes by rows. Of the bytes
of a file those are left out that it has whatever its rows.

Invariant: the figures of all problems of a shard add up to what its commits say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from storage.errors import NothingFound
from storage.rows.kinds import Rows, stage_rows
from storage.rows.parquet import encode_shard
from storage.runs.commits import Commit, receipt_of
from storage.runs.run import READERS, Run
from workflows.road import StageSpec
from workflows.stages import road_of

MOST_SHARDS = 64
"""Shards of a source that are read; more would make its ranges little narrower."""
TEXTS = {"policy": "paths", "completer": "rollouts", "prover": "rollouts"}
"""Role -> what its texts are called."""
Floats = np.ndarray[Any, np.dtype[np.float64]]


class Name(NamedTuple):
    """Which figure: of a role, or of the whole run (role empty)."""

    role: str
    what: str


@dataclass(frozen=True, slots=True)
class Measured:
    """The figures of some problems of a run."""

    run: str
    figures: Mapping[Name, Floats]
    """Name -> a value for each problem that was measured."""
    models: Mapping[str, str]
    at_once: int
    """Problems that a worker had at once, at most."""
    shares: bool = True
    """Whether its commits record how shards shared their workers' time."""
    files_bytes: int = 0
    """Bytes of a shard's files, of all stages, that do not depend on its rows."""

    @property
    def problems(self) -> int:
        """Number of problems that were measured."""
        return len(next(iter(self.figures.values())))

    def only(self, which: np.ndarray[Any, np.dtype[Any]]) -> Measured:
        """The same of some problems, by their positions."""
        some = {name: values[which] for name, values in self.figures.items()}
        return replace(self, figures=some)


def measured(run: Run, parallel: int, stages: Sequence[str] | None = None) -> Measured:
    """Measure the problems of a run, finished or not; `parallel`: shards at once on its workers.

    `stages`: only these of its road. Raises NothingFound where no shard has passed them yet.
    """
    road = [s for s in road_of(run.spec.stages[1:]) if stages is None or s.name in stages]
    done = sorted(run.shards_of(run.input_stage, *(spec.name for spec in road)))
    if not done:
        raise NothingFound(
            f"run {run.name!r} has no shard that passed every stage: let it work on, or name "
            f"another"
        )
    at = np.linspace(0, len(done) - 1, min(len(done), MOST_SHARDS)).astype(int)
    shards = [done[position] for position in at]
    with ThreadPoolExecutor(READERS) as readers:
        parts = list(readers.map(lambda shard: _of_shard(run, road, shard), shards))
    figures = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    at_once = min(len(done), parallel) * run.spec.plan.items_per_shard
    asked = [spec.name for spec in road if spec.role != "cpu"]
    shares = all(run.commit(stage, shards[0]).share_s for stage in asked)
    at_once = min(at_once, run.spec.plan.items)
    files = sum(map(file_bytes, (run.input_stage, *(spec.name for spec in road))))
    return Measured(run.name, figures, run.spec.models, at_once, shares, files)


@cache
def file_bytes(stage: str) -> int:
    """Bytes of a shard's file in a stage that do not depend on its rows.

    Twice those of a file without rows: so the demo's shards of 1, 5 and 12 problems agree on what a
    problem takes.
    """
    return 2 * len(encode_shard(stage_rows(stage).record, []).data)


def _content(commit: Commit) -> int:
    return max(0, commit.bytes - file_bytes(commit.stage))


def _of_shard(run: Run, road: Sequence[StageSpec], shard: int) -> dict[Name, Floats]:
    """The figures of a shard's problems."""
    given = stage_rows(run.input_stage)
    items = run.read_table(given, shard, [given.of])[given.of].to_pylist()
    nothing = np.zeros(len(items))
    size = _content(run.commit(run.input_stage, shard)) / len(items)
    figures: dict[Name, Floats] = {Name("", "bytes"): nothing + size}
    for spec in road:
        kind, commit = stage_rows(spec.name), run.commit(spec.name, shard)
        rows = _rows(run, kind, shard, items)
        found: dict[Name, Floats] = {Name("", "bytes"): _split(_content(commit), rows["rows"])}
        if spec.role != "cpu":
            found |= _of_role(spec.role, commit, rows)
        if spec.name == run.spec.stages[-1]:
            found[Name("", "kept")] = rows["rows"]
        for name, values in found.items():
            figures[name] = figures.get(name, nothing) + values
    return figures


def _of_role(role: str, commit: Commit, rows: Mapping[str, Floats]) -> dict[Name, Floats]:
    counts, tokens = commit.counts, rows["tokens"]
    return {
        Name(role, TEXTS.get(role, "texts")): _split(counts.get("texts", 0), rows["texts"]),
        Name(role, "tokens"): _split(counts.get("tokens", 0), tokens),
        Name(role, "prompt_tokens"): _split(counts.get("prompt_tokens", 0), rows["texts"]),
        Name(role, "engine_s"): _split(receipt_of(commit).busy_s, tokens),
    }


def _rows(run: Run, kind: Rows[Any], shard: int, items: Sequence[str]) -> dict[str, Floats]:
    """Of each problem: its rows, and the texts and tokens that they stand for.

    Rows that name neither a problem nor a path count as none of theirs.
    """
    has = {field.name for field in fields(kind.record)}
    given = stage_rows(run.input_stage).of
    of = given if given in has else "path_id" if "path_id" in has else None
    if of is None:
        return dict.fromkeys(("rows", "texts", "tokens"), np.zeros(len(items)))
    names = [name for name in (of, "tokens", "n", "shared") if name in has]
    frame = pl.DataFrame(run.read_table(kind, shard, names)).with_columns(
        item=of if of == given else pl.col(of).str.replace(r"#[^#]*$", ""),
        texts=pl.when("shared").then(0).otherwise("n") if {"n", "shared"} <= has else pl.lit(1),
        tokens="tokens" if "tokens" in has else pl.lit(1),
    )
    by_item = frame.group_by("item").agg(pl.len().alias("rows"), pl.col("texts", "tokens").sum())
    whole = pl.DataFrame({"item": items}).join(
        by_item, on="item", how="left", maintain_order="left"
    )  # fmt: skip
    filled = whole.fill_null(0)
    return {name: filled[name].to_numpy().astype(float) for name in ("rows", "texts", "tokens")}


def _split(total: float, weights: Floats) -> Floats:
    """A sum split by weights; evenly where all are 0."""
    of_all = weights.sum()
    return total * weights / of_all if of_all else np.full(len(weights), total / len(weights))
