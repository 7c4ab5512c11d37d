"""verl's own reward loop: it loads our file by its path, decodes a rollout and asks for the reward.

Runs in verl's environment. In: the file, the URL, a tokenizer's folder, and rows of problem and
solution. Out: what verl's reward manager hands to its trainer for each.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import numpy as np
import torch
from omegaconf import OmegaConf
from tensordict import TensorDict
from transformers import AutoTokenizer
from verl import DataProto
from verl.experimental.reward_loop.reward_manager.naive import NaiveRewardManager
from verl.trainer.ppo.reward import get_custom_reward_fn


def rollout(tokenizer: Any, problem: str, solution: str) -> DataProto:
    tokens = torch.tensor([tokenizer(solution)["input_ids"]])
    batch = {"responses": tokens, "attention_mask": torch.ones_like(tokens)}
    row = {
        "data_source": "demo",
        "reward_model": {"ground_truth": ""},
        "extra_info": {"problem": problem},
    }
    return DataProto(
        batch=TensorDict(batch, batch_size=[1]),
        non_tensor_batch={key: np.array([value], dtype=object) for key, value in row.items()},
    )


async def main() -> None:
    asked = json.load(sys.stdin)
    custom = {
        "path": asked["file"],
        "name": "compute_score",
        "reward_kwargs": {"url": asked["url"]},
    }
    config = OmegaConf.create({"reward": {"custom_reward_function": custom}})
    tokenizer = AutoTokenizer.from_pretrained(asked["tokenizer"])
    manager = NaiveRewardManager(config, tokenizer, get_custom_reward_fn(config))
    rows = [rollout(tokenizer, *pair) for pair in asked["pairs"]]
    found = await asyncio.gather(*map(manager.run_single, rows))
    texts = [tokenizer.decode(row.batch["responses"][0], skip_special_tokens=True) for row in rows]
    print(json.dumps({"rewards": found, "texts": texts}))


asyncio.run(main())
