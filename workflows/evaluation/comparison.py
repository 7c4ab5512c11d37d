"""Compares runs: what their labels cost, where they differ, and how many of them are true.

Each run is compared with the first run on the paths that both have, and with the true labels if
they are given. Two paths are the same if problem, index and steps are.

Invariant: all is read from commits and rows, and nothing is written. Of an unfinished run the
committed shards are compared.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path as File

import polars as pl
import pyarrow.parquet as pq

from storage.errors import InputError
from storage.rows.kinds import AGREEMENTS, GIVEN, LABELS, PATHS
from storage.runs.pilot_record import pilot_record
from storage.runs.run import Run
from storage.runs.scan import scan
from workflows.labels.scores import Scores, difference

First = int | None
"""First error of a path, 0-based; None: no step is wrong."""


@dataclass(frozen=True, slots=True)
class LabelledRun:
    """The labels of a run's paths, and what they cost."""

    name: str
    solutions: int
    """Selected paths."""
    rollouts: int
    rollout_tokens: int
    tokens: int
    """Of all stages."""
    labels: Mapping[str, tuple[bool, ...]]
    """Path and digest of its steps -> labels."""
    kept: frozenset[str] | None
    """Keys of the paths that consensus kept; None where the run has no consensus."""
    drops: Mapping[str, int]
    """`stage: reason` -> items."""
    path_ids: Mapping[str, str]
    """The same keys -> path_id."""
    pilot_rollouts: int = 0
    """Rollouts of the run's pilot; not part of `rollouts`."""


@dataclass(frozen=True, slots=True)
class Compared:
    """One line of the comparison; shares are None where there is nothing to compare with."""

    run: str
    solutions: int
    labelled: int
    rollouts: int
    rollouts_per_solution: float
    rollout_tokens: int
    tokens: int
    kept_share: float | None
    common: int
    """Paths that both this run and the first have labelled."""
    differs: float | None
    """Share of their labels that differ from the first run's."""
    first_error_differs: float | None
    precision: float | None
    recall: float | None
    f1: float | None
    first_error_true: float | None
    kept_f1: float | None
    kept_first_error_true: float | None
    drops: Mapping[str, int]
    pilot_rollouts: int = 0
    known: int = 0
    """Labelled paths of which the truth is known."""


def read_labels(run: Run) -> LabelledRun:
    """Read the labels that a run has committed, and its costs; keeps digests instead of texts."""
    stages = run.spec.stages
    judged = AGREEMENTS.stage in stages
    paths = _selected(run)
    labelled = LABELS if LABELS.stage in stages else AGREEMENTS
    rows = _keyed(run, labelled.stage, paths, "labels")
    kept = _keyed(run, AGREEMENTS.stage, paths, "kept").filter("kept")["key"]
    totals = {stage: run.totals(stage) for stage in stages}
    drops = Counter(
        {f"{stage}: {why}": n for stage, sums in totals.items() for why, n in sums.drops.items()}
    )
    pilot = pilot_record(run.store, run.name)
    rolled = [sums.counts for sums in totals.values() if "rollouts" in sums.counts]
    return LabelledRun(
        name=run.name,
        solutions=paths.height,
        rollouts=sum(counts.get("rollouts", 0) for counts in rolled),
        rollout_tokens=sum(counts.get("tokens", 0) for counts in rolled),
        tokens=sum(sums.counts.get("tokens", 0) for sums in totals.values()),
        labels=dict(zip(rows["key"], map(tuple, rows["labels"].to_list()), strict=True)),
        kept=frozenset(kept) if judged else None,
        drops=dict(sorted(drops.items())),
        path_ids=dict(zip(rows["key"], rows["path_id"], strict=True)),
        pilot_rollouts=0 if pilot is None else pilot.rollouts,
    )


def _selected(run: Run) -> pl.DataFrame:
    """The selected paths (path_id, key); the key is the same in every run with the same steps."""
    if PATHS.stage not in run.spec.stages:
        return pl.DataFrame(schema={"path_id": pl.String, "key": pl.String})
    digest = pl.col("steps").list.join("\x1f").hash()
    key = pl.format("{}@{}", "path_id", digest).alias("key")
    return scan(run, PATHS.stage).filter("selected").select("path_id", key).collect()


