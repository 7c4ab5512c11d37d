"""Evaluates verifiers and baselines on a benchmark.

Each verifier has a score run, named after all that its rewards depend on. The same call after a
crash continues that run. The same call after its end opens no model.

    FOLDER/measures.parquet, measures.json    every figure (`workflows.evaluation.measures.Measure`)

Invariant: every input and model is checked before the first one works. Figures come from committed
rows alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from actors.models.source import TRAINING
from actors.stopping import anywhere, awaitable
from storage.errors import ConfigurationError
from storage.rows import schemas
from storage.rows.parquet import write_parquet
from storage.rows.records import Response
from workflows.answers.grading import alike_now
from workflows.evaluation import measures as measuring
from workflows.evaluation import processbench
from workflows.evaluation.measures import Measure, Suite
from workflows.evaluation.processbench import Histories
from workflows.formats.verification import Mode
from workflows.inputs.responses import read_responses
from workflows.runs.checks import require
from workflows.runs.listening import SILENT, Listener
from workflows.runs.run import run_at
from workflows.runs.settling import pinned, recalled
from workflows.runs.site import Site
from workflows.runs.starting import named_for
from workflows.scoring.asking import config_of
from workflows.scoring.run import scores_of
from workflows.scoring.settings import ScoreConfig
from workflows.settings import AnswerSettings
from workflows.votes.rewards import THRESHOLD

MAIN = "verifier"
MODES: tuple[Mode, ...] = ("full", "cot", "code", "code_not_run", "direct")
PROBES = ("reversed", "restyled", "corrupted")
_BASELINE = re.compile(
    rf"(?P<name>[A-Za-z0-9][\w.-]*)=(?P<model>(?:{TRAINING})?.+?)(?::(?P<mode>[a-z_]+))?"
)


@dataclass(frozen=True, slots=True)
class Verifier:
    """A model and the mode in which it verifies."""

    name: str
    model: str
    mode: Mode


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Which verifiers are evaluated, on which file, and how."""

    file: Path
    suite: Suite
    verifiers: tuple[Verifier, ...]
    n: int = 8
    """Histories of ProcessBench; solutions to choose from in best-of-N."""
    histories: int = 1
    """Histories per solution in best-of-N."""
    threshold: float = THRESHOLD
    threshold_from: str | None = None
    """The subset to choose the threshold on, instead of `threshold`."""
    probes: tuple[str, ...] = ()
    settings: Path | None = None
    """File of settings, as `score --config` takes."""
    asked: Mapping[str, Any] = field(default_factory=dict)
    """Further settings by dotted name."""
    limit: int | None = None

    @property
    def per_response(self) -> int:
        """Histories that each response gets."""
        return self.n if self.suite == "processbench" else self.histories


@dataclass(frozen=True, slots=True)
class Evaluated:
    """Every figure, and verifier -> the run with its rewards."""

    measures: tuple[Measure, ...]
    runs: dict[str, str]


def baseline(text: str) -> Verifier:
    """Parse `NAME=MODEL[:mode]`; the mode is `direct` where none is given.

    Raises ConfigurationError.
    """
    match = _BASELINE.fullmatch(text)
    if match is None or match["name"] == MAIN:
        raise ConfigurationError(
            f"--baseline {text!r}: write NAME=MODEL or NAME=MODEL:MODE, and another name than "
            f"{MAIN}"
        )
    return Verifier(match["name"], match["model"], checked_mode(match["mode"] or "direct"))


def checked_mode(mode: str) -> Mode:
    """Return the mode. Raises ConfigurationError for an unknown one."""
    checked = next((known for known in MODES if known == mode), None)
    if checked is None:
        raise ConfigurationError(f"--mode {mode!r}: choose one of {', '.join(MODES)}")
    return checked


def checked_probes(probes: Sequence[str]) -> tuple[str, ...]:
    """Return the probes, each once. Raises ConfigurationError for an unknown one."""
    for probe in probes:
        if probe not in PROBES:
            raise ConfigurationError(f"--probe {probe!r}: choose one of {', '.join(PROBES)}")
    return tuple(dict.fromkeys(probes))


