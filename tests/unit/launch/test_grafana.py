"""launch/grafana.json: every metric is shown, by its name in Prometheus and by tags that it has."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from actors.metrics import COUNTERS, GAUGES

DASHBOARD: dict[str, Any] = json.loads(
    (Path(__file__).parents[3] / "launch/grafana.json").read_text()
)
TAGS = {f"ray_{name}_total": tags for name, (_, tags) in COUNTERS.items()} | {
    f"ray_{name}": tags for name, (_, tags) in GAUGES.items()
}
"""Name in Prometheus, as Ray exports it, -> tags."""
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
VARIABLES = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}


def targets() -> list[tuple[str, str]]:
    return [(one["expr"], one["legendFormat"]) for panel in PANELS for one in panel["targets"]]


def test_every_metric_is_shown_and_every_one_that_is_shown_exists() -> None:
    shown = [name for expr, _ in targets() for name in re.findall(r"ray_\w+", expr)]
    assert sorted(shown) == sorted(TAGS)


def test_a_metric_is_split_and_chosen_by_tags_that_it_has() -> None:
    for expr, legend in targets():
        (name,) = re.findall(r"ray_\w+", expr)
        (by,) = re.findall(r"by \(([\w, ]+)\)", expr)
        (chosen,) = re.findall(r'\{(\w+)=~"\$(\w+)"\}', expr)
        assert {*by.split(", "), *chosen} <= set(TAGS[name]), expr
        assert set(re.findall(r"{{(\w+)}}", legend)) == set(by.split(", ")), legend
        assert set(chosen) <= VARIABLES.keys()


def test_counters_are_shown_as_rates_or_increases_since_a_new_process_counts_from_zero() -> None:
    for expr, _ in targets():
        assert ("_total{" in expr) == bool(re.search(r"\b(rate|increase)\(", expr)), expr


def test_its_variables_are_read_from_metrics_that_have_them() -> None:
    for name, variable in VARIABLES.items():
        if variable["type"] == "query":
            metric, label = re.findall(r"label_values\((\w+), (\w+)\)", variable["definition"])[0]
            assert label == name
            assert label in TAGS[metric]


def test_panels_have_their_own_numbers_and_do_not_lie_on_each_other() -> None:
    every = DASHBOARD["panels"]
    assert len({panel["id"] for panel in every}) == len(every)
    taken = [
        (column, line)
        for at in (panel["gridPos"] for panel in every)
        for column in range(at["x"], at["x"] + at["w"])
        for line in range(at["y"], at["y"] + at["h"])
    ]
    assert len(taken) == len(set(taken))
    assert max(column for column, _ in taken) < 24
