"""Plans: what they are made of, how wide they are, and that runs keep to them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from actors.engines.contract import EngineSettings
from benchmarks.plan_coverage import covered
from launch.config import load
from storage.errors import ConfigurationError, NothingFound
from storage.objects.opening import open_store
from storage.runs.plans import Figure, Plan, Rate, latest_plan, put_plan
from storage.runs.run import Run
from tests.support import label_strategies
from tests.support.scripted_build import Build, configure
from workflows.builds.plan import plan
from workflows.planning.against import Done, compared
from workflows.planning.bounds import bounds
from workflows.planning.costs import HOUR_S, cost_at, rates_of
from workflows.planning.hours import START_S, Places, wall_hours
from workflows.planning.measured import Measured, Name, file_bytes, measured
from workflows.planning.published import published, rows_for, size_of, tokens_a_second
from workflows.planning.ranges import LEAST_SPREAD, Range, product, quantile, resampled
from workflows.runs.status import run_status
from workflows.settings.spending import PriceSettings

TOKENS = Name("policy", "tokens")


def of_problems(*tokens: float) -> Measured:
    return Measured("r", {TOKENS: np.array(tokens)}, {}, 4)


def range_of(source: Measured, problems: int = 100) -> Range:
    return resampled(source, problems).range_of(lambda totals: totals[TOKENS])


class TestRanges:
    # Student's t, two-sided 95 %, as any table has it.
    @pytest.mark.parametrize(("measured", "t"), [(2, 12.706), (5, 2.776), (20, 2.093), (31, 2.042)])
    def test_few_problems_make_them_as_wide_as_students_t(self, measured: int, t: float) -> None:
        assert quantile(measured) == pytest.approx(t, abs=0.001)

    def test_they_lie_around_the_problems_mean_as_many_times_as_there_are_problems(self) -> None:
        found = range_of(of_problems(10, 20, 30, 40))
        assert found.likely == 2500
        assert found.high is not None
        assert found.low * found.high == pytest.approx(2500**2)

    def test_more_problems_make_them_narrower(self) -> None:
        few, many = range_of(of_problems(10, 30)), range_of(of_problems(*[10, 30] * 10))
        assert few.low < many.low < 2000
        assert few.high is not None and many.high is not None and few.high > many.high > 2000

    def test_problems_that_happen_to_be_alike_still_leave_one(self) -> None:
        found = range_of(of_problems(*[20] * 16))
        least = np.exp(quantile(16) * LEAST_SPREAD / 4)
        assert found.high is not None and found.high / 2000 >= least

    def test_of_a_product_not_all_factors_are_high_at_once(self) -> None:
        found = product(Range(1, 4), Range(10, 40), Range(2, 2))
        assert found.high is not None
        assert found.low * found.high == pytest.approx(80**2)
        assert found.high / found.low == pytest.approx(np.exp(np.sqrt(2) * np.log(4)))

    def test_the_same_problems_give_the_same(self) -> None:
        assert range_of(of_problems(1, 5, 9)) == range_of(of_problems(1, 5, 9))

    def test_what_no_problem_had_is_not_known(self) -> None:
        assert range_of(of_problems(0, 0, 0)) == Range(0.0, None, 0.0)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Build:
    build = Build(configure(tmp_path_factory.mktemp("planned")))
    asyncio.run(build.work())
    build.run.finish()
    return build


class TestARunsOwnNumbers:
    def test_its_problems_add_up_to_what_its_commits_say(self, built: Build) -> None:
        source = measured(built.run, 4)
        assert source.problems == built.run.spec.plan.items
        for stage, role in (
            ("sample", "policy"), ("estimate", "completer"), ("rationalize", "rationale"),
        ):  # fmt: skip
            totals = built.run.totals(stage)
            assert source.figures[Name(role, "tokens")].sum() == pytest.approx(
                totals.counts["tokens"]
            )
        commits = [c for stage in built.run.spec.stages for c in built.run.commits(stage)]
        content = sum(max(0, commit.bytes - file_bytes(commit.stage)) for commit in commits)
        assert source.figures[Name("", "bytes")].sum() == pytest.approx(content)
        assert source.files_bytes == sum(map(file_bytes, built.run.spec.stages))
        assert source.figures[Name("", "kept")].sum() == built.run.totals("export").rows

    def test_they_cover_its_totals_in_nine_draws_of_ten(self, built: Build) -> None:
        for figure in covered(built.run, 5, 40):
            assert figure.coverage >= 0.9, figure

    def test_a_plan_is_kept_and_status_shows_it_beside_what_came(self, built: Build) -> None:
        made = plan(replace(built.config, prices=PriceSettings(gpu_hour=3600.0)), "r")
        assert (made.measured, made.problems) == (14, 14)
        assert latest_plan(built.run.store, "r") == made
        status = run_status(built.run)
        assert {figure.role for figure in status.planned} == {*built.config.engines, ""}
        outside = [f for f in status.planned if not f.within]
        assert outside == []
        (paths,) = (f for f in status.planned if (f.role, f.name) == ("policy", "paths"))
        assert paths.actual == built.run.totals("sample").rows
        money = {f.role: f.actual for f in status.planned if f.name == "money"}
        busy = {s.stage: s.engine_s for s in status.stages}
        assert money["policy"] == pytest.approx(busy["sample"])
        assert money[""] == pytest.approx(sum(money[role] for role in built.config.engines))

    def test_a_store_has_a_files_bytes_for_each_of_its_shards(self, built: Build) -> None:
        def size(per_shard: int) -> float:
            made = plan(replace(built.config, shard_size=per_shard), "r", keep=False)
            (figure,) = (f for f in made.figures if f.name == "bytes")
            assert figure.likely is not None
            return figure.likely

        files = sum(map(file_bytes, built.run.spec.stages))
        assert size(1) - size(14) == pytest.approx(13 * files, rel=0.01)

    def test_a_plan_says_what_differs_from_the_run_it_goes_by(self, built: Build) -> None:
        other = replace(built.config, stages=replace(built.config.stages, seed=4))
        notes = plan(other, "r", keep=False).notes
        assert any("stages.seed: 3 there, 4 here" in note for note in notes)

    def test_a_run_that_has_no_whole_shard_is_refused(self, tmp_path: Path) -> None:
        begun = Build(configure(tmp_path))
        with pytest.raises(NothingFound, match="no shard that passed every stage"):
            plan(begun.config, "r", keep=False)

    def test_what_a_run_has_spent_so_far_is_outside_only_beyond_the_range(self) -> None:
        made = Plan("r", 1, "", 1, (Figure("policy", "tokens", 10, 20),), {"policy": Rate(0)})

        def verdict(tokens: int, finished: bool) -> bool | None:
            done = Done("policy", 1, 1, {"tokens": tokens}, 0.0)
            (figure,) = compared(made, [done], finished)
            return figure.within

        assert [verdict(n, False) for n in (5, 15, 25)] == [None, None, False]
        assert [verdict(n, True) for n in (5, 15, 25)] == [False, True, False]


def test_the_latest_plan_of_a_run_counts(tmp_path: Path) -> None:
    store = open_store(tmp_path.as_uri())
    assert latest_plan(store, "r") is None
    for problems in (1, 2):
        put_plan(store, Plan("r", problems, "", 0, (), {}))
    found = latest_plan(store, "r")
    assert found is not None and found.problems == 2
    assert Run.find(store, "r") is None, "a plan is no run"


class TestPublished:
    def test_every_throughput_has_a_source_with_an_address(self) -> None:
        table = published()
        assert {row.source for row in table.rows} == set(table.sources)
        assert all(source.url.startswith("https://") for source in table.sources.values())
        assert all(0 < row.base <= row.best for row in table.rows)

    def test_a_larger_model_is_slower(self) -> None:
        speeds = [tokens_a_second("H100", size) for size in (1.5, 7, 32, 72)]
        assert speeds == sorted(speeds, key=lambda speed: -speed.low)
        assert tokens_a_second(None, 7).low <= tokens_a_second("H100", 7).low

    def test_a_gpu_that_nothing_is_known_of_is_refused(self) -> None:
        with pytest.raises(ConfigurationError, match=r"--gpu T4: .* only of H100, H200, A100"):
            rows_for("T4", 7)

    @pytest.mark.parametrize(
        ("model", "size"),
        [("Qwen/Qwen2.5-Math-7B-Instruct", 7), ("HuggingFaceTB/SmolLM2-135M-Instruct", 0.135),
         ("Qwen/QwQ-32B", 32), ("google/gemma-3-1b-it", 1)],
    )  # fmt: skip
    def test_a_models_size_stands_in_its_name(self, model: str, size: float) -> None:
        assert size_of(EngineSettings(model=model)) == size

    def test_without_a_run_every_range_is_what_the_settings_allow(self, tmp_path: Path) -> None:
        config = configure(tmp_path)
        engine = EngineSettings(model="a/b-7B", tensor_parallel=2)
        config = replace(config, models=replace(config.models, rationale=engine))
        made = plan(config, gpu="h100", keep=False)
        figures = {(f.role, f.name): f for f in made.figures}
        paths = figures["policy", "paths"]
        assert (paths.low, paths.high) == (14 * 32, 14 * 64)
        speed, tokens = tokens_a_second("H100", 7), figures["rationale", "tokens"]
        hours = figures["rationale", "gpu_hours"]
        assert tokens.high is not None and hours.high is not None and speed.high is not None
        assert hours.low > tokens.low / speed.high / HOUR_S, "not all is good at once"
        assert hours.high < tokens.high / speed.low / HOUR_S, "nor all bad"
        assert any("no run to go by" in note for note in made.notes)
        assert any(note.startswith("policy: the size of") for note in made.notes)

    def test_rollouts_around_pits_are_in_the_most_that_a_build_may_make(
        self, tmp_path: Path
    ) -> None:
        config = label_strategies.configured("pav", tmp_path)
        road = tuple(stage for stage in config.stages.road if stage != "pit")
        without = replace(config.stages, road=road)
        most = [bounds(stages, 6)[Name("completer", "rollouts")].high for stages in (
            config.stages, without,
        )]  # fmt: skip
        assert most[0] is not None and most[1] is not None
        # problems, paths, states, rollouts
        assert most[0] - most[1] == pytest.approx(6 * 8 * 2 * 16)

    def test_a_model_beside_anothers_is_planned_for_and_a_tree_has_no_bound(
        self, tmp_path: Path
    ) -> None:
        shipped = load(label_strategies.CONFIGS / "groundedprm.yaml")
        problems = label_strategies.configured("pav", tmp_path).problems
        made = plan(replace(shipped, problems=problems), gpu="h100", keep=False)
        assert not [figure for figure in made.figures if figure.role == "policy"]


class TestHoursAndMoney:
    RATES = {"policy": Rate(1.0), "rationale": Rate(4.0)}  # noqa: RUF012
    HOURS = {"policy": Range(8.0, 8.0), "rationale": Range(2.0, 2.0)}  # noqa: RUF012

    def wall(self, slots: float, workers: int = 64) -> Range:
        places = Places(slots, {"policy": workers, "rationale": workers})
        return wall_hours(self.HOURS, self.RATES, places)

    def test_the_least_is_all_gpus_at_work_the_most_one_model_after_the_other(self) -> None:
        start, late = START_S[0] / HOUR_S, 2 * START_S[1] / HOUR_S
        assert self.wall(16) == Range(1.0 + start, 8 / 16 + 2 / 4 + late)

    def test_a_model_has_no_more_workers_than_it_may(self) -> None:
        assert self.wall(16, workers=1).low == 8.0 + START_S[0] / HOUR_S

    def test_a_server_is_paid_by_tokens_an_engine_by_the_hour(self) -> None:
        prices = PriceSettings(gpu_hour=2.0, tokens={"policy": 3.0}, prompt_tokens={"policy": 1.0})
        served = EngineSettings(kind="chat", model="m", url="http://h/v1")
        engine = EngineSettings(model="m", tensor_parallel=4)
        rates = rates_of({"policy": served, "rationale": engine}, prices)
        assert cost_at(rates["policy"], 1e6, 5e5, 3600).money == 3.5
        assert cost_at(rates["rationale"], 1e6, 5e5, 3600).money == 8.0
        assert cost_at(rates["policy"], 1e6, 5e5, 3600).gpu_hours == 0.0
