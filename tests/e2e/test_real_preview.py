"""A newcomer's road with everything real: the demo's configuration and models, and a sandbox."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.commands import stepmill
from tests.support.published import PUBLISHED, write

pytestmark = [pytest.mark.engine, pytest.mark.container, pytest.mark.timeout(1500)]


def test_two_problems_become_examples_and_the_build_is_untouched(tmp_path: Path) -> None:
    written = stepmill(tmp_path, "init", "--from", "demo")
    assert written.returncode == 0, written.stderr
    made = stepmill(tmp_path, "preview", "build.yaml", "--problems", "2", "--json")
    assert made.returncode == 0, made.stderr[-3000:]
    seen = json.loads(made.stdout)
    assert seen["examples"] > 0
    example = next(one["example"] for one in seen["problems"] if one["example"])
    executions = [run for row in example["rationales"] for run in row["executions"]]
    assert executions and all(run["output"] for run in executions if run["verdict"] == "ok")
    assert example["example"]["conversations"][0]["role"] == "system"
    (name,) = (path.name for path in (tmp_path / ".stepmill/store/runs").iterdir())
    assert name == seen["run"]
    audited = stepmill(tmp_path, "audit", name)
    assert "clean" in audited.stdout, audited.stdout


@pytest.mark.slow
def test_of_problems_that_the_model_can_not_solve_every_drop_is_shown(tmp_path: Path) -> None:
    write(PUBLISHED["openai/gsm8k"][1], tmp_path / "gsm8k.csv.gz")
    written = stepmill(tmp_path, "init", "--problems", "gsm8k.csv.gz", "--yes")
    assert "the demo's models know the demo's problems" in written.stdout, written.stderr
    made = stepmill(tmp_path, "preview", "build.yaml", "--problems", "3")
    assert made.returncode == 0, made.stderr[-3000:]
    assert made.stdout.count("dropped at sample: no_correct_path") == 3
    assert "0 examples of 3 problems" in made.stdout
