"""A score run with a scripted verifier: Maj@N, commits, continuing, refusing, files."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from actors.engines.scripted import ScriptedEngine
from actors.workers.contract import Processor
from actors.workers.poison import entered, parts_of
from storage.audit import audit
from storage.datasets.dataset import assemble
from storage.errors import SpecMismatch, UserError
from storage.objects.opening import open_store
from storage.rows.kinds import RESPONSES, VERIFICATIONS, ShardRows
from storage.rows.records import Score
from storage.rows.schemas import from_table
from storage.runs.run import Run
from tests.scripted_verifier import verifier, world_responses
from tests.support.golden import check_golden
from tests.support.local_cluster import LocalCluster
from tests.support.scripted_world import InProcessSandbox
from workflows.runs.driving import continue_run, standing
from workflows.runs.starting import start_run
from workflows.runs.status import run_status
from workflows.runs.workers import StageMaker
from workflows.schedule.events import Happened
from workflows.scoring.asking import config_of
from workflows.scoring.output import write_scores
from workflows.scoring.run import scores_of
from workflows.scoring.settings import ScoreConfig
from workflows.votes.rewards import averaged, first_error_index

N = 5
GIVEN = world_responses()


def configure(folder: Path, **asked: Any) -> ScoreConfig:
    wanted = {
        "store": f"file:{folder}/store",
        "shard_size": 3,
        "models.verifier.kind": "scripted",
        "verify.histories": N,
    }
    return config_of("tests.scripted_verifier:verifier", folder / "r.jsonl", None, wanted | asked)


class ScoringCluster(LocalCluster):
    """Workers of the one stage, with an interpreter in process."""

    def __init__(self, run: Run, config: ScoreConfig) -> None:
        super().__init__(run, self._stages, road=config.road)
        self._config = config

    def _stages(self, role: str) -> Mapping[str, Processor]:
        engine = ScriptedEngine(verifier, self._config.models.verifier)
        maker = StageMaker(self._config, self._run.name)
        return maker.around("verifier", engine, InProcessSandbox())


class Scoring:
    """One configured score run."""

    def __init__(self, config: ScoreConfig) -> None:
        self.config = config
        self.run = start_run(config, open_store(config.store), None, GIVEN)
        self.cluster = ScoringCluster(self.run, config)

    async def work(self, stop_after: int = 0) -> None:
        """Score what is left; `stop_after` so many commits, as if the driver died."""
        committed = 0

        def watch(event: Happened) -> None:
            nonlocal committed
            committed += event.what == "committed"
            if stop_after and committed == stop_after:
                raise KeyboardInterrupt

        await continue_run(self.run, self.config, self.cluster, 1, watch)

    def digests(self) -> dict[int, str]:
        return {commit.shard: commit.sha256 for commit in self.run.commits("score")}


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Scoring:
    scoring = Scoring(configure(tmp_path_factory.mktemp("scored")))
    asyncio.run(scoring.work())
    scoring.run.finish()
    return scoring


def test_its_rows_are_the_golden_ones(scored: Scoring) -> None:
    check_golden("score", scored.run)


def test_a_finished_score_run_audits_clean_and_has_a_status(scored: Scoring) -> None:
    assert audit(scored.run).findings == ()
    status = run_status(scored.run)
    assert status.finished
    assert [(stage.stage, stage.rows) for stage in status.stages] == [
        ("responses", len(GIVEN)), ("score", N * len(GIVEN)),
    ]  # fmt: skip


def test_maj_at_n_is_the_mean_over_all_histories(scored: Scoring) -> None:
    scores = {score.response_id: score for score in scores_of(scored.run)}
    assert list(scores) == [response.response_id for response in GIVEN]
    for response in GIVEN:
        score = scores[response.response_id]
        assert [history.history for history in score.histories] == list(range(N))
        assert score.rewards == averaged([history.rewards for history in score.histories])
        assert len(score.rewards) == len(response.steps)
        assert score.first_error == first_error_index(score.rewards)


def test_more_histories_find_more_of_the_true_first_errors(scored: Scoring) -> None:
    """The scripted verifier errs in 15 % of its verdicts; the mean of five seldom does."""
    truth = {response.response_id: response.label for response in GIVEN}
    scores = list(scores_of(scored.run))
    of_n = sum(score.first_error == truth[score.response_id] for score in scores)
    of_one = sum(
        first_error_index(history.rewards) == truth[score.response_id]
        for score in scores
        for history in score.histories
    )
    assert of_n / len(scores) > of_one / (N * len(scores))
    assert of_n >= 0.8 * len(scores)


def test_code_was_run_in_every_step_and_its_output_stands_in_the_row(scored: Scoring) -> None:
    for score in scores_of(scored.run):
        for history in score.histories:
            assert {run.step for run in history.executions} <= set(range(len(history.rewards)))
            for run in history.executions:
                assert run.output in history.verifications[run.step]
                assert run.code in history.verifications[run.step]
    assert scored.run.totals("score").counts["code_runs"] > N * len(GIVEN)


async def test_a_run_that_was_interrupted_is_finished_without_repeating_a_commit(
    scored: Scoring, tmp_path: Path
) -> None:
    one_by_one = {"cluster.parallel_shards": 1, "cluster.workers_per_role": 1}
    first = Scoring(configure(tmp_path, **one_by_one))
    with pytest.raises(KeyboardInterrupt):
        await first.work(stop_after=2)
    done = set(first.digests())
    assert 0 < len(done) < first.run.spec.plan.shards
    again = Scoring(first.config)
    await again.work()
    assert {shard for _, shard in again.cluster.worked} == set(
        range(again.run.spec.plan.shards)
    ) - done
    assert standing(again.run).finished
    assert again.digests() == scored.digests(), "as if it had never been interrupted"


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"verify.histories": 2}, "configuration.verify.histories: stored 5, asked for 2"),
        ({"verify.mode": "cot"}, 'configuration.verify.mode: stored "full", asked for "cot"'),
        ({"verify.temperature": 0.1}, "configuration.verify.temperature: stored 0.6, asked"),
        ({"shard_size": 4}, "plan.items_per_shard: stored 3, asked for 4"),
    ],
)
def test_other_settings_are_refused_field_by_field(
    scored: Scoring, asked: dict[str, Any], field: str
) -> None:
    folder = Path(scored.config.responses).parent
    config = configure(folder, run=scored.run.name, **asked)
    with pytest.raises(SpecMismatch) as caught:
        start_run(config, scored.run.store, None, GIVEN)
    assert field in str(caught.value)


def test_a_shard_is_taken_apart_response_by_response(scored: Scoring) -> None:
    rows = ShardRows({RESPONSES: tuple(GIVEN[:3])})
    parts = parts_of(VERIFICATIONS, rows, entered(scored.run, "score", 0))
    assert [part.rows[RESPONSES] for part in parts] == [(response,) for response in GIVEN[:3]]
    assert [part.items for part in parts] == [(r.response_id,) for r in GIVEN[:3]]


def test_a_score_run_makes_no_dataset(scored: Scoring) -> None:
    with pytest.raises(UserError, match="export"):
        assemble(scored.run)


def test_another_file_of_responses_is_refused(scored: Scoring) -> None:
    other = [replace(GIVEN[0], problem="Another one."), *GIVEN[1:]]
    with pytest.raises(SpecMismatch, match="input_digest"):
        start_run(scored.config, scored.run.store, None, other)


def test_more_workers_or_interpreters_are_the_same_run(scored: Scoring) -> None:
    folder = Path(scored.config.responses).parent
    config = configure(folder, **{"sandbox.slots": 3, "cluster.parallel_shards": 9})
    assert start_run(config, scored.run.store, None, GIVEN).success() is not None


def test_the_files_hold_every_score_and_writing_them_again_changes_nothing(
    scored: Scoring, tmp_path: Path
) -> None:
    summary = write_scores(scored.run, tmp_path / "out")
    written = {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()}
    assert set(written) == {"scores.jsonl", "scores.parquet"}
    scores = list(scores_of(scored.run))
    assert [json.loads(line) for line in written["scores.jsonl"].splitlines()] == [
        asdict(score) for score in scores
    ]
    assert from_table(Score, pq.read_table(tmp_path / "out" / "scores.parquet")) == scores
    assert (summary.responses, summary.scored) == (len(GIVEN), len(GIVEN))
    assert summary.histories == N * len(GIVEN)
    assert summary.first_error_right is not None
    assert write_scores(scored.run, tmp_path / "out") == summary
    assert {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()} == written


def test_the_usual_name_of_a_run_says_what_is_scored(tmp_path: Path) -> None:
    config = configure(tmp_path)
    assert config.run == "score-tests.scripted_verifier-verifier-r-full-5"
    assert configure(tmp_path).run == config.run
    assert configure(tmp_path, **{"verify.histories": 2}).run != config.run


@pytest.mark.parametrize("prune", ["steps", "first_error"])
def test_a_pruned_run_has_the_verdicts_of_all_histories_and_asks_for_fewer(
    scored: Scoring, tmp_path: Path, prune: str
) -> None:
    pruned = Scoring(configure(tmp_path, **{"verify.prune": prune}))
    asyncio.run(pruned.work())
    pruned.run.finish()
    assert audit(pruned.run).findings == ()
    whole = {score.response_id: score for score in scores_of(scored.run)}
    for score in scores_of(pruned.run):
        full = whole[score.response_id]
        assert score.first_error == full.first_error
        if prune == "steps":
            assert [r >= 0.5 for r in score.rewards] == [r >= 0.5 for r in full.rewards]
        for history, other in ((h, full.histories[h.history]) for h in score.histories):
            assert history.rewards == other.rewards[: len(history.rewards)], "the same history"
            assert history.seed == other.seed
    counts, before = pruned.run.totals("score").counts, scored.run.totals("score").counts
    assert counts["spared_steps"] == before["steps"] - counts["steps"] > 0
    assert 0 < counts["spared_tokens"] < before["tokens"]
    assert counts["tokens"] < before["tokens"]


def test_a_run_that_prunes_nothing_has_the_spec_of_those_before_pruning(tmp_path: Path) -> None:
    assert "prune" not in configure(tmp_path).binding["verify"]
    pruned = configure(tmp_path, **{"verify.prune": "steps", "verify.doubt": 0.1})
    assert pruned.binding["verify"]["doubt"] == 0.1
