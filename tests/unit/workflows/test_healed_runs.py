"""What older runs go on with: their own way of forced beginnings, their own number of attempts.

Whether forced beginnings are healed stands in the spec; a run begun before that is not.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from actors.engines.contract import EngineSettings
from storage.objects.memory import MemoryStore
from storage.runs.run import Run
from storage.runs.specs import ShardPlan, Spec, differences
from workflows.builds.configuration import BuildConfig, ModelSettings
from workflows.refinement.run import RefineConfig, RefineModels
from workflows.runs.settling import recalled
from workflows.runs.starting import differing
from workflows.settings import RationalizeSettings, StageSettings

ENGINE = EngineSettings(kind="scripted", model="m")
BUILD = BuildConfig(
    run="r",
    problems="p",
    models=ModelSettings(policy=ENGINE),
    stages=StageSettings(road=("sample",)),
)
REFINE = RefineConfig(run="r", models=RefineModels(generator=ENGINE))
kinds = pytest.mark.parametrize(("config", "part"), [(BUILD, "stages"), (REFINE, "refine")])


def spec_of(said: dict[str, Any]) -> Spec:
    return Spec(said, "digest", ShardPlan(1, 1), {"policy": "m", "generator": "m"})


def healed(config: Any, part: str, heal: bool) -> Any:
    return replace(config, **{part: replace(getattr(config, part), heal=heal)})


@kinds
def test_a_run_begun_before_the_setting_goes_on_unhealed(config: Any, part: str) -> None:
    said = config.binding
    del said[part]["heal"]
    old = Run.start(MemoryStore(), "r", spec_of(said))
    goes_on = recalled(config, old)
    assert goes_on == healed(config, part, False)
    assert differing(old.spec, spec_of(goes_on.binding)) == []


@kinds
@pytest.mark.parametrize("begun", [True, False])
def test_another_choice_is_refused_by_its_name(config: Any, part: str, begun: bool) -> None:
    run = Run.start(MemoryStore(), "r", spec_of(healed(config, part, begun).binding))
    asked = recalled(healed(config, part, not begun), run)
    (found,) = differing(run.spec, spec_of(asked.binding))
    assert found.name == f"configuration.{part}.heal"


def rationalized(attempts: int) -> BuildConfig:
    stages = StageSettings(rationalize=RationalizeSettings(attempts=attempts))
    return replace(BUILD, stages=replace(stages, road=("sample",)))


def begun_before() -> Run:
    """A run that was begun when one attempt was the default and code was always required."""
    said = rationalized(1).binding
    del said["stages"]["rationalize"]["require_code"]
    spec = replace(spec_of(said), schemas={"rationale": 2})
    return Run.start(MemoryStore(), "r", spec)


def test_a_run_begun_with_one_attempt_by_default_goes_on_with_one() -> None:
    old = begun_before()
    goes_on = recalled(BUILD, old)
    assert goes_on.stages.rationalize.attempts == 1
    asked = replace(spec_of(goes_on.binding), schemas={"rationale": 3})
    assert differing(old.spec, asked) == []


def test_a_run_begun_before_is_refused_where_code_is_no_longer_required() -> None:
    old = begun_before()
    stages = replace(BUILD.stages, rationalize=RationalizeSettings(require_code=False))
    asked = spec_of(recalled(replace(BUILD, stages=stages), old).binding)
    (found,) = differing(old.spec, replace(asked, schemas={"rationale": 3}))
    assert found.name == "configuration.stages.rationalize.require_code"


def test_another_number_of_attempts_is_refused_by_its_name() -> None:
    run = Run.start(MemoryStore(), "r", spec_of(rationalized(1).binding))
    (found,) = differing(run.spec, spec_of(recalled(BUILD, run).binding))
    assert str(found).endswith("rationalize.attempts: stored 1, asked for 2")


@pytest.mark.parametrize("version", [1, 4])
def test_rows_that_later_stages_read_otherwise_refuse_a_run(version: int) -> None:
    stored = replace(begun_before().spec, schemas={"rationale": version})
    asked = replace(stored, schemas={"rationale": 3})
    assert [str(one) for one in differences(stored, asked)] == [
        f"schemas.rationale: stored {version}, asked for 3"
    ]
