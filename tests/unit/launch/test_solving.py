"""`stepmill solve`: what its options set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from launch.cli.main import run_command
from workflows.solving.settings import SolveConfig


def test_every_option_is_the_setting_that_it_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[Any] = []
    monkeypatch.setattr("launch.verbs.models.solve.solve_file", lambda *given: taken.extend(given))
    code = run_command(
        ["solve", "there", "problems.jsonl", "--verifier", "guide", "--method", "dvts", "--n", "12",
         "--width", "3", "--choose", "vote", "--mode", "cot", "--histories", "5", "--budget", "900",
         "--out", str(tmp_path / "out"), "--name", "mine", "--store", f"file:{tmp_path}/s",
         "--limit", "7", "--seed", "11", "--url", "http://p:1/v1", "--verifier-url", "http://v:2/v1",
         "--set", "solve.depth=6", "--set", "solve.n=99", "--address", "auto", "--json"]
    )  # fmt: skip
    assert code == 0
    config, out, address, as_json = taken
    assert isinstance(config, SolveConfig)
    solve, verify, models = config.solve, config.verify, config.models
    assert (solve.method, solve.n, solve.width, solve.choose) == ("dvts", 12, 3, "vote")
    assert (solve.budget, solve.seed, solve.depth) == (900, 11, 6)
    assert (verify.mode, verify.histories, verify.seed) == ("cot", 5, 11)
    assert (models.policy.kind, models.policy.model) == ("endpoint", "there")
    assert models.policy.url == "http://p:1/v1"
    assert models.verifier is not None and models.verifier.url == "http://v:2/v1"
    assert (models.verifier.kind, models.verifier.model) == ("endpoint", "guide")
    assert (config.run, config.limit, config.problems) == ("mine", 7, "problems.jsonl")
    assert config.store.endswith(f"{tmp_path}/s")
    assert (out, address, as_json) == (tmp_path / "out", "auto", True)
