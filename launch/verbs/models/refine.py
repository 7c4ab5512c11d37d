"""The verb `refine`: critique and refinement in turns, with the accuracy of each.

    OUT/responses.jsonl    the solutions after the last turn
    OUT/turns.parquet, turns.json, refinement.png

Accuracy needs known answers (`--problems`): they are compared here, at the end, and never enter a
prompt.

Invariant: each half of a turn is a run that is named after what it depends on, so that the same
command continues; figures come from committed rows alone.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import typer
from pydantic import TypeAdapter
from rich.console import Console
from rich.table import Table

from actors.models.identity import model_identity
from launch.cluster.site import Site
from launch.config import validated
from launch.preflight import require
from launch.verbs.models.score import config_of, named_model, score_run
from storage.errors import ConfigurationError, InputError
from storage.objects.opening import open_store
from storage.rows import schemas
from storage.rows.parquet import write_parquet
from storage.rows.records import Response
from storage.runs.commits import canonical_json
from storage.runs.run import Run
from storage.runs.specs import input_digest
from workflows.answers.grading import grader
from workflows.formats.refinement import RefineSettings
from workflows.inputs.problems import read_problems
from workflows.inputs.responses import read_responses
from workflows.refinement.run import (
    RefineConfig,
    Standing,
    criticised,
    makers,
    refined,
    refined_of,
    start_refining,
)
from workflows.refinement.run import binding as refine_binding
from workflows.runs.settling import pinned, recalled
from workflows.scoring.run import scores_of, speller
from workflows.scoring.settings import ScoreConfig
from workflows.scoring.settings import binding as score_binding
from workflows.settings import AnswerSettings
from workflows.votes.rewards import THRESHOLD

_ADAPTER: TypeAdapter[RefineConfig] = TypeAdapter(RefineConfig)


@dataclass(frozen=True, slots=True)
class Refinement:
    """What is refined, by whom and how."""

    model: str
    """The verifier."""
    generator: str
    file: Path
    problems: Path | None = None
    """Known answers, for the accuracy."""
    turns: int = 2
    threshold: float = THRESHOLD
    settings: RefineSettings = field(default_factory=RefineSettings)
    score_settings: Path | None = None
    """File of settings of the verifier, as `score --config` takes."""
    score_asked: Mapping[str, Any] = field(default_factory=dict)
    """Its further settings by dotted name."""
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class Turn:
    """How things stand before the first turn (0), and after each."""

    turn: int
    responses: int
    accepted: int
    """Responses in which nothing was judged wrong, so far."""
    criticised: int
    """Critiques that led to this turn."""
    changed: int
    """New solutions that could be had."""
    accuracy: float | None
    """Share of right answers; None where the answers are not known."""
    accuracy_accepted: float | None
    """The same among the accepted."""


def refine(wanted: Refinement, address: str | None = None) -> tuple[Standing, list[Turn]]:
    """All turns, or as many as something is judged wrong in. Raises UserError before any work."""
    responses = read_responses(wanted.file, wanted.limit)
    answers = known_answers(wanted.problems, responses)
    asked = dict(wanted.score_asked)
    config = recalled(config_of(wanted.model, wanted.file, wanted.score_settings, asked))
    generator = replace(
        recalled(_generator(wanted, config.store)), cluster=config.cluster, floor=config.floor
    )
    with Site(config.cluster, address) as site:
        require(generator, site)
        require(config, site)
        speller(config.models.verifier)
        return _turns(wanted, responses, answers, pinned(config), pinned(generator), site)


def _turns(
    wanted: Refinement,
    responses: Sequence[Response],
    answers: Mapping[str, str],
    config: ScoreConfig,
    generator: RefineConfig,
    site: Site,
) -> tuple[Standing, list[Turn]]:
    console = Console(stderr=True)
    standing = Standing(tuple(responses))
    turns = [_turn(standing, 0, 0, answers)]
    for number in range(1, wanted.turns + 1):
        unread = standing.open
        depends = [score_binding(config), model_identity(config.models.verifier)]
        asking = replace(
            config, run=_name("judge", wanted, number, [*depends, input_digest(unread)])
        )
        console.print(f"turn {number}: {len(unread)} solutions to judge (run {asking.run})")
        scores = scores_of(score_run(asking, unread, site))
        standing, critiques = criticised(standing, scores, wanted.threshold)
        turns[-1] = _turn(standing, turns[-1].criticised, turns[-1].changed, answers)
        if not critiques:
            console.print(f"turn {number}: nothing is judged wrong any more")
            break
        depends = [refine_binding(generator), model_identity(generator.models.generator)]
        again = replace(
            generator, run=_name("refine", wanted, number, [*depends, input_digest(critiques)])
        )
        console.print(f"turn {number}: {len(critiques)} solutions to refine (run {again.run})")
        store = open_store(again.store)
        again = site.settled(again, Run.find(store, again.run))
        run = start_refining(again, critiques, store)
        site.complete(run, again, makers)
        run.finish()
        new = refined_of(run)
        standing = refined(standing, new)
        turns.append(_turn(standing, len(critiques), len(new), answers))
    return standing, turns


def resume_refining(run: Run, raw: dict[str, Any], address: str | None) -> None:
    """Ask again whatever one turn still lacks; `refine` itself goes on with the next turn."""
    config = recalled(validated(_ADAPTER, raw, f"run {run.name}"), run)
    with Site(config.cluster, address) as site:
        require(config, site)
        run.check_input()
        site.complete(run, site.settled(config, run), makers)
        run.finish()
    Console(stderr=True).print(
        f"run {run.name} is finished: repeat `stepmill refine` for the next turn", highlight=False
    )


def _generator(wanted: Refinement, store: str) -> RefineConfig:
    raw = {
        "run": "refine",
        "store": store,
        "models": {"generator": named_model(wanted.generator)},
        "refine": asdict(wanted.settings),
    }
    return validated(_ADAPTER, raw, "refine")


def _name(what: str, wanted: Refinement, turn: int, depends: list[Any]) -> str:
    """Says what is done, and changes with whatever its rows depend on."""
    mark = hashlib.sha256(canonical_json(depends)).hexdigest()[:8]
    return re.sub(r"[^\w.-]+", "-", f"{what}-{wanted.file.stem[:60]}-turn{turn}-{mark}")


def known_answers(file: Path | None, responses: Sequence[Response]) -> dict[str, str]:
    """problem_id -> answer; empty without a file. Raises InputError for a problem it lacks."""
    if file is None:
        return {}
    answers = {problem.problem_id: problem.answer for problem in read_problems(file)}
    lacking = next((row for row in responses if row.problem_id not in answers), None)
    if lacking is not None:
        raise InputError(
            f"{file}: no answer of problem {lacking.problem_id!r}, which "
            f"{lacking.response_id!r} answers: add it, or leave --problems out"
        )
    return answers


def _turn(standing: Standing, asked: int, changed: int, answers: Mapping[str, str]) -> Turn:
    right = asyncio.run(_right(standing.responses, answers)) if answers else {}
    done = [right[name] for name in standing.accepted] if answers else []
    return Turn(
        turn=standing.turn,
        responses=len(standing.responses),
        accepted=len(standing.accepted),
        criticised=asked,
        changed=changed,
        accuracy=sum(right.values()) / len(right) if right else None,
        accuracy_accepted=sum(done) / len(done) if done else None,
    )


async def _right(responses: Sequence[Response], answers: Mapping[str, str]) -> dict[str, bool]:
    judge = grader(AnswerSettings())
    try:
        verdicts = await asyncio.gather(
            *(judge.grade(answers[row.problem_id], [row.answer]) for row in responses)
        )
    finally:
        await judge.close()
    return {row.response_id: verdict[0] for row, verdict in zip(responses, verdicts, strict=True)}


def refine_file(
    wanted: Refinement, out: Path | None, address: str | None, as_json: bool
) -> list[Turn]:
    """Refine, write OUT, and print the table."""
    folder = out or Path(".stepmill") / "refinements" / wanted.file.stem
    if folder.exists() and not folder.is_dir():
        raise ConfigurationError(f"--out {folder}: is a file; name a folder")
    standing, turns = refine(wanted, address)
    folder.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in standing.responses)
    (folder / "responses.jsonl").write_text("".join(lines), encoding="utf-8")
    rows = [asdict(turn) for turn in turns]
    (folder / "turns.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    (folder / "turns.parquet").write_bytes(write_parquet(schemas.to_table(Turn, turns)))
    draw(turns, folder / "refinement.png")
    if as_json:
        typer.echo(json.dumps({"turns": rows, "out": str(folder)}, ensure_ascii=False))
    else:
        Console().print(table_of(turns))
        Console().print(f"written: {folder}/responses.jsonl, turns.parquet", highlight=False)
    return turns


def table_of(turns: Sequence[Turn]) -> Table:
    """One row per turn."""
    table = Table(title="refinement", title_justify="left")
    for column in ("turn", "criticised", "new solutions", "accepted so far", "right answers"):
        table.add_column(column, justify="right")
    for turn in turns:
        right = "not known" if turn.accuracy is None else f"{turn.accuracy:.1%}"
        table.add_row(
            str(turn.turn), str(turn.criticised), str(turn.changed),
            f"{turn.accepted} of {turn.responses}", right,
        )  # fmt: skip
    return table


def draw(turns: Sequence[Turn], file: Path) -> None:
    """Accuracy, or without known answers the accepted share, over turns."""
    from matplotlib.figure import Figure  # takes a second to import

    figure = Figure(figsize=(5, 4), layout="constrained")
    axes = figure.subplots()
    numbers = [turn.turn for turn in turns]
    if all(turn.accuracy is not None for turn in turns):
        axes.plot(numbers, [100 * (turn.accuracy or 0) for turn in turns], marker="o")
        axes.set_ylabel("right answers, percent")
    else:
        axes.plot(numbers, [100 * turn.accepted / turn.responses for turn in turns], marker="o")
        axes.set_ylabel("accepted, percent")
    axes.set_xlabel("turn")
    axes.set_xticks(numbers)
    axes.grid(alpha=0.3)
    figure.savefig(file, dpi=110)
