"""Whether forced beginnings are healed stands in the spec; a run begun before that is not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from actors.engine import EngineSettings
from storage.memory_store import MemoryStore
from storage.runs import Run
from storage.specs import ShardPlan, Spec, differences
from workflows import configuration, refining
from workflows.configuration import BuildConfig, ModelSettings
from workflows.refining import RefineConfig, RefineModels
from workflows.settings import StageSettings
from workflows.settling import recalled

ENGINE = EngineSettings(kind="scripted", model="m")
BUILD = BuildConfig(
    run="r",
    problems="p",
    models=ModelSettings(policy=ENGINE),
    stages=StageSettings(road=("sample",)),
)
REFINE = RefineConfig(run="r", models=RefineModels(generator=ENGINE))
Binding = Callable[[Any], dict[str, Any]]
kinds = pytest.mark.parametrize(
    ("config", "binding", "part"),
    [(BUILD, configuration.binding, "stages"), (REFINE, refining.binding, "refine")],
)


def spec_of(said: dict[str, Any]) -> Spec:
    return Spec(said, "digest", ShardPlan(1, 1), {"policy": "m", "generator": "m"})


def healed(config: Any, part: str, heal: bool) -> Any:
    return replace(config, **{part: replace(getattr(config, part), heal=heal)})


@kinds
def test_a_run_begun_before_the_setting_goes_on_unhealed(
    config: Any, binding: Binding, part: str
) -> None:
    said = binding(config)
    del said[part]["heal"]
    old = Run.start(MemoryStore(), "r", spec_of(said))
    goes_on = recalled(config, old)
    assert goes_on == healed(config, part, False)
    assert differences(old.spec, spec_of(binding(goes_on))) == []


@kinds
@pytest.mark.parametrize("begun", [True, False])
def test_another_choice_is_refused_by_its_name(
    config: Any, binding: Binding, part: str, begun: bool
) -> None:
    run = Run.start(MemoryStore(), "r", spec_of(binding(healed(config, part, begun))))
    asked = recalled(healed(config, part, not begun), run)
    (found,) = differences(run.spec, spec_of(binding(asked)))
    assert found.name == f"configuration.{part}.heal"
