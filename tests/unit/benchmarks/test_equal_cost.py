"""The table of all strategies at equal cost: its settings are ones that a build would take."""

from __future__ import annotations

from math import nan
from pathlib import Path

import pytest

from benchmarks import equal_cost_built
from benchmarks.equal_cost import STRATEGIES, Strategy
from benchmarks.equal_cost_table import NAMES, Figures, draw, lines_of, over_seeds, shown
from benchmarks.label_report import keep
from tests.support.demo_house import CONFIGS, shortened
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


def test_every_shipped_strategy_has_a_row() -> None:
    names = {of.name for of in STRATEGIES} | set(equal_cost_built.STRATEGIES)
    shipped = {file.stem for file in CONFIGS.glob("*.yaml")}
    assert {name for name in shipped if not any(row.startswith(name) for row in names)} == set()


@pytest.mark.parametrize("name", equal_cost_built.STRATEGIES)
def test_a_strategy_is_built_as_its_file_says_with_the_demos_models_and_a_seed(
    name: str, tmp_path: Path
) -> None:
    config = shortened(name, equal_cost_built.problems_of(name, 2), tmp_path, {"seed": 3})
    assert config.stages.seed == 3
    for engine in config.engines.values():
        assert engine.kind == "scripted" or equal_cost_built.parameters(Path(engine.model).name) > 1


def test_stored_lines_are_read_and_drawn_again_and_what_cost_nothing_is_left_out(
    tmp_path: Path,
) -> None:
    figures = Figures(**{name: 0.5 for name in NAMES})
    lines = [
        over_seeds("one", "K x 1", [figures]),
        over_seeds("free", "a prover", [Figures(**{name: 0.0 for name in NAMES})]),
    ]
    keep(lines, draw, tmp_path, "table")
    assert lines_of(tmp_path / "table.json") == lines
    assert (tmp_path / "table.png").stat().st_size
