"""The judge's strategies with the demo's real models and the real sandbox, on a few problems.

Engines are opened once and lent to all strategies; what each kept is compared with the truth.

What may be asked of a strategy's labels follows from what is measured of the model that judges
(`demo/MODEL_CARD.md`): the share of wrong solutions whose first error it finds, and of right ones
that it lets stand. A strategy that keeps what one judge says must come to that share, up to three
standard deviations of so few paths; one that keeps where two sources agree must be truer than the
first of them alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from demo import world
from demo.truth import Scores, true_first_errors
from storage.audit import audit
from storage.rows.kinds import AGREEMENTS, LABELS, PATHS, RETRIED
from tests.support.demo_house import House, shortened
from tests.support.judge_strategies import OURS, SPARK
from tests.support.solver import decided

ROOT = Path(__file__).parents[2]
SEED = 9
MIXED = list(world.sample(16, SEED, "heldout", levels=(1, 2, 3)))
LOGIC = list(world.sample(8, SEED, "heldout", families=("logic",)))
CARD = (ROOT / "demo/MODEL_CARD.md").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Rates:
    """Shares of wrong and of right solutions whose first error (or none) a judge names."""

    wrong: float
    right: float


def of_form(name: str) -> Rates:
    """The judge's, in one of its forms."""
    row = next(line for line in CARD.splitlines() if line.startswith(f"| {name} |"))
    *_, wrong, right = (cell.strip() for cell in row.strip("|").split("|"))
    return Rates(float(wrong), float(right))


BLIND, REVISED = of_form("critique, sees none"), of_form("critique after its meta-critique")
SEEING = of_form("critique, sees reference_solution")
JUDGED: Mapping[str, Rates] = {
    "spark_single": BLIND,
    "spark_meta_critique": REVISED,
    # A majority of blind votes finds no more than one vote does, and what it accuses less often is
    # right solutions.
    "spark_outcome_vote": Rates(0.0, BLIND.right),
    "spark_step_vote": Rates(0.0, BLIND.right),
    # Four seats, the weakest of them blind.
    "aurora": BLIND,
    "spare": of_form("align, sees reference_solution"),
    # Kept are wrong solutions in which it names an error, that is, some other one where not this.
    "int": Rates(SEEING.wrong, 0.0),
}
"""What is kept is what this judge says."""
AGREEING = ("qwen_consensus", "thinkprm")
"""What is kept is where labels and a judge agree."""

pytestmark = [
    pytest.mark.slow, pytest.mark.engine, pytest.mark.container, pytest.mark.timeout(2400),
]  # fmt: skip


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    opened = House()
    yield opened
    opened.close()


@pytest.mark.parametrize("name", OURS)
def test_real_models_keep_solutions_with_true_labels(
    house: House, name: str, tmp_path: Path, record_property: Any
) -> None:
    run = house.build(shortened(name, LOGIC if name == "fover" else MIXED, tmp_path))
    assert audit(run).findings == ()
    scores, reasons, truths = Scores(), {}, true_first_errors(run)
    paths = len(truths)
    named: dict[bool, list[bool]] = {True: [], False: []}
    labelled: list[bool] = []
    tried, helped = 0, 0
    for shard in range(run.spec.plan.shards):
        sampled = {row.path_id: row for row in run.read_rows(PATHS, shard)}
        for row in run.read_rows(AGREEMENTS, shard):
            if row.kept:
                truth = truths[row.path_id]
                scores.add(row.labels, truth)
                first = row.labels.index(False) if False in row.labels else None
                named[truth is None].append(first == truth)
                if name == "fover":  # stricter than the checker, which doesn't read gates' names
                    problem = world.problem(row.problem_id)
                    assert row.labels == decided(problem.text, tuple(sampled[row.path_id].steps))
                    assert truth is None or (first is not None and first <= truth)
            else:
                reasons[row.reason] = reasons.get(row.reason, 0) + 1
        if name in AGREEING:
            for label in run.read_rows(LABELS, shard):
                labelled.append(label.first_error == truths[label.path_id])
        if name == "int":
            made = run.read_rows(RETRIED, shard)
            tried, helped = tried + len(made), helped + sum(row.kept for row in made)
    tokens = sum(run.totals(stage).counts.get("tokens", 0) for stage in run.spec.stages)
    figures = (
        f"{name}: {scores.paths} of {paths} paths kept, label F1 {scores.f1:.3f} (precision "
        f"{scores.precision:.3f}, recall {scores.recall:.3f}), first error true "
        f"{scores.first / max(1, scores.paths):.3f}, tokens {tokens}, {reasons}"
        + f", wrong solutions {sum(named[False])} of {len(named[False])}, right ones "
        f"{sum(named[True])} of {len(named[True])}"
        + (f", replacements {helped} of {tried}" if name == "int" else "")
        + (f", labels alone {sum(labelled)} of {len(labelled)}" if labelled else "")
    )
    print(f"\nseed {SEED}: {figures}", flush=True)
    record_property("figures", figures)
    assert scores.paths > 0.1 * paths
    assert name != "int" or helped > 0
    if name in JUDGED:
        assert_named(named[False], JUDGED[name].wrong, figures)
        assert_named(named[True], JUDGED[name].right, figures)
    if name in AGREEING:
        assert scores.first / scores.paths > sum(labelled) / len(labelled), figures
    if name in (
        "aurora",
        "groundedprm",
        *SPARK,
    ):  # what it calls wrong is wrong more often than steps are
        wrong = scores.steps[True, True] + scores.steps[False, True]
        assert scores.precision > wrong / scores.steps.total(), figures


def assert_named(hits: list[bool], rate: float, figures: str) -> None:
    """That so many successes are not too few for their rate, by three standard deviations."""
    if hits:
        spread = 3 * math.sqrt(rate * (1 - rate) / len(hits))
        assert sum(hits) / len(hits) >= rate - spread, (rate, sum(hits), len(hits), figures)
