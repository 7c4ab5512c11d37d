"""The verb `score`: a verifier's rewards for a file of responses, as a run and as files.

    OUT/scores.jsonl      one object per response: rewards, first error, every history
    OUT/scores.parquet    the same rows (`storage.rows.records.Score`)

Invariant: nothing is written before the file was read whole, the model checked and the sandbox
found; the output files are written from commits alone, at the end, and replaced whole.
"""

from __future__ import annotations

import json
import re
import secrets
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any

import pyarrow.parquet as pq
import typer
from pydantic import TypeAdapter
from rich.console import Console

from actors.models.source import ModelSource
from launch.cluster.site import Site
from launch.config import read, store_url, validated
from launch.preflight import check_image, require
from launch.verbs.runs.status import run_status, show_status
from storage.errors import InputError
from storage.objects.opening import open_store
from storage.rows import schemas
from storage.rows.records import Response, Score
from storage.runs.run import Run
from workflows.inputs.responses import read_responses
from workflows.runs.settling import recalled
from workflows.scoring.run import makers, scores_of, speller, start_scoring
from workflows.scoring.settings import ScoreConfig

_ADAPTER: TypeAdapter[ScoreConfig] = TypeAdapter(ScoreConfig)
_ROWS = 256
"""Scores of one row group."""


@dataclass(frozen=True, slots=True)
class ScoreSummary:
    """What scoring came to."""

    run: str
    responses: int
    scored: int
    histories: int
    """Histories that came through, of all responses."""
    steps: int
    judged_wrong: int
    """Responses with a first error."""
    degraded_share: float
    """Share of steps that were judged without their code."""
    code_runs: dict[str, int]
    """Verdict of the sandbox -> executed blocks."""
    tokens: int
    dropped: dict[str, int]
    first_error_right: float | None
    """Share of labelled responses whose first error is the label; a dropped one is not."""


def config_of(
    model: str, file: Path, settings: Path | None = None, asked: dict[str, Any] | None = None
) -> ScoreConfig:
    """The configuration of scoring `file` with `model`; `asked` maps dotted keys to values.

    What is asked wins over the file of settings, and that over the defaults. A folder is run by
    vLLM; with `models.verifier.url` the model is one that a server knows. Raises
    ConfigurationError.
    """
    raw = read(settings) if settings else {}
    wanted = {key: value for key, value in (asked or {}).items() if value is not None}
    if "models.verifier.url" in wanted:
        wanted["models.verifier.kind"] = "endpoint"
    known_there = "models.verifier.url" in wanted and not Path(model).is_dir()
    named = {"model": model} if known_there else named_model(model)
    wanted |= {f"models.verifier.{key}": value for key, value in named.items()}
    wanted["responses"] = str(file.resolve())
    for key, value in wanted.items():
        _set(raw, key.split("."), value)
    given = "run" in raw
    raw.setdefault("run", "score")
    config = validated(_ADAPTER, raw, str(settings or "score"))
    return replace(
        config,
        run=config.run if given else _usual_name(config),
        store=store_url(config.store),
    )


def named_model(text: str) -> dict[str, str]:
    """`model`, and `revision` where one is named, of FOLDER, ORG/NAME[@REVISION], training:NAME or
    the URL of a stored training."""
    if Path(text).is_dir():
        return {"model": str(Path(text).resolve())}
    if text.startswith("file:"):
        return {"model": store_url(text)}
    name, _, revision = text.partition("@")
    if revision and ModelSource(name).on_hub:
        return {"model": name, "revision": revision}
    return {"model": text}


def _usual_name(config: ScoreConfig) -> str:
    """The same for the same model, file, mode and N, so that the same command continues."""
    model, file = Path(config.models.verifier.model).name, Path(config.responses).stem
    name = f"score-{model}-{file}-{config.verify.mode}-{config.verify.histories}"
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name)[:100]


def _set(raw: dict[str, Any], path: list[str], value: Any) -> None:
    for part in path[:-1]:
        inner = raw.get(part)
        raw[part] = inner if isinstance(inner, dict) else {}
        raw = raw[part]
    raw[path[-1]] = value


def score_run(config: ScoreConfig, responses: Sequence[Response] | None, site: Site) -> Run:
    """Score responses (those of the configuration's file by default) to the end.

    Starts the run, continues it, or finds it finished: `workflows.scoring.run.scores_of(run)` then
    gives a `Score` per response, its histories among them. Raises UserError before any work,
    SpecMismatch where the run was started with other settings, InfrastructureError.
    """
    rows = responses
    if rows is None:
        rows = read_responses(Path(config.responses), config.limit, config.unheaded)
    store = open_store(config.store)
    begun = Run.find(store, config.run)
    config = recalled(config, begun)
    image = require(config, site)
    speller(config.models.verifier)
    config = site.settled(config, begun)
    run = start_scoring(config, rows, store, image)
    if responses is None:
        Console(stderr=True).print(found(config.responses, rows), highlight=False, markup=False)
    finish_scoring(run, config, site)
    return run


