"""A ceiling: which shards may still begin, and what of a run there is when it is reached."""

from __future__ import annotations

import contextlib
import random
import sys
from pathlib import Path
from typing import Any

import pytest

from storage.errors import ConfigurationError, LimitReached
from storage.runs.commits import Receipt
from storage.runs.run import Run
from storage.runs.stops import stop_reason
from tests.support.scripted_build import CONFIG, Build, configure
from tests.support.virtual_time import virtually
from workflows.planning.costs import check_spending
from workflows.road import StageSpec
from workflows.runs.driving import ceiling_for, tell_earlier
from workflows.schedule.ceiling import Ceiling, Cost
from workflows.schedule.queues import Shards, Task
from workflows.settings.spending import LimitSettings, PriceSettings

ROAD = (
    StageSpec("sample", "policy", ()),
    StageSpec("label", "cpu", ()),
    StageSpec("rationalize", "rationale", ()),
)
NOBODY = (0, 0, 0)


def receipt(stage: str, tokens: int, **other: Any) -> Receipt:
    return Receipt(stage, 0, 1, 1, "", "", True, counts={"tokens": tokens}, **other)


def ceiling(tokens: int, *receipts: Receipt) -> Ceiling:
    def cost(of: Receipt) -> Cost:
        return Cost(tokens=of.counts["tokens"])

    made = Ceiling({"tokens": tokens}, cost, ROAD)
    for each in receipts:
        made.note(each)
    return made


SAMPLED, WRITTEN = receipt("sample", 100), receipt("rationalize", 50)


class TestRoom:
    def test_one_shard_of_a_stage_that_none_is_known_of(self) -> None:
        assert ceiling(1000).room(0, (9, 0, 0), NOBODY) == 1
        assert ceiling(1000).room(0, (9, 0, 0), (1, 0, 0)) == 0

    def test_a_quarter_until_a_shard_has_passed_the_road(self) -> None:
        assert ceiling(1000, SAMPLED).room(0, (9, 0, 0), NOBODY) == 1
        assert ceiling(1000, SAMPLED, SAMPLED).room(0, (9, 0, 0), NOBODY) == 0
        assert ceiling(1000, SAMPLED, SAMPLED).room(2, (9, 0, 2), NOBODY) == 1

    def test_then_as_many_as_what_is_left_pays_for_to_the_end(self) -> None:
        known = ceiling(1000, SAMPLED, WRITTEN)
        assert known.room(0, (9, 0, 0), NOBODY) == 5  # 850 left, 150 each
        assert known.room(0, (9, 0, 0), (2, 0, 0)) == 3
        assert known.room(0, (9, 2, 0), (2, 0, 1)) == 2  # three further on, 50 each

    def test_what_is_nearer_to_the_end_comes_first(self) -> None:
        known = ceiling(260, SAMPLED, WRITTEN)
        assert known.room(2, (9, 0, 2), NOBODY) == 2
        assert known.room(0, (9, 0, 2), NOBODY) == 0
        assert "limits.tokens: 150 of 260 are spent" in known.reason
        assert "from sample on takes up to 150" in known.reason

    def test_every_shard_costs_as_much_as_the_dearest_one(self) -> None:
        assert ceiling(1000, SAMPLED, receipt("sample", 10), WRITTEN).room(2, NOBODY, NOBODY) == 16
        dear = ceiling(1000, WRITTEN, receipt("rationalize", 200))
        assert dear.room(2, NOBODY, NOBODY) == 3

    def test_a_stage_without_a_model_always_goes_on(self) -> None:
        assert ceiling(10, SAMPLED).room(1, (0, 9, 0), NOBODY) == sys.maxsize

    def test_a_copied_shard_costs_nothing(self) -> None:
        assert ceiling(10, receipt("sample", 100, taken_over=True)).spent == Cost()


