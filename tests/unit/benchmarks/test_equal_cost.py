"""The table of all strategies at equal cost: its settings are ones that a build would take."""

from __future__ import annotations

from math import nan

import pytest

from benchmarks.equal_cost import STRATEGIES, Strategy
from benchmarks.equal_cost_table import NAMES, Figures, over_seeds, shown
from workflows.estimation.budgets import check_budget
from workflows.estimation.cut import check_cut
from workflows.judging.seats import panel
from workflows.labels.support import check_labels


@pytest.mark.parametrize("of", STRATEGIES, ids=lambda of: f"{of.name}, {of.size}")
def test_a_build_would_take_the_settings(of: Strategy) -> None:
    if of.method is not None:
        check_budget(of.method.estimate, of.method.label)
        check_cut(of.method.estimate, ())
        check_labels(of.method.label)
    if of.judge is not None:
        assert panel(of.judge)
    given = {"labels": of.method, "judge": of.judge}
    assert all(given[source] is not None for source in of.consensus.sources)


def test_no_strategy_is_in_the_table_twice() -> None:
    names = [(of.name, of.size) for of in STRATEGIES]
    assert len(set(names)) == len(names)


def test_a_line_has_means_half_ranges_and_no_figure_without_a_meaning() -> None:
    one = Figures(**{name: 0.5 for name in NAMES} | {"cost": 100.0, "rms": nan})
    other = Figures(**{name: 0.7 for name in NAMES} | {"cost": 200.0, "rms": nan})
    line = over_seeds(STRATEGIES[0].name, STRATEGIES[0].size, [one, other])
    assert line.mean.f1 == pytest.approx(0.6)
    assert line.spread.f1 == pytest.approx(0.1)
    assert shown(line).startswith("| exact | K x 1 | 150 | 60.0 ± 10.0 |")
    assert shown(line).endswith("| - |")
