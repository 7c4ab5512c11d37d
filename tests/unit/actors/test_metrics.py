"""Metrics: silent without Ray, and every name documented."""

from __future__ import annotations

from pathlib import Path

from actors.metrics import COUNTERS, GAUGES, count, show

PAGE = Path(__file__).parents[3] / "docs" / "cluster.md"


def test_without_ray_nothing_happens() -> None:
    count("stepmill_rows", {"run": "r", "stage": "sample"}, 3)
    show("stepmill_slots", {"run": "r", "pool": "engines"}, 3)


def test_every_metric_is_documented_with_its_tags() -> None:
    page = PAGE.read_text()
    for kind, names in (("counter", COUNTERS), ("gauge", GAUGES)):
        for name, (_, tags) in names.items():
            assert f"| `{name}` | {kind} | {', '.join(tags)} |" in page