@pytest.mark.parametrize("seed", range(40))
def test_a_run_goes_beyond_its_limit_only_by_what_is_dearer_than_any_before(seed: int) -> None:
    rng = random.Random(seed)
    shards, workers = rng.randint(5, 40), rng.randint(1, 8)
    cost = {"sample": 100, "label": 0, "rationalize": rng.choice([10, 100, 1000])}
    limit = rng.randint(2, 3 * shards) * sum(cost.values())
    known = ceiling(limit)
    queues = Shards(ROAD, shards, {}, window=8, attempts=3, pause=0.0, ceiling=known)
    running: list[tuple[int, Task, int, int]] = []
    surprises = passed = 0
    with contextlib.suppress(LimitReached):
        while not queues.finished:
            for at in (2, 1, 0):
                while queues.startable(at) and len(running) < workers:
                    task = queues.take(at)
                    tokens = round(cost[task.stage] * rng.uniform(0.2, 2.0))
                    dearest = known.dearest.get(task.stage, Cost()).tokens
                    running.append((at, task, tokens, round(dearest)))
            queues.check_ceiling()
            at, task, tokens, dearest = running.pop(rng.randrange(len(running)))
            queues.commit(at, task.shard)
            known.note(receipt(task.stage, tokens))
            surprises += max(0, tokens - dearest)
            passed += at == 2
    said = f"seed {seed}: {known.spent.tokens} of {limit}, {surprises} more than was known"
    assert known.spent.tokens <= limit + surprises, said
    assert not running, said
    assert passed == shards or known.reason, said
    assert passed, f"{said}: nothing came of it"


class TestRefusals:
    def test_money_without_prices(self, tmp_path: Path) -> None:
        config = configure(tmp_path, limits={"money": 5})
        with pytest.raises(ConfigurationError, match=r"`limits.money` needs `prices`"):
            config.check_input(config.read_input())

    def test_a_price_of_tokens_that_no_server_makes(self, tmp_path: Path) -> None:
        engines = configure(tmp_path).engines
        prices = PriceSettings(tokens={"policy": 1.0})
        with pytest.raises(ConfigurationError, match=r"prices.tokens.policy"):
            check_spending(LimitSettings(), prices, engines)

    def test_a_pilot_keeps_its_builds_limits_and_prices(self, tmp_path: Path) -> None:
        served = {"kind": "chat", "model": "m", "url": "http://127.0.0.1:9/v1"}
        models = CONFIG["models"] | {"rationale": served}
        config = configure(
            tmp_path, models=models, prices={"tokens": {"rationale": 2}}, limits={"money": 5}
        )
        pilot = config.own_pilot()
        pilot.check_input(pilot.read_input())
        assert (pilot.limits, pilot.prices) == (config.limits, config.prices)

    @pytest.mark.parametrize("limits", [{"tokens": 0}, {"gpu_hours": -1}, {"euros": 3}])
    def test_a_limit_that_is_none(self, tmp_path: Path, limits: dict[str, Any]) -> None:
        with pytest.raises(ConfigurationError, match="limits"):
            configure(tmp_path, limits=limits)


def tokens(run: Run) -> int:
    return sum(run.totals(stage).counts.get("tokens", 0) for stage in run.spec.stages)


@virtually
async def test_a_build_stops_at_its_ceiling_and_a_raised_one_asks_nothing_again(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    free = Build(configure(tmp_path_factory.mktemp("free")))
    await free.work()
    whole = tokens(free.run)
    folder = tmp_path_factory.mktemp("limited")

    first = Build(configure(folder, limits={"tokens": whole * 6 // 10}))
    with pytest.raises(LimitReached) as stopped:
        await first.work()
    line, run = str(stopped.value), first.run
    kept = run.totals("export").rows
    assert "\n" not in line
    assert f"of {whole * 6 // 10:,} are spent" in line
    assert f"It bought {kept:,} rows of export" in line
    assert "the same command goes on" in line
    assert stop_reason(run) == line
    assert tokens(run) <= whole * 6 // 10
    assert kept > 0
    begun = {stage: run.shards_of(stage) for stage in run.spec.stages[1:]}
    assert all(shards == begun["export"] for shards in begun.values()), "what was begun is whole"

    again = Build(configure(folder, limits={"tokens": whole * 6 // 10}))
    with pytest.raises(LimitReached):
        await again.work()
    assert again.cluster.worked == [] and again.world.prompts == []

    raised = Build(configure(folder, limits={"tokens": 2 * whole}))
    await raised.work()
    assert len(set(raised.cluster.worked)) == len(raised.cluster.worked)
    repeated = {(s, n) for s, shards in begun.items() for n in shards} & set(raised.cluster.worked)
    assert repeated == set()
    assert tokens(run) == whole
    ceiling = ceiling_for(raised.config)
    assert ceiling is not None
    tell_earlier(run, {stage: run.shards_of(stage) for stage in begun}, [ceiling.note])
    assert ceiling.spent.tokens == whole


@virtually
async def test_gpu_hours_are_a_workers_time_split_among_its_shards(tmp_path: Path) -> None:
    build = Build(configure(tmp_path, limits={"gpu_hours": 1000}))
    await build.work()
    commits = [c for stage in build.run.spec.stages[1:] for c in build.run.commits(stage)]
    assert all(0 <= commit.share_s <= commit.seconds + 0.001 for commit in commits)
