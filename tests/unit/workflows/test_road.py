"""The road as a setting: what may follow what, what each stage reads, which models it needs."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from actors.engines.contract import EngineSettings
from storage.errors import ConfigurationError
from storage.rows.kinds import ROAD as PAPERS
from storage.rows.kinds import stage_rows
from workflows.builds.configuration import BuildConfig, ModelSettings
from workflows.road import INPUT_STAGE, model_roles
from workflows.settings import StageSettings
from workflows.stages import OURS, STAGE_NAMES, road_of

ENGINE = EngineSettings(kind="scripted", model="m")


def config(road: Sequence[str], **models: EngineSettings) -> BuildConfig:
    stages = StageSettings(road=tuple(road))
    return BuildConfig(run="r", problems="p", models=ModelSettings(**models), stages=stages)


def test_the_default_is_the_papers_road_and_every_stage_has_a_kind_of_rows() -> None:
    assert (INPUT_STAGE, *STAGE_NAMES) == PAPERS
    assert all(stage_rows(name) is stage.rows for name, stage in OURS.items())


def test_a_stage_reads_what_stands_before_it_on_this_road() -> None:
    short = road_of(["sample", "estimate", "label", "consensus", "export"])
    assert short[-1].reads == ("problems", "sample", "label", "consensus")
    assert road_of(STAGE_NAMES)[3].reads == ("problems", "sample", "label")
    altered = road_of(["given", "sample", "inject", "judge", "consensus"])
    assert [stage.reads[-1] for stage in altered[3:]] == ["inject", "inject"]  # in sample's place


@pytest.mark.parametrize(
    ("road", "said"),
    [
        ([], "is empty"),
        (["sample", "guess"], "there is no stage 'guess', only given, reused, sample"),
        (["sample", "sample"], "names 'sample' twice"),
        (["estimate"], "'estimate' needs 'sample' before it, and has nothing"),
        (["sample", "label"], "'label' needs one of estimate, search before it, and has none"),
        (["sample", "estimate", "search", "label"], "and has estimate, search"),
        (["sample", "estimate", "label", "export"], "'export' needs 'consensus' before it"),
    ],
)
def test_a_road_that_leads_nowhere_is_refused(road: Sequence[str], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as error:
        road_of(road)
    assert "\n" not in str(error.value)


def test_a_configuration_needs_models_for_the_roles_of_its_road_and_for_no_others() -> None:
    assert model_roles(road_of(["sample", "estimate", "label"])) == ("policy", "completer")
    short = config(["sample", "estimate"], policy=ENGINE, completer=ENGINE, rationale=ENGINE)
    assert list(short.binding["engines"]) == ["policy", "completer"]
    assert not short.runs_code
    lacking = config(STAGE_NAMES, policy=ENGINE, completer=ENGINE)
    assert lacking.runs_code
    with pytest.raises(ConfigurationError, match=r"leave rationalize out of `stages\.road`"):
        _ = lacking.engines
