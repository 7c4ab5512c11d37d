"""Writes the scores of a finished run to files, and sums them up.

    FOLDER/scores.jsonl      an object per response: rewards, first error, every history
    FOLDER/scores.parquet    the same rows (`storage.rows.records.Score`)

Invariant: the files are written from commits alone, and replaced whole.
"""

from __future__ import annotations

import json
import secrets
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, TypeVar

import pyarrow.parquet as pq

from storage.rows import schemas
from storage.rows.kinds import VERIFICATIONS
from storage.rows.records import Score
from storage.runs.run import Run
from workflows.scoring.run import scores_of

_ROWS = 256
"""Scores per row group."""
Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class ScoreSummary:
    """Totals of a score run."""

    run: str
    responses: int
    scored: int
    histories: int
    """Number of complete histories, of all responses."""
    steps: int
    judged_wrong: int
    """Number of responses with a first error."""
    degraded_share: float
    """Share of steps that were judged without their code."""
    code_runs: dict[str, int]
    """Verdict of the sandbox -> number of executed blocks."""
    tokens: int
    dropped: dict[str, int]
    first_error_right: float | None
    """Share of labelled responses whose first error is the label; dropped ones count as wrong."""
    spared_steps: int = 0
    """Judgements of steps that `verify.prune` left out."""
    spared_tokens: int = 0
    """What they would have cost, at the mean of their responses."""


def write_scores(run: Run, folder: Path) -> ScoreSummary:
    """Write a finished run's scores to a folder and return their totals."""
    folder.mkdir(parents=True, exist_ok=True)
    counted = _Counted()
    with (
        replaced(folder / "scores.jsonl") as lines,
        table_written(folder / "scores.parquet", Score, _ROWS) as add,
    ):
        for score in scores_of(run):
            add(score)
            counted.add(score)
            lines.write(json.dumps(asdict(score), ensure_ascii=False).encode() + b"\n")
    totals = run.totals(VERIFICATIONS.stage)
    return counted.summary(run.name, run.spec.plan.items, totals.counts, totals.drops)


class _Counted:
    """Sums over scores."""

    def __init__(self) -> None:
        self.scored = self.histories = self.steps = self.wrong = self.degraded = 0
        self.labelled = self.matching = 0
        self.code: Counter[str] = Counter()

    def add(self, score: Score) -> None:
        self.scored += 1
        self.wrong += score.first_error >= 0
        if score.label is not None:
            self.labelled += 1
            self.matching += score.label == score.first_error
        for history in score.histories:
            self.histories += 1
            self.steps += len(history.rewards)
            self.degraded += sum(history.degraded)
            self.code.update(run.verdict for run in history.executions)

    def summary(
        self, run: str, responses: int, counts: dict[str, int], drops: dict[str, int]
    ) -> ScoreSummary:
        labelled = self.labelled + (sum(drops.values()) if self.labelled else 0)
        return ScoreSummary(
            run=run,
            responses=responses,
            scored=self.scored,
            histories=self.histories,
            steps=self.steps,
            judged_wrong=self.wrong,
            degraded_share=self.degraded / max(1, self.steps),
            code_runs=dict(self.code),
            tokens=counts.get("tokens", 0),
            dropped=drops,
            first_error_right=self.matching / labelled if labelled else None,
            spared_steps=counts.get("spared_steps", 0),
            spared_tokens=counts.get("spared_tokens", 0),
        )


@contextmanager
def table_written(file: Path, kind: type[Row], group: int) -> Iterator[Callable[[Row], None]]:
    """Gives what adds a row to a Parquet file with `group` rows in a row group.

    The file gets its name only once it is complete.
    """
    held: list[Row] = []
    with (
        replaced(file) as stream,
        pq.ParquetWriter(stream, schemas.schema_of(kind), compression="zstd") as parquet,
    ):

        def add(row: Row) -> None:
            held.append(row)
            if len(held) == group:
                write()

        def write() -> None:
            parquet.write_table(schemas.to_table(kind, held))
            held.clear()

        yield add
        if held:
            write()


@contextmanager
def replaced(file: Path) -> Iterator[IO[bytes]]:
    """A file that gets its name only once it is complete."""
    part = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    try:
        with part.open("wb") as stream:
            yield stream
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)