def _keyed(run: Run, stage: str, paths: pl.DataFrame, column: str) -> pl.DataFrame:
    """A column of a stage by the keys of its paths; the key of a tree's path is its path_id."""
    if stage not in run.spec.stages:
        return pl.DataFrame(schema={"path_id": pl.String, "key": pl.String, column: pl.Boolean})
    rows = scan(run, stage).select("path_id", column).collect()
    named = rows.join(paths, on="path_id", how="left", maintain_order="left")
    return named.with_columns(pl.coalesce("key", "path_id").alias("key"))


def compare(
    runs: Sequence[LabelledRun], truth: Mapping[tuple[str, str], First] | None = None
) -> list[Compared]:
    """Make one line per run; `truth` maps (run, path_id) to the first error.

    A truth that is given for a path of one run counts for the same path of another run.
    """
    known: dict[str, First] = {}
    for run in runs if truth else ():
        assert truth is not None
        for key, path_id in run.path_ids.items():
            for named in ((run.name, path_id), ("", path_id)):
                if named in truth:
                    known[key] = truth[named]
                    break
    return [_compared(run, runs[0], known) for run in runs]


def _compared(run: LabelledRun, first: LabelledRun, truth: Mapping[str, First]) -> Compared:
    against = difference(run.labels, first.labels)
    comparable = against.paths and run is not first
    all_of, kept = Scores(), Scores()
    for key, labels in run.labels.items():
        if key in truth and labels:
            for scores in (all_of, kept) if run.kept and key in run.kept else (all_of,):
                scores.add(labels, truth[key])
    known, known_kept = bool(all_of.paths), bool(kept.paths)
    return Compared(
        run=run.name,
        solutions=run.solutions,
        labelled=len(run.labels),
        rollouts=run.rollouts,
        rollouts_per_solution=round(run.rollouts / max(1, run.solutions), 2),
        rollout_tokens=run.rollout_tokens,
        tokens=run.tokens,
        kept_share=None if run.kept is None else _share(len(run.kept), len(run.labels)),
        common=against.paths,
        differs=round(against.error, 4) if comparable else None,
        first_error_differs=round(1 - against.first_accuracy, 4) if comparable else None,
        precision=round(all_of.precision, 4) if known else None,
        recall=round(all_of.recall, 4) if known else None,
        f1=round(all_of.f1, 4) if known else None,
        first_error_true=round(all_of.first_accuracy, 4) if known else None,
        kept_f1=round(kept.f1, 4) if known_kept else None,
        kept_first_error_true=round(kept.first_accuracy, 4) if known_kept else None,
        drops=run.drops,
        pilot_rollouts=run.pilot_rollouts,
        known=all_of.paths,
    )


def _share(part: int, whole: int) -> float:
    return round(part / max(1, whole), 4)


def people_say(run: Run) -> dict[tuple[str, str], First]:
    """(run, path_id) -> first error, as the file of given solutions labels it."""
    if GIVEN.stage not in run.spec.stages:
        return {}
    return {
        (run.name, path_id): None if label == -1 else label
        for shard in sorted(run.shards_of(GIVEN.stage))
        for given in run.read_rows(GIVEN, shard)
        for path_id, label in given.labels.items()
        if label is not None
    }


def read_truth(file: File) -> dict[tuple[str, str], First]:
    """Read (run, path_id) -> first error from JSON lines or Parquet.

    -1 or null means no error; run "" means any run. Raises InputError that names the wrong row.
    """
    try:
        rows = pq.read_table(file).to_pylist() if file.suffix == ".parquet" else _lines(file)
    except FileNotFoundError:
        raise InputError(f"{file}: no such file") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: can't be read: {error}") from None
    truth: dict[tuple[str, str], First] = {}
    for number, row in enumerate(rows, start=1):
        index = row.get("first_error", "") if isinstance(row, dict) else ""
        if not isinstance(index, int | None) or not isinstance(row.get("path_id"), str):
            raise InputError(
                f"{file}: row {number} needs `path_id` and `first_error` (0-based, -1: none)"
            )
        truth[str(row.get("run") or ""), row["path_id"]] = None if index == -1 else index
    return truth


def _lines(file: File) -> list[object]:
    lines = file.read_text(encoding="utf-8").split("\n")
    return [json.loads(line) for line in lines if line.strip()]
