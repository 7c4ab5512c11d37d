"""A search with two real models in one worker, on Ray: made, audited, and found finished."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from actors.models.rewards import RewardModel
from tests.support.commands import stepmill
from tests.support.reward_models import make_headed_model
from tests.support.scripted_world import world_problems, write_problems

pytestmark = [pytest.mark.slow, pytest.mark.engine, pytest.mark.timeout(1500)]

MODELS = Path(__file__).parents[2] / "demo" / "models"


def test_two_real_models_of_one_worker_solve_problems(tmp_path: Path) -> None:
    file = write_problems(world_problems(6), tmp_path / "world.jsonl")
    head = tmp_path / "head"  # untrained: which path is chosen does not matter here
    make_headed_model(MODELS / "policy", head, RewardModel("discriminative"))
    command = (
        "solve", str(MODELS / "policy"), str(file), "--verifier", str(head),
        "--n", "8", "--width", "4", "--name", "world", "--json",
        "--set", "solve.max_tokens=256", "--set", "solve.step_tokens=96", "--set", "shard_size=3",
    )  # fmt: skip
    made = stepmill(tmp_path, *command)
    assert made.returncode == 0, made.stderr[-3000:]
    seen = json.loads(made.stdout)
    assert seen["problems"] == 6
    assert seen["answered"] + sum(seen["dropped"].values()) == 6
    assert seen["answered"] >= 4, seen
    assert seen["policy_tokens"] > 0 < seen["verifier_tokens"]
    audited = stepmill(tmp_path, "audit", "world")
    assert "clean" in audited.stdout, audited.stdout
    again = stepmill(tmp_path, *command)
    assert json.loads(again.stdout) == seen
    assert "loading" not in again.stderr
