"""A run derived from another: only what a change reaches is made, the rest is the same bytes."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from storage.audit import audit
from storage.datasets.download import download
from storage.errors import ConfigurationError, NothingFound, SpecMismatch
from storage.objects.opening import open_store
from storage.rows.kinds import RATIONALES
from storage.runs import layout
from storage.runs.origin import origin_of
from storage.sweep import sweep
from tests.support.deriving import derive, digests, take_over
from tests.support.golden import check_golden
from tests.support.scripted_build import GIVEN, Build, configure
from tests.support.scripted_world import write_problems
from workflows.builds.configuration import BuildConfig
from workflows.builds.derive import models_needed, plan_derivation
from workflows.builds.growth import same_input
from workflows.runs.driving import standing
from workflows.runs.run import finish
from workflows.runs.starting import planned


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Build:
    build = Build(configure(tmp_path_factory.mktemp("built")))
    asyncio.run(build.work())
    finish(build.run)
    return build


def changed(config: BuildConfig, run: str, **stages: Mapping[str, Any]) -> BuildConfig:
    """The configuration with other settings of some stages, under another name."""
    settings = config.stages
    for stage, change in stages.items():
        new = dataclasses.replace(getattr(settings, stage), **change)
        settings = dataclasses.replace(settings, **{stage: new})
    return dataclasses.replace(config, run=run, stages=settings)


def of_a_fresh_build(config: BuildConfig, folder: Path) -> Build:
    fresh = Build(dataclasses.replace(config, store=f"file:{folder}/fresh"))
    asyncio.run(fresh.work())
    return fresh


ALLOWED = [
    pytest.param({"label": {"threshold": 0.5}}, {"label", "consensus", "export"}, id="threshold"),
    pytest.param(
        {"label": {"form": "hard", "threshold": 0}}, {"label", "consensus", "export"}, id="hard"
    ),
    pytest.param(
        {"label": {"form": "soft", "threshold": 0.5}}, {"label", "consensus", "export"}, id="soft"
    ),
    pytest.param(
        {"label": {"form": "difference", "threshold": -0.3}, "consensus": {"rule": "none"}},
        {"label", "consensus", "export"},
        id="difference_all_kept",
    ),
    pytest.param({"consensus": {"rule": "first_error"}}, {"consensus", "export"}, id="consensus"),
    pytest.param({}, {"export"}, id="nothing"),
]


@pytest.mark.parametrize(("change", "anew"), ALLOWED)
def test_a_change_of_labels_or_filters_is_finished_without_any_engine(
    change: dict[str, Any], anew: set[str], built: Build, tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:  # fmt: skip
    config = changed(built.config, f"derived-{request.node.callspec.id}", **change)
    run = derive(config, built.run)
    found = take_over(run, config)
    assert found is not None
    assert set(found.made) == anew
    assert standing(run).finished
    finish(run)
    check_golden(run.name, run)
    assert audit(run).findings == audit(built.run).findings == ()
    fresh = of_a_fresh_build(config, tmp_path).run
    for stage in run.spec.stages:
        assert digests(run, stage) == digests(fresh, stage), stage
    assert take_over(run, config) == dataclasses.replace(found, made={})


def test_new_rationales_keep_samples_rollouts_and_labels(built: Build, tmp_path: Path) -> None:
    config = changed(built.config, "rewritten", rationalize={"votes": 2})
    run = derive(config, built.run)
    found = take_over(run, config)
    assert found is not None
    assert {stage for stage, n in found.adopted.items() if n == run.spec.plan.shards} == {
        "problems", "sample", "estimate", "label",
    }  # fmt: skip
    assert found.made == {}
    again = of_a_fresh_build(config, tmp_path)
    build = Build(config)
    asyncio.run(build.work())
    assert {stage for stage, _ in build.cluster.worked} == {"rationalize", "consensus", "export"}
    for stage in run.spec.stages:
        assert digests(run, stage) == digests(again.run, stage), stage


def test_a_derived_run_is_whole_without_its_source(built: Build, tmp_path: Path) -> None:
    source = Build(configure(tmp_path / "source"))
    asyncio.run(source.work())
    config = changed(source.config, "heir", label={"threshold": 0.5})
    run = derive(config, source.run)
    assert origin_of(run) is not None
    take_over(run, config)
    store = run.store
    for key, _ in list(store.list(layout.run_prefix(source.run.name))):
        store.delete(key)
    assert take_over(run, config) is None
    assert sweep(run).objects == 0
    finish(run)
    assert audit(run).findings == ()
    assert download(run, tmp_path / "dataset").rows > 0
    again = Build(config)
    asyncio.run(again.work())
    assert again.cluster.worked == []


def test_a_source_under_way_gives_what_it_has_and_the_build_makes_the_rest(
    tmp_path: Path,
) -> None:
    source = Build(configure(tmp_path / "source"))
    asyncio.run(source.work())
    for stage, shards in (("sample", [3]), ("estimate", [2, 3]), ("rationalize", [1, 2, 3])):
        for shard in shards:
            source.run.store.delete(layout.commit_key(source.run.name, stage, shard))
    config = changed(source.config, "early", label={"threshold": 0.5})
    wanted = planned(config, None)
    plan = plan_derivation(config.run, source.run.store.url, wanted.spec, source.run)
    assert models_needed(plan, source.run, same_input(wanted, source.run))
    run = derive(config, source.run)
    found = take_over(run, config)
    assert found is not None
    # What the source still has downstream of a gap is not taken over: it may be of other rows.
    assert found.adopted == {"problems": 4, "sample": 3, "estimate": 2, "rationalize": 1}
    assert found.made == {"label": 2, "consensus": 1, "export": 1}
    build = Build(config)
    asyncio.run(build.work())
    assert ("sample", 3) in build.cluster.worked and ("sample", 2) not in build.cluster.worked
    finish(run)
    assert audit(run).findings == ()
    fresh = of_a_fresh_build(config, tmp_path).run
    for stage in run.spec.stages:
        assert digests(run, stage) == digests(fresh, stage), stage


def test_rationales_are_not_reused_where_other_paths_have_labels(
    built: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    from workflows.stages.label import LabelStage

    made = LabelStage.run

    async def without_the_first(self: LabelStage, rows: Any) -> Any:
        result = await made(self, rows)
        return dataclasses.replace(result, rows=result.rows[1:])

    monkeypatch.setattr(LabelStage, "run", without_the_first)
    config = changed(built.config, "fewer-labels", label={"threshold": 0.6})
    run = derive(config, built.run)
    found = take_over(run, config)
    assert found is not None
    assert found.made == {"label": 4}
    with pytest.raises(NothingFound):
        run.read_rows(RATIONALES, 0)


REFUSED = [
    pytest.param({"sample": {"cap": 32}}, "configuration.stages.sample.cap: stored 64", id="cap"),
    pytest.param(
        {"answers": {"timeout_s": 9.0}}, "configuration.stages.answers.timeout_s", id="answers"
    ),
]


@pytest.mark.parametrize(("change", "said"), REFUSED)
def test_a_change_upstream_of_everything_is_refused_and_leaves_nothing(
    change: dict[str, Any], said: str, built: Build
) -> None:
    config = changed(built.config, "refused", **change)
    with pytest.raises(SpecMismatch, match="nothing of it could be reused") as caught:
        derive(config, built.run)
    assert said in str(caught.value)
    assert list(built.run.store.list("runs/refused")) == []


def test_another_input_other_shards_or_ones_own_name_is_refused(
    built: Build, tmp_path: Path
) -> None:
    other = dataclasses.replace(built.config, run="other", problems=str(tmp_path / "p.jsonl"))
    write_problems(GIVEN[1:], tmp_path / "p.jsonl")
    with pytest.raises(SpecMismatch, match="nothing of run 'r' could be reused: none of its"):
        derive(other, built.run)
    with pytest.raises(SpecMismatch, match=r"items_per_shard: stored 4, asked for 7"):
        derive(dataclasses.replace(built.config, run="other", shard_size=7), built.run)
    assert list(built.run.store.list("runs/other")) == []
    with pytest.raises(ConfigurationError, match="from itself"):
        derive(built.config, built.run)
    assert open_store(built.config.store).url == built.run.store.url
