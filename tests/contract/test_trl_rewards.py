"""TRL's GRPO trainer updates the demo's policy by the rewards of a served verifier."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from stepmill.rewards import Client
from tests.support.asked_door import GIVEN, served_door

ROOT = Path(__file__).parents[2]
PROBLEMS = list(dict.fromkeys(given.problem for given in GIVEN))[:4]


def test_the_demos_policy_is_updated_by_the_rewards_of_its_own_solutions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_thread: None
) -> None:
    import torch

    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    import grpo_with_verifier
    from transformers import AutoModelForCausalLM

    given: list[tuple[str, str, float]] = []

    def watched(url: str, **how: Any) -> Any:
        inner = made(url, **how)

        def reward(prompts: Any, completions: Any, **columns: Any) -> list[float]:
            found: list[float] = inner(prompts, completions, **columns)
            texts = [completion[0]["content"] for completion in completions]
            given.extend(zip(columns["problem"], texts, found, strict=True))
            return found

        return reward

    made = grpo_with_verifier.trl_reward
    monkeypatch.setattr(grpo_with_verifier, "trl_reward", watched)
    policy = ROOT / "demo" / "models" / "policy"
    with served_door() as url:
        trainer = grpo_with_verifier.trained(
            url, str(policy), PROBLEMS, str(tmp_path), updates=2, group=4, batch=2
        )
        client = Client(url)
        again = client.rewards([(problem, text) for problem, text, _ in given])
    sys.modules.pop("grpo_with_verifier")

    assert trainer.state.global_step == 2
    assert len(given) == 16 and [reward for *_, reward in given] == again
    assert 0 < sum(again) < len(again)
    logged = [entry["reward"] for entry in trainer.state.log_history if "reward" in entry]
    assert logged == pytest.approx([sum(again[:8]) / 8, sum(again[8:]) / 8])
    before = AutoModelForCausalLM.from_pretrained(policy, dtype=torch.float32).state_dict()
    after = trainer.model.state_dict()
    assert any(not torch.equal(before[name], after[name].cpu()) for name in before)
