"""What labels of few rollouts are worth where the truth is known, and what a pilot says of them."""

from __future__ import annotations

import pytest

from benchmarks.label_worlds import WORLDS, World, measure, show
from tests.support.label_rows import pilot
from workflows.estimation.gate import gate_of
from workflows.settings import EstimateSettings, LabelSettings

POSTERIOR = LabelSettings(estimate="posterior")


@pytest.mark.parametrize("world", WORLDS, ids=lambda world: world.name)
def test_no_world_has_worse_labels_for_about_half_the_rollouts(world: World) -> None:
    """The small version of `benchmarks/labels/label_worlds.py`: 80 problems instead of 250."""
    print(f"world {world.name}, seed 11")
    found = {row.method: row for row in measure(world, 80, seed=11)}
    show(list(found.values()))
    exact, rerun = found["exact"], found["exact, rerun"]
    assert found["exact_zero_stop"].differs == 0
    assert found["exact_zero_stop"].rollouts < exact.rollouts
    for name in ("two_round", "adaptive"):
        assert found[name].error <= exact.error
        assert found[name].saved >= 0.45, "of 640 solutions; half and more of the benchmark's 2,000"
        assert found[name].differs <= rerun.differs + 0.01


def test_the_gate_passes_a_pilot_and_tells_its_noise() -> None:
    settings = EstimateSettings(mc_budget="two_round", pilot="p")
    gate = gate_of(pilot(), settings, POSTERIOR)
    print(gate)
    assert gate.passed
    assert gate.floor > 0
    assert gate.saved > 0.3
    assert gate == gate_of(pilot(), settings, POSTERIOR)


def test_the_gate_stops_a_budget_that_decides_without_looking() -> None:
    """With cap 0.05 and delta 0.5 every label is decided on a rollout or two."""
    settings = EstimateSettings(mc_budget="adaptive", pilot="p", delta=0.5, batch=1, cap=0.05)
    gate = gate_of(pilot(), settings, POSTERIOR)
    print(gate)
    assert not gate.passed
