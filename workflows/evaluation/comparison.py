"""Runs side by side: what their labels cost, where they differ, and what they are worth.

A run is compared with the first one on the paths that both have, and, where a truth is given, with
the truth. Two paths are the same where problem, index and steps are.

Invariant: everything is read from commits and rows; a run that is not finished is compared as far
as it is, and nothing is written.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path as File

import pyarrow.parquet as pq

from storage.errors import InputError
from storage.rows.kinds import AGREEMENTS, LABELS, PATHS
from storage.runs.pilot_record import pilot_record
from storage.runs.run import Run
from workflows.labels.scores import Scores, difference

ROLLED = ("estimate", "prover", "search", "retry")
"""Stages that spend rollouts."""
NO_ERROR = -1


@dataclass(frozen=True, slots=True)
class LabelledRun:
    """What a run says of its paths, and what that took."""

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
    """Those that consensus kept; None where the run has none."""
    drops: Mapping[str, int]
    """`stage: reason` -> items."""
    path_ids: Mapping[str, str]
    """The same keys -> path_id."""
    pilot_rollouts: int = 0
    """That the run's pilot spent before it: not among `rollouts`."""


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
    """Paths that the first run has labelled too."""
    differs: float | None
    """Share of their labels that are not the first run's."""
    first_error_differs: float | None
    precision: float | None
    recall: float | None
    f1: float | None
    first_error_true: float | None
    kept_f1: float | None
    kept_first_error_true: float | None
    drops: Mapping[str, int]
    pilot_rollouts: int = 0


def read_labels(run: Run) -> LabelledRun:
    """Read a run shard by shard; holds labels and nothing else."""
    labels: dict[str, tuple[bool, ...]] = {}
    path_ids: dict[str, str] = {}
    kept: set[str] = set()
    solutions = 0
    stages = run.spec.stages
    judged = "consensus" in stages
    for shard in sorted(run.shards_of("sample")) if "sample" in stages else ():
        names = {}
        for path in run.read_rows(PATHS, shard):
            if path.selected:
                steps = hashlib.sha256("\x1f".join(path.steps).encode()).hexdigest()[:16]
                names[path.path_id] = f"{path.path_id}@{steps}"
        solutions += len(names)
        if "label" in stages and shard in run.shards_of("label"):
            for row in run.read_rows(LABELS, shard):
                key = names.get(row.path_id, row.path_id)
                labels[key], path_ids[key] = tuple(row.labels), row.path_id
        if judged and shard in run.shards_of("consensus"):
            for agreed in run.read_rows(AGREEMENTS, shard):
                key = names.get(agreed.path_id, agreed.path_id)
                if "label" not in stages:
                    labels[key], path_ids[key] = tuple(agreed.labels), agreed.path_id
                if agreed.kept:
                    kept.add(key)
    totals = {stage: run.totals(stage) for stage in stages}
    drops = Counter(
        {f"{stage}: {why}": n for stage, sums in totals.items() for why, n in sums.drops.items()}
    )
    pilot = pilot_record(run.store, run.name)
    rolled = [totals[stage].counts for stage in ROLLED if stage in totals]
    return LabelledRun(
        name=run.name,
        solutions=solutions,
        rollouts=sum(counts.get("rollouts", 0) for counts in rolled),
        rollout_tokens=sum(counts.get("tokens", 0) for counts in rolled),
        tokens=sum(sums.counts.get("tokens", 0) for sums in totals.values()),
        labels=labels,
        kept=frozenset(kept) if judged else None,
        drops=dict(sorted(drops.items())),
        path_ids=path_ids,
        pilot_rollouts=0 if pilot is None else pilot.rollouts,
    )


def compare(
    runs: Sequence[LabelledRun], truth: Mapping[tuple[str, str], int] | None = None
) -> list[Compared]:
    """One line per run; `truth` maps (run, path_id) to the first error, -1: none.

    What is known of a path of one run is known of the same path of another.
    """
    known: dict[str, int] = {}
    for run in runs if truth else ():
        assert truth is not None
        for key, path_id in run.path_ids.items():
            index = truth.get((run.name, path_id), truth.get(("", path_id)))
            if index is not None:
                known[key] = index
    return [_compared(run, runs[0], known) for run in runs]


def _compared(run: LabelledRun, first: LabelledRun, truth: Mapping[str, int]) -> Compared:
    against = difference(run.labels, first.labels)
    comparable = against.paths and run is not first
    all_of, kept = Scores(), Scores()
    for key, labels in run.labels.items():
        index = truth.get(key)
        if index is not None and labels:
            for scores in (all_of, kept) if run.kept and key in run.kept else (all_of,):
                scores.add(labels, None if index == NO_ERROR else index)
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
    )


def _share(part: int, whole: int) -> float:
    return round(part / max(1, whole), 4)


def read_truth(file: File) -> dict[tuple[str, str], int]:
    """(run, path_id) -> first error from JSON lines or Parquet; -1 or null: none; run "": any run.

    Raises InputError naming the line or column that is wrong.
    """
    try:
        rows = pq.read_table(file).to_pylist() if file.suffix == ".parquet" else _lines(file)
    except FileNotFoundError:
        raise InputError(f"{file}: no such file") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: can't be read: {error}") from None
    truth: dict[tuple[str, str], int] = {}
    for number, row in enumerate(rows, start=1):
        index = row.get("first_error", "") if isinstance(row, dict) else ""
        if index is None:
            index = NO_ERROR
        if not isinstance(index, int) or not isinstance(row.get("path_id"), str):
            raise InputError(
                f"{file}: row {number} needs `path_id` and `first_error` (0-based, -1: none)"
            )
        truth[str(row.get("run") or ""), row["path_id"]] = index
    return truth


def _lines(file: File) -> list[object]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line]
