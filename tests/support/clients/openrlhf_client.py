"""OpenRLHF's own rollout of one prompt: its executor asks the server and reads the reward.

Runs in OpenRLHF's environment. In: url, and (prompt, text that the engine writes) pairs. Out: what
each rollout holds, and the reward that its trainer would take. The engine and the tokenizer are the
only parts that are not OpenRLHF's: a text is its characters' numbers.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

spec = importlib.util.find_spec("openrlhf")
assert spec is not None and spec.submodule_search_locations
for name in ("openrlhf", "openrlhf.utils"):  # whose own `__init__` imports torch and DeepSpeed
    package = ModuleType(name)
    inside = Path(spec.submodule_search_locations[0], *name.split(".")[1:])
    package.__path__ = [str(inside)]
    sys.modules[name] = package
from openrlhf.utils.agent import SingleTurnAgentExecutor  # noqa: E402


class Tokenizer:
    def __call__(self, text: str, **how: Any) -> dict[str, Any]:
        return {"input_ids": [SimpleNamespace(tolist=lambda: [ord(letter) for letter in text])]}

    def decode(self, tokens: list[int], skip_special_tokens: bool) -> str:
        assert skip_special_tokens is False
        return "".join(map(chr, tokens))


class Engine:
    def __init__(self, text: str) -> None:
        self._text = text

    async def generate(self, tokens: list[int], params: Any, multi_modal_data: Any) -> Any:
        made = SimpleNamespace(
            token_ids=[ord(letter) for letter in self._text], finish_reason="stop", logprobs=None
        )
        return SimpleNamespace(outputs=[made])


async def main() -> None:
    asked = json.load(sys.stdin)
    executor = SingleTurnAgentExecutor([asked["url"]])
    params = SimpleNamespace(max_tokens=1000, logprobs=None)
    rollouts = [
        await executor.execute(prompt, "", params, 100_000, Tokenizer(), Engine(text))
        for prompt, text in asked["pairs"]
    ]
    found = [{key: each[key] for key in ("reward", "scores", "extra_logs")} for each in rollouts]
    print(json.dumps(found))


asyncio.run(main())
