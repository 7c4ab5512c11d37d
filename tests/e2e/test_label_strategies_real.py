"""The estimating strategies with the demo's real models, on a few problems.

Two engines are opened once and lent to all; first errors are compared with the world's truth.
genprm itself is built with everything real in `test_real_build`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from demo import world
from demo.truth import measure
from storage.audit import audit
from storage.rows.kinds import EXAMPLES
from tests.support.demo_house import House, shortened
from tests.support.label_strategies import NAMES
from tests.support.scripted_build import rows

SEED = 9
PROBLEMS = list(world.sample(10, SEED, "heldout", levels=(1, 2, 3)))
SEARCHED = ("omegaprm",)
"""Strategies whose labels are thresholds of soft targets, of edges and not of sampled steps."""

pytestmark = [pytest.mark.slow, pytest.mark.engine, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    opened = House()
    yield opened
    opened.close()


@pytest.mark.parametrize("name", [name for name in NAMES if name != "genprm"])
def test_real_models_find_most_first_errors(house: House, name: str, tmp_path: Path) -> None:
    print(f"seed {SEED}")
    run = house.build(shortened(name, PROBLEMS, tmp_path))
    assert audit(run).findings == ()
    assert rows(run, EXAMPLES)
    scores = measure(run).before
    print(f"{name}: {scores.paths} paths, first error true {scores.first_accuracy:.3f}, "
          f"F1 {scores.f1:.3f}")  # fmt: skip
    assert scores.paths > 10
    assert name in SEARCHED or scores.first_accuracy > 0.5
