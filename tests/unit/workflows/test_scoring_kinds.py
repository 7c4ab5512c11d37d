"""Scoring goes by what a model's folder says that it is; nothing is asked for twice."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from actors.engines.passages import Passage
from actors.engines.reading import ScriptedReader
from actors.models.rewards import KEY, RewardModel
from storage.errors import ConfigurationError
from storage.rows.kinds import RESPONSES, ShardRows
from storage.rows.records import Response
from tests.support.kits import kit_of
from workflows.evaluation.run import Evaluation, Verifier, _config
from workflows.formats.verification import VerifySettings
from workflows.scoring.asking import config_of
from workflows.scoring.settings import ScoreConfig
from workflows.serving.run import config_of as serving_of
from workflows.stages.score import SCORE
from workflows.stages.scorers.contract import score
from workflows.stages.scorers.opening import scorer_of


def folder(path: Path, noted: RewardModel | None, architecture: str = "Qwen2ForCausalLM") -> str:
    """A folder of which only the configuration is looked at."""
    path.mkdir()
    said = {"architectures": [architecture]} | ({KEY: noted.noted()} if noted else {})
    (path / "config.json").write_text(json.dumps(said))
    return str(path)


def asked(model: str, **settings: object) -> ScoreConfig:
    return config_of(model, Path("r.jsonl"), None, settings)


HEADED = RewardModel("discriminative")
IMPLICIT = RewardModel("implicit", beta=0.1, reference="org/base", reference_revision="abc")


@pytest.mark.parametrize("noted", [HEADED, RewardModel("orm"), RewardModel("value"), IMPLICIT])
def test_a_model_that_reads_is_read_once_whatever_was_asked_for(
    tmp_path: Path, noted: RewardModel
) -> None:
    model = folder(tmp_path / "m", noted)
    config = asked(model, **{"verify.mode": "full", "verify.histories": 8})
    assert (config.verify.mode, config.verify.histories) == ("read", 1)
    assert config.reads == "verifier"
    assert not config.runs_code
    assert config.binding["verify"]["mode"] == "read"
    assert serving_of(model).modes == ("read",)


def test_a_class_with_a_head_is_read_without_a_word(tmp_path: Path) -> None:
    model = folder(tmp_path / "m", None, "Qwen2ForTokenClassification")
    assert asked(model).verify.mode == "read"


@pytest.mark.parametrize(
    ("view", "mode"), [("genprm", "full"), ("cot", "cot"), ("code", "code"), ("direct", "direct")]
)
def test_a_verifier_is_asked_in_the_mode_that_it_was_trained_for_unless_another_is_named(
    tmp_path: Path, view: str, mode: str
) -> None:
    model = folder(tmp_path / "m", RewardModel(view=view))
    assert asked(model).verify.mode == mode
    assert asked(model, **{"verify.mode": "code_not_run"}).verify.mode == "code_not_run"
    assert asked(folder(tmp_path / "other", None)).verify.mode == "full"


def test_a_model_that_writes_can_not_be_read(tmp_path: Path) -> None:
    model = folder(tmp_path / "m", None)
    with pytest.raises(ConfigurationError, match="writes its verdicts"):
        asked(model, **{"verify.mode": "read"})
    assert "read" not in serving_of(model).modes


def test_an_evaluation_reads_a_baseline_once_and_asks_the_verifier_in_its_mode(
    tmp_path: Path,
) -> None:
    headed = Verifier("prm", folder(tmp_path / "prm", HEADED), "direct")
    written = Verifier("verifier", folder(tmp_path / "gen", None), "cot")
    wanted = Evaluation(tmp_path / "r.jsonl", "processbench", (written, headed), n=8)
    read, wrote = _config(wanted, headed).verify, _config(wanted, written).verify
    assert (read.mode, read.histories) == ("read", 1)
    assert (wrote.mode, wrote.histories) == ("cot", 8)


def test_the_reference_of_an_implicit_model_is_bound_where_it_is_named(tmp_path: Path) -> None:
    model, other = folder(tmp_path / "m", IMPLICIT), folder(tmp_path / "other", None)
    assert "reference" not in asked(model).binding
    named = asked(model, **{"models.reference.model": other})
    assert named.binding["reference"].startswith("other@")
    assert named.reference is not None


def odds(passage: Passage) -> Sequence[float]:
    """Longer steps are likelier right."""
    return [len(step) - 3.0 for step in passage.steps]


async def test_rows_of_a_model_that_reads_are_verifications_without_a_text() -> None:
    stage = SCORE.make(kit_of(SCORE, ScriptedReader(odds), settings=VerifySettings(mode="read")))
    response = Response("r", "p", "What?", ["a", "abc", "abcdef"], "")
    result = await stage.run(ShardRows({RESPONSES: [response]}))
    (row,) = result.rows
    assert row.mode == "read"
    assert row.rewards == pytest.approx([0.1192, 0.5, 0.9526], abs=1e-4)
    assert row.verdicts == [False, True, True]
    assert (row.analyses, row.executions, row.degraded) == ([""] * 3, [], [False] * 3)
    assert result.counts["tokens"] == row.tokens == 4


async def test_a_solution_that_grows_is_read_again_from_its_beginning() -> None:
    scorer = scorer_of(kit_of(SCORE, ScriptedReader(odds), settings=VerifySettings(mode="read")))
    whole = (await score(scorer, "What?", ["a", "abc"], "r")).histories[0]
    judging = scorer.begin("What?", "r")
    await judging.judge("a")
    fork = judging.fork()
    assert await fork.judge("abc") == whole.rewards[1:]
    assert judging.rewards == whole.rewards[:1]
    assert fork.row().rewards == whole.rewards
    assert (fork.calls, judging.calls) == (2, 1)