@anywhere
def evaluate(
    wanted: Evaluation, address: str | None = None, listener: Listener = SILENT
) -> Evaluated:
    """Make or finish the score run of every verifier, and measure.

    Raises UserError before any work, and InfrastructureError.
    """
    responses = read_responses(wanted.file, wanted.limit)
    measuring.check_suite(responses, wanted.suite, wanted.n)
    if wanted.suite == "bon":
        if wanted.probes:
            raise ConfigurationError("--probe needs --suite processbench")
        responses = _first(responses, wanted.n)
    configs = {each.name: _config(wanted, each) for each in wanted.verifiers}
    if len(configs) < len(wanted.verifiers):
        raise ConfigurationError("two baselines have the same name: rename one")
    for config in configs.values():
        _check_pruning(wanted, config)
    measures: list[Measure] = []
    runs: dict[str, str] = {}
    first = next(iter(configs.values()))
    with Site(first.cluster, address, listener, first) as site:
        for config in configs.values():
            require(config, site)
        for name, unpinned in configs.items():
            config = _named(pinned(unpinned), responses, wanted.file.stem)
            listener.say(
                f"{name}: {config.verify.mode}, {config.verify.histories} histories of "
                f"{len(responses)} responses (run {config.run})"
            )
            measures += _measured(wanted, name, config, responses, site)
            runs[name] = config.run
    return Evaluated(tuple(measures), runs)


evaluate_async = awaitable(evaluate)


def _measured(
    evaluation: Evaluation,
    name: str,
    config: ScoreConfig,
    responses: Sequence[Response],
    site: Site,
) -> list[Measure]:
    n, subset = config.verify.histories, evaluation.threshold_from
    histories = _asked(config, responses, site)
    if evaluation.suite == "bon":
        counted = alike_now(responses, AnswerSettings())
        return measuring.bon_measures(name, counted, histories, evaluation.n, n)
    threshold = evaluation.threshold
    if subset is not None:
        threshold = processbench.chosen_threshold(responses, histories, subset, n)
    pruned = config.verify.prune != "off"
    measures = measuring.processbench_measures(name, responses, histories, n, threshold, pruned)
    for probe in evaluation.probes:
        probed = measuring.probe_responses(responses, probe)
        answered = _asked(_named(config, probed, f"{evaluation.file.stem}-{probe}"), probed, site)
        measures += measuring.probe_measures(
            name, probe, responses, probed, histories, answered, n, threshold
        )
    return measures


def _check_pruning(evaluation: Evaluation, config: ScoreConfig) -> None:
    """Refuse measures that need what pruned histories leave out. Raises ConfigurationError."""
    if config.verify.prune == "off":
        return
    needs = {
        "--suite bon": evaluation.suite == "bon",
        "--probe": bool(evaluation.probes),
        "--threshold-from": evaluation.threshold_from is not None,
        "another --threshold than 0.5": evaluation.threshold != THRESHOLD,
    }
    for what, asked in needs.items():
        if asked:
            raise ConfigurationError(
                f"{what} needs all rewards, and verify.prune: {config.verify.prune} keeps only "
                "their verdicts: leave it out"
            )


def _asked(config: ScoreConfig, responses: Sequence[Response], site: Site) -> dict[str, Histories]:
    run = run_at(site, config, responses)
    return measuring.histories_of(scores_of(run), config.verify.histories)


def _first(responses: Sequence[Response], n: int) -> list[Response]:
    """The first n responses to each problem."""
    seen: dict[str, int] = {}
    kept = []
    for response in responses:
        seen[response.problem_id] = seen.get(response.problem_id, 0) + 1
        if seen[response.problem_id] <= n:
            kept.append(response)
    return kept


def _config(evaluation: Evaluation, verifier: Verifier) -> ScoreConfig:
    settings = {
        **evaluation.asked,
        "floor": "off",  # that a model gives no verdicts is a result
        "verify.mode": verifier.mode,
        "verify.histories": evaluation.per_response,
    }
    return recalled(config_of(verifier.model, evaluation.file, evaluation.settings, settings))


def _named(config: ScoreConfig, responses: Sequence[Response], what: str) -> ScoreConfig:
    name = f"{what}-{Path(config.models.verifier.model).name}-{config.verify.mode}"
    return named_for(config, f"evaluate-{name[:70]}", responses)


def write(evaluated: Evaluated, folder: Path) -> None:
    """Write every figure, as Parquet and as JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    table = schemas.to_table(Measure, evaluated.measures)
    (folder / "measures.parquet").write_bytes(write_parquet(table))
    text = json.dumps(asdict(evaluated), indent=1, ensure_ascii=False)
    (folder / "measures.json").write_text(text + "\n", encoding="utf-8")
