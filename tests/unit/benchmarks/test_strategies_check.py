"""The command that builds every strategy: what it asks of each is something that there is."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from benchmarks import strategies
from launch.config import load
from workflows.views.catalogue import VIEWS

NAMES = sorted(file.stem for file in strategies.FOLDER.glob("*.yaml"))


@pytest.mark.parametrize("name", NAMES)
def test_a_strategy_has_the_stages_of_its_views_and_its_own_models_and_world(name: str) -> None:
    config = load(strategies.FOLDER / f"{name}.yaml")
    for view in strategies.VIEWS.get(name, strategies.SPOKEN):
        needed = set(VIEWS[view].reads) - set(VIEWS[view].without)
        assert needed <= {"problems", *config.stages.road}, view
    for engine in config.engines.values():
        is_script = engine.kind == "scripted" and engine.model.startswith("demo.")
        assert is_script or Path(engine.model).parent == strategies.ROOT / "demo" / "models"
    assert config.problems.rpartition("/")[2] in strategies.WORLDS
    assert config.run == name.replace("_", "-")


def test_only_strategies_are_named() -> None:
    assert set(strategies.VIEWS) <= set(NAMES)
    runs = {yaml.safe_load((strategies.FOLDER / f"{n}.yaml").read_text())["run"] for n in NAMES}
    assert len(runs) == len(NAMES)
    assert set(strategies.COMPARED) <= set(NAMES)
