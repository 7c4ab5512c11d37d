"""A second model scores the reasons of the judge: what counts, and what is kept."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path
from typing import Any

import pytest

from demo import check
from storage.audit import audit
from storage.errors import ConfigurationError
from storage.rows.kinds import AGREEMENTS, JUDGEMENTS, PATHS, REASONS
from storage.rows.records import Judgement, Metaverified, ReasonScore
from storage.runs.run import Run
from tests.support import scripted_build
from tests.support.deriving import derive, digests, take_over
from tests.support.scripted_build import Build, configure, rows
from workflows.formats.judge_prompts import REASONS_RULES, VERIFICATION_SHOWN
from workflows.judging.ballots import verdicts
from workflows.judging.reasons import read_score, scored
from workflows.runs.run import finish
from workflows.settings import JudgeSettings
from workflows.stages.metaverify import METAVERIFY

MODEL = {"kind": "scripted", "model": "scripted"}


def settings(folder: Path, **own: Any) -> Any:
    road = ["sample", "judge", "metaverify", "consensus", "export"]
    return configure(folder, models={"policy": MODEL, "judge": MODEL, "verifier": MODEL}, stages={
        "seed": 3, "road": road, "sample": {"cap": 32},
        "judge": {"votes": 3, "aggregator": own.pop("aggregator", "lowest")},
        "metaverify": own, "consensus": {"sources": ["judge"]},
    })  # fmt: skip


async def built(config: Any) -> Build:
    build = Build(config)
    await build.work()
    finish(build.run)
    assert audit(build.run).findings == ()
    return build


def first_errors_true(run: Run) -> tuple[int, int]:
    """(kept paths, those of which the first error is the checker's)."""
    by_text = {problem.problem_id: problem for problem in scripted_build.GIVEN}
    paths = {path.path_id: path for path in rows(run, PATHS)}
    kept = [row for row in rows(run, AGREEMENTS) if row.kept]
    true = [
        row
        for row in kept
        if row.label_first_error
        == check.first_error(by_text[row.problem_id], paths[row.path_id].steps)
    ]
    return len(kept), len(true)


async def test_reasons_that_are_not_real_do_not_count(tmp_path: Path) -> None:
    build = await built(settings(tmp_path, votes=2))
    scores = rows(build.run, REASONS)
    assert {row.path_id for row in scores} == {row.path_id for row in rows(build.run, JUDGEMENTS)}
    said = [score.score for row in scores for score in row.scores]
    assert {0.0, 1.0} == set(said)
    kept, true = first_errors_true(build.run)
    unreal = {
        (row.path_id, score.number) for row in scores for score in row.scores if score.score == 0
    }
    chosen = {(row.path_id, row.chosen) for row in rows(build.run, AGREEMENTS) if row.kept}
    assert kept and not unreal & chosen
    everything = await built(settings(tmp_path / "all", votes=2, least=0.0))
    all_kept, all_true = first_errors_true(everything.run)
    assert true / kept > all_true / all_kept


async def test_only_reported_errors_are_asked_about_and_no_prompt_has_the_answer(
    tmp_path: Path,
) -> None:
    build = await built(settings(tmp_path))
    judged = {(r.path_id, r.number): r for r in rows(build.run, JUDGEMENTS)}
    asked = {(row.path_id, s.number) for row in rows(build.run, REASONS) for s in row.scores}
    assert asked == {key for key, row in judged.items() if False in row.verdicts}
    prompts = [chat for chat in build.world.prompts if chat.user.endswith(REASONS_RULES)]
    assert len(prompts) == len(asked)
    texts = {row.text for row in judged.values()}
    for chat in prompts:
        shown = chat.user.split(VERIFICATION_SHOWN)[1].removesuffix(REASONS_RULES)
        assert shown in texts


async def test_another_least_score_costs_no_token(tmp_path: Path) -> None:
    one = await built(settings(tmp_path))
    config = dataclasses.replace(settings(tmp_path, least=0.0), run="other")
    other = derive(config, one.run)
    await asyncio.to_thread(take_over, other, config)
    assert digests(other, "metaverify") == digests(one.run, "metaverify")
    assert digests(other, "consensus") != digests(one.run, "consensus")


def judgement(number: int, *verdicts: bool) -> Judgement:
    return Judgement("p#0", "p", "critique", "none", number, "verify", [], list(verdicts), None, "",
                     "stop", "m", 0, 0)  # fmt: skip


def score(number: int, *values: float | None) -> Metaverified:
    made = [
        ReasonScore("critique", "none", number, "verify", None, vote, value, "", "stop", 0, 0)
        for vote, value in enumerate(values)
    ]
    return Metaverified("p#0", "p", made, "m")


@pytest.mark.parametrize(
    ("scores", "least", "labels"),
    [
        ([], 0.5, (True, False, False)),
        ([score(1, 0.0, 0.5)], 0.5, (True, True, False)),
        ([score(1, 0.5, 0.5)], 0.5, (True, False, False)),
        ([score(1, None, 1.0)], 0.6, (True, True, False)),
        ([score(1, 0.0), score(2, 0.0)], 0.5, (True, True, True)),
    ],
    ids=["not scored", "under the least", "at the least", "unreadable is 0", "none is real"],
)
def test_the_earliest_error_of_the_verifications_whose_reasons_are_real(
    scores: list[Metaverified], least: float, labels: tuple[bool, ...]
) -> None:
    rows = [judgement(0, True, True, True), judgement(1, True, False, False),
            judgement(2, True, True, False)]  # fmt: skip
    found = verdicts(scored(rows, scores, least), JudgeSettings(aggregator="lowest"), 3)
    assert isinstance(found, list) and found[0].labels == labels


@pytest.mark.parametrize(
    ("text", "reason", "found"),
    [
        ("All true: \\boxed{1}", "stop", 1.0),
        ("\\boxed{0} was too low: \\boxed{0.5}", "stop", 0.5),
        ("\\boxed{0.7}", "stop", None),
        ("it is 1", "stop", None),
        ("\\boxed{1}", "length", None),
    ],
)
def test_a_score_is_the_last_box_of_a_whole_text(
    text: str, reason: str, found: float | None
) -> None:
    assert read_score(text, reason) == found


def test_a_road_on_which_nobody_reads_the_judge_is_refused(tmp_path: Path) -> None:
    config = settings(tmp_path)
    stages = config.stages
    deaf = dataclasses.replace(
        stages, consensus=dataclasses.replace(stages.consensus, sources=("labels",))
    )
    METAVERIFY.check(stages)
    with pytest.raises(ConfigurationError, match="no source reads"):
        METAVERIFY.check(deaf)
