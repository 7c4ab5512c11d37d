"""GRPO of a policy with step rewards of a served verifier, by TRL. See docs/serving.md.

    stepmill serve training:train_demo --store file:.stepmill/store --n 2 &
    python examples/grpo_with_verifier.py --updates 20

By default the demo's policy learns on problems of the demo world, on a processor. The reward of a
solution is the least of its step rewards, so that one wrong step spoils it.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from stepmill.rewards import trl_reward

ROOT = Path(__file__).parents[1]
SYSTEM = "Please reason step by step, and put your final answer within \\boxed{}."


def trained(
    url: str | None,
    policy: str,
    problems: list[str],
    out: str,
    updates: int,
    group: int = 8,
    batch: int = 4,
    rate: float = 2e-5,
    seed: int = 0,
) -> Any:
    """Train, and return the trainer. Each update has `batch` problems of `group` solutions each."""
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    prompt = [{"role": "system", "content": SYSTEM}]
    rows = [
        {"prompt": [*prompt, {"role": "user", "content": text}], "problem": text}
        for text in problems
    ]
    trainer = GRPOTrainer(
        model=policy,
        reward_funcs=trl_reward(url, unscored=0.0),
        train_dataset=Dataset.from_list(rows),
        args=GRPOConfig(
            output_dir=out,
            max_steps=updates,
            num_generations=group,
            per_device_train_batch_size=batch * group,
            max_completion_length=192,
            learning_rate=rate,
            lr_scheduler_type="constant",
            temperature=1.0,
            beta=0.0,
            logging_steps=1,
            save_strategy="no",
            report_to=[],
            use_cpu=True,
            bf16=False,
            disable_tqdm=True,
            seed=seed,
        ),
    )
    trainer.train()
    return trainer


def main() -> None:
    """Train as the command line says, and print the mean reward of each update."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", default=None, help="default: $STEPMILL_URL, or this machine")
    parser.add_argument("--policy", default=str(ROOT / "demo" / "models" / "policy"))
    parser.add_argument("--problems", default=None, help="JSON lines with `problem`")
    parser.add_argument("--updates", type=int, default=20)
    parser.add_argument("--out", default=".stepmill/grpo")
    asked = parser.parse_args()
    if asked.problems:
        lines = Path(asked.problems).read_text(encoding="utf-8").splitlines()
        problems = [json.loads(line)["problem"] for line in lines]
    else:
        from demo import world

        problems = [problem.text for problem in world.sample(64, 1, "train")]
    trainer = trained(asked.url, asked.policy, problems, asked.out, asked.updates)
    for entry in trainer.state.log_history:
        if "reward" in entry:
            print(f"update {entry['step']}: reward {entry['reward']:.3f}")


if __name__ == "__main__":
    main()