def found(file: str, responses: Sequence[Response]) -> str:
    """What was read, in words."""
    single = sum(len(response.steps) == 1 for response in responses)
    return (
        f"{file}: {len(responses):,} responses with "
        f"{sum(len(response.steps) for response in responses):,} steps"
        + (f"; {single:,} have a single step" if single else "")
    )


def resume_scoring(run: Run, raw: dict[str, Any], address: str | None) -> None:
    """Continue a run from its stored configuration."""
    config = recalled(validated(_ADAPTER, raw, f"run {run.name}"), run)
    with Site(config.cluster, address) as site:
        check_image(run, require(config, site))
        run.check_input()
        finish_scoring(run, site.settled(config, run), site)
    show_status(run_status(run))


def finish_scoring(run: Run, config: ScoreConfig, site: Site) -> None:
    """Score whatever is not committed, and seal the run."""
    site.complete(run, config, makers)
    run.finish()


def score_file(config: ScoreConfig, out: Path | None, address: str | None, as_json: bool) -> None:
    """Score the configuration's file, write OUT and say what came out."""
    folder = out or Path(".stepmill") / "scores" / config.run
    _check_folder(folder)
    with Site(config.cluster, address) as site:
        run = score_run(config, None, site)
    summary = write_scores(run, folder)
    if as_json:
        typer.echo(json.dumps(asdict(summary) | {"out": str(folder)}, ensure_ascii=False))
    else:
        show(summary, folder)


def _check_folder(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise InputError(f"--out {folder}: is a file; name a folder")


def write_scores(run: Run, folder: Path) -> ScoreSummary:
    """Write a finished run's scores to a folder, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    counted = _Counted()
    schema = schemas.schema_of(Score)
    with (
        _replaced(folder / "scores.jsonl") as lines,
        _replaced(folder / "scores.parquet") as table,
        pq.ParquetWriter(table, schema, compression="zstd") as parquet,
    ):
        for scores in _batches(scores_of(run)):
            parquet.write_table(schemas.to_table(Score, scores))
            for score in scores:
                counted.add(score)
                lines.write(json.dumps(asdict(score), ensure_ascii=False).encode() + b"\n")
    totals = run.totals("score")
    return counted.summary(run.name, run.spec.plan.items, totals.counts, totals.drops)


class _Counted:
    """Sums over scores."""

    def __init__(self) -> None:
        self.scored = self.histories = self.steps = self.wrong = self.degraded = 0
        self.labelled = self.found = 0
        self.code: Counter[str] = Counter()

    def add(self, score: Score) -> None:
        self.scored += 1
        self.wrong += score.first_error >= 0
        if score.label is not None:
            self.labelled += 1
            self.found += score.label == score.first_error
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
            first_error_right=self.found / labelled if labelled else None,
        )


def _batches(scores: Iterator[Score]) -> Iterator[list[Score]]:
    held: list[Score] = []
    for score in scores:
        held.append(score)
        if len(held) == _ROWS:
            yield held
            held = []
    if held:
        yield held


@contextmanager
def _replaced(file: Path) -> Iterator[IO[bytes]]:
    """A file that stands under its name only once it is whole."""
    part = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    try:
        with part.open("wb") as stream:
            yield stream
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)


def show(summary: ScoreSummary, folder: Path) -> None:
    """The summary for people."""
    ran = ", ".join(f"{verdict} {n:,}" for verdict, n in sorted(summary.code_runs.items()))
    lines = [
        f"{summary.scored:,} of {summary.responses:,} responses scored, {summary.steps:,} steps in "
        f"{summary.histories:,} histories, {summary.tokens:,} tokens",
        f"judged wrong somewhere: {summary.judged_wrong:,}",
        f"code blocks run: {ran or 'none'}; steps judged without their code: "
        f"{summary.degraded_share:.1%}",
    ]
    if summary.first_error_right is not None:
        lines.append(f"first error is the label: {summary.first_error_right:.1%}")
    if summary.dropped:
        reasons = ", ".join(f"{reason} {n:,}" for reason, n in sorted(summary.dropped.items()))
        lines.append(f"not scored: {reasons}")
    lines.append(f"written: {folder}/scores.jsonl, {folder}/scores.parquet")
    for line in lines:
        Console().print(line, highlight=False, markup=False, soft_wrap=True)
