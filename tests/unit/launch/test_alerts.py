"""launch/alerts.yaml, launch/prometheus.yaml: each alert fires where it should, and nowhere else.

Prometheus' own `promtool` evaluates the rules, where it is installed (Debian: prometheus).
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from actors.metrics import COUNTERS, GAUGES
from storage.errors import Broken

LAUNCH = Path(__file__).parents[3] / "launch"
RULES: list[dict[str, Any]] = yaml.safe_load((LAUNCH / "alerts.yaml").read_text())["groups"][0][
    "rules"
]
NAMES = {f"ray_{name}_total" for name in COUNTERS} | {f"ray_{name}" for name in GAUGES}
PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed")

# Alert -> series that make it fire after four hours, series that do not; a value a minute.
STANDING: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "StepmillRunStandsStill": (
        {
            'ray_stepmill_shards_total{run="r",stage="sample"}': "7+0x240",
            'ray_stepmill_shards_running{run="r",stage="sample"}': "2+0x240",
        },
        {
            'ray_stepmill_shards_total{run="r",stage="sample"}': "7+1x240",
            'ray_stepmill_shards_running{run="r",stage="sample"}': "2+0x240",
        },
    ),
    "StepmillNobodyWorks": (
        {
            'ray_stepmill_shards_waiting{run="r",stage="sample"}': "2+0x240",
            'ray_stepmill_workers{run="r",role="policy"}': "0+0x240",
        },
        {
            'ray_stepmill_shards_waiting{run="r",stage="sample"}': "2+0x240",
            'ray_stepmill_workers{run="r",role="policy"}': "1+0x240",
        },
    ),
    "StepmillWorkersAreLost": (
        {'ray_stepmill_worker_losses_total{run="r",role="policy"}': "0+0.2x240"},
        {'ray_stepmill_worker_losses_total{run="r",role="policy"}': "0+0.02x240"},
    ),
    "StepmillDropsMuch": (
        {
            'ray_stepmill_drops_total{run="r",stage="sample",reason="exception"}': "0+1x240",
            'ray_stepmill_rows_total{run="r",stage="sample"}': "0+10x240",
        },
        {
            'ray_stepmill_drops_total{run="r",stage="sample",reason="no_valid_path"}': "0+5x240",
            'ray_stepmill_rows_total{run="r",stage="sample"}': "0+10x240",
        },
    ),
    "StepmillTrainingStandsStill": (
        {'ray_stepmill_train_step{training="t"}': "5+0x240"},
        {'ray_stepmill_train_step{training="t"}': "5+1x240"},
    ),
}


def test_every_alert_reads_figures_that_are_exported() -> None:
    for rule in RULES:
        assert set(re.findall(r"ray_\w+", rule["expr"])) <= NAMES, rule["alert"]


def test_drops_that_alert_are_trouble_and_not_the_datas_own() -> None:
    (expr,) = (rule["expr"] for rule in RULES if rule["alert"] == "StepmillDropsMuch")
    (reasons,) = re.findall(r'reason=~"([\w|]+)"', expr)
    assert set(reasons.split("|")) == {str(reason) for reason in Broken}


def test_the_scrape_configuration_names_the_alerts() -> None:
    config = yaml.safe_load((LAUNCH / "prometheus.yaml").read_text())
    assert [(LAUNCH / name).is_file() for name in config["rule_files"]] == [True]


@needs_promtool
def test_prometheus_takes_the_scrape_configuration() -> None:
    assert PROMTOOL is not None
    checked = subprocess.run(
        [PROMTOOL, "check", "config", LAUNCH / "prometheus.yaml"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stderr
    assert f"{len(RULES)} rules found" in checked.stdout


@needs_promtool
@pytest.mark.parametrize("alert", [rule["alert"] for rule in RULES])
@pytest.mark.parametrize("fires", [True, False])
def test_it_fires_where_it_should_and_nowhere_else(alert: str, fires: bool, tmp_path: Path) -> None:
    assert PROMTOOL is not None
    series = STANDING[alert][0 if fires else 1]
    names = {"run", "training", "role", "stage"}
    labels: dict[str, str] = {}
    for one in series:
        labels |= {k: v for k, v in re.findall(r'(\w+)="(\w+)"', one) if k in names}
    (rule,) = (rule for rule in RULES if rule["alert"] == alert)
    kept = re.findall(r"by \(([\w, ]+)\)", rule["expr"])
    by = set(kept[0].split(", ")) if kept else {"training"}
    told = {"exp_labels": rule["labels"] | {k: v for k, v in labels.items() if k in by}}
    (tmp_path / "alerts.yaml").write_text((LAUNCH / "alerts.yaml").read_text())
    case = {
        "rule_files": ["alerts.yaml"],
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": k, "values": v} for k, v in series.items()],
                "alert_rule_test": [
                    {"eval_time": "4h", "alertname": alert, "exp_alerts": [told] if fires else []}
                ],
            }
        ],
    }
    (tmp_path / "case.yaml").write_text(yaml.safe_dump(case))
    asked = [PROMTOOL, "test", "rules", tmp_path / "case.yaml"]
    tested = subprocess.run(asked, capture_output=True, text=True, timeout=60)
    said = tested.stdout + tested.stderr
    if not fires:
        assert tested.returncode == 0, said
    else:  # promtool compares annotations too: what it got is read
        assert f'alertname="{alert}"' in said, said
        assert "got:[]" not in said.replace(" ", ""), said
