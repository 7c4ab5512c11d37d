"""Refines responses in turns to the end, and reports the accuracy of each turn.

    FOLDER/responses.jsonl             the solutions after the last turn
    FOLDER/turns.parquet, turns.json   the figures of each turn

Accuracy needs known answers (`problems`). They are compared here and never enter a prompt.

Invariant: each half of a turn is a run that is named after all that it depends on, so the same
call continues it. Figures come from committed rows alone.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from actors.stopping import anywhere, awaitable
from storage.errors import InputError
from storage.rows import schemas
from storage.rows.parquet import write_parquet
from storage.rows.records import Response
from workflows.answers.grading import grader
from workflows.formats.refinement import RefineSettings
from workflows.inputs.problems import read_problems
from workflows.inputs.responses import read_responses
from workflows.refinement.run import (
    RefineConfig,
    Standing,
    criticised,
    refined,
    refined_of,
)
from workflows.runs.checks import require
from workflows.runs.listening import SILENT, Listener
from workflows.runs.reading import validated
from workflows.runs.run import run_at
from workflows.runs.settling import pinned, recalled
from workflows.runs.site import Site
from workflows.runs.starting import named_for
from workflows.scoring.asking import config_of, named_model
from workflows.scoring.run import scores_of
from workflows.scoring.settings import ScoreConfig
from workflows.settings import AnswerSettings
from workflows.votes.rewards import THRESHOLD

_ADAPTER: TypeAdapter[RefineConfig] = TypeAdapter(RefineConfig)


@dataclass(frozen=True, slots=True)
class Refinement:
    """Which responses are refined, by which models, and how."""

    model: str
    """The verifier."""
    generator: str
    file: Path
    problems: Path | None = None
    """File of problems with known answers, for the accuracy."""
    turns: int = 2
    threshold: float = THRESHOLD
    settings: RefineSettings = field(default_factory=RefineSettings)
    score_settings: Path | None = None
    """File of the verifier's settings, as for `score --config`."""
    score_asked: Mapping[str, Any] = field(default_factory=dict)
    """Further settings of the verifier by dotted name."""
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class Turn:
    """Figures of a turn; turn 0 is before the first one."""

    turn: int
    responses: int
    accepted: int
    """Number of responses in which nothing was judged wrong so far."""
    criticised: int
    """Number of critiques that led to this turn."""
    changed: int
    """Number of new solutions."""
    accuracy: float | None
    """Share of right answers; None if the answers are unknown."""
    accuracy_accepted: float | None
    """Share of right answers among the accepted responses."""


@anywhere
def refine(
    wanted: Refinement, address: str | None = None, listener: Listener = SILENT
) -> tuple[Standing, list[Turn]]:
    """Run the turns, at most `turns` and until nothing is judged wrong.

    Returns the last turn's responses and the figures of all. Raises UserError before any work.
    """
    responses = read_responses(wanted.file, wanted.limit)
    answers = known_answers(wanted.problems, responses)
    further_settings = dict(wanted.score_asked)
    config = recalled(config_of(wanted.model, wanted.file, wanted.score_settings, further_settings))
    generator = replace(
        recalled(_generator(wanted, config.store)), cluster=config.cluster, floor=config.floor
    )
    with Site(config.cluster, address, listener, config) as site:
        require(generator, site)
        require(config, site)
        return _turns(wanted, responses, answers, pinned(config), pinned(generator), site)


refine_async = awaitable(refine)


def _turns(
    wanted: Refinement,
    responses: Sequence[Response],
    answers: Mapping[str, str],
    config: ScoreConfig,
    generator: RefineConfig,
    site: Site,
) -> tuple[Standing, list[Turn]]:
    standing, stem = Standing(tuple(responses)), wanted.file.stem[:60]
    turns = [_turn(standing, 0, 0, answers)]
    for number in range(1, wanted.turns + 1):
        unread = standing.open
        asking = named_for(config, f"judge-{stem}-turn{number}", unread)
        site.listener.say(f"turn {number}: {len(unread)} solutions to judge (run {asking.run})")
        scores = scores_of(run_at(site, asking, unread))
        standing, critiques = criticised(standing, scores, wanted.threshold)
        turns[-1] = _turn(standing, turns[-1].criticised, turns[-1].changed, answers)
        if not critiques:
            site.listener.say(f"turn {number}: nothing is judged wrong any more")
            break
        again = named_for(generator, f"refine-{stem}-turn{number}", critiques)
        site.listener.say(f"turn {number}: {len(critiques)} solutions to refine (run {again.run})")
        new = refined_of(run_at(site, again, critiques))
        standing = refined(standing, new)
        turns.append(_turn(standing, len(critiques), len(new), answers))
    return standing, turns


def _generator(wanted: Refinement, store: str) -> RefineConfig:
    raw = {
        "run": "refine",
        "store": store,
        "models": {"generator": named_model(wanted.generator)},
        "refine": asdict(wanted.settings),
    }
    return validated(_ADAPTER, raw, "refine")


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


def _turn(standing: Standing, criticised: int, changed: int, answers: Mapping[str, str]) -> Turn:
    right = asyncio.run(_right(standing.responses, answers)) if answers else {}
    done = [right[name] for name in standing.accepted] if answers else []
    return Turn(
        turn=standing.turn,
        responses=len(standing.responses),
        accepted=len(standing.accepted),
        criticised=criticised,
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


def write(standing: Standing, turns: Sequence[Turn], folder: Path) -> None:
    """Write the solutions after the last turn and the figures of all turns to a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in standing.responses)
    (folder / "responses.jsonl").write_text("".join(lines), encoding="utf-8")
    rows = [asdict(turn) for turn in turns]
    (folder / "turns.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    (folder / "turns.parquet").write_bytes(write_parquet(schemas.to_table(Turn, turns)))
