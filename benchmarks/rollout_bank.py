"""Many rollouts of every state of a run's solutions, drawn once, to replay strategies from.

A tiny model writes few different texts, so that n rollouts of a state are drawn as a tree: each
distinct beginning is continued once per token, and its rollouts are split among the next tokens by
a multinomial draw. That is the law of n independent samples, at the cost of the distinct ones.

`BankEngine` plays the completion model: rollout i of a state is one of the stored ones, picked by
its seed, with replacement. In that world MC(s) is exactly the stored share, so that the labels
made of it are the truth, and every strategy runs with the stages and seeds that ship.

Invariant: pure in the model, the chats, n and the seed of the bank.
"""

from __future__ import annotations

import gzip
import json
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import DynamicCache, Qwen2ForCausalLM

from actors.engine import Chat, Completion, Reply, Sampling
from demo.tokenizer import END, PAD, START
from demo.training import token_id

MASK = (1 << 64) - 1
AT_ONCE = 48
"""States drawn together."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """One distinct rollout of a state."""

    text: str
    tokens: int
    count: int
    """How many of the state's rollouts it is."""


def rendered(chat: Chat) -> str:
    """A chat as the demo models' template renders it, the prefill appended."""
    turns = "".join(f"{START}{turn.role}\n{turn.content}{END}\n" for turn in chat.messages)
    return f"{turns}{START}assistant\n{chat.prefill}"


def key_of(chat: Chat) -> str:
    """What a state is called in the bank: the problem and the steps so far."""
    return f"{chat.messages[-1].content}\x1f{chat.prefill}"


class Drawer:
    """The model, ready to draw."""

    def __init__(self, folder: Path, temperature: float, most_tokens: int, seed: int) -> None:
        self._model = Qwen2ForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._temperature = temperature
        self._most = most_tokens
        self._random = np.random.default_rng(seed)
        self._end = token_id(self._tokenizer, END)
        self._pad = token_id(self._tokenizer, PAD)

    @torch.inference_mode()
    def draw(self, chats: Sequence[Chat], n: int) -> list[list[Drawn]]:
        """n rollouts of each chat, equal ones together; what is cut at the limit has no end."""
        encoded = [found.ids for found in self._tokenizer.encode_batch(list(map(rendered, chats)))]
        width = max(map(len, encoded))
        mask = torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for ids in encoded])
        given = torch.tensor([[self._pad] * (width - len(ids)) + ids for ids in encoded])
        owners, counts = list(range(len(chats))), [n] * len(chats)
        written: list[list[int]] = [[] for _ in chats]
        cache = DynamicCache()
        found: list[list[Drawn]] = [[] for _ in chats]
        for length in range(self._most + 1):
            positions = (mask.cumsum(1) - 1).clamp(min=0)[:, -given.shape[1] :]
            made = self._model(
                given, attention_mask=mask, position_ids=positions, past_key_values=cache
            )
            chances = torch.softmax(made.logits[:, -1].double() / self._temperature, -1).numpy()
            split = self._random.multinomial(counts, chances / chances.sum(axis=1, keepdims=True))
            rows, tokens = np.nonzero(split)
            ended = (tokens == self._end) | (length == self._most)
            for row, token in zip(rows[ended], tokens[ended], strict=True):
                text = self._tokenizer.decode(written[row], skip_special_tokens=False)
                times = int(split[row, token])
                found[owners[row]].append(Drawn(text, length + 1, times))
            parents, tokens = rows[~ended].tolist(), tokens[~ended].tolist()
            if not parents:
                break
            chosen = torch.tensor(parents)
            cache.reorder_cache(chosen)
            mask = torch.cat([mask[chosen], torch.ones(len(parents), 1, dtype=mask.dtype)], 1)
            given = torch.tensor(tokens)[:, None]
            written = [[*written[row], token] for row, token in zip(parents, tokens, strict=True)]
            owners = [owners[row] for row in parents]
            counts = [int(split[row, token]) for row, token in zip(parents, tokens, strict=True)]
        return found


class Bank:
    """Rollouts by state, kept in a file."""

    def __init__(self, file: Path, drawer: Drawer, n: int) -> None:
        self._file = file
        self._drawer = drawer
        self.n = n
        self._states: dict[str, list[Drawn]] = {}
        if file.is_file():
            with gzip.open(file, "rt") as stream:
                stored = json.load(stream)
            self._states = {key: [Drawn(*each) for each in row] for key, row in stored.items()}

    def fill(self, chats: Iterable[Chat], say: Any = print) -> None:
        """Draw what is missing, and store all of it now and then."""
        wanted = {key_of(chat): chat for chat in chats}
        missing = [(key, chat) for key, chat in wanted.items() if key not in self._states]
        missing.sort(key=lambda each: len(each[1].prefill))
        for start in range(0, len(missing), AT_ONCE):
            part = missing[start : start + AT_ONCE]
            drawn = self._drawer.draw([chat for _, chat in part], self.n)
            self._states.update(zip([key for key, _ in part], drawn, strict=True))
            say(f"{start + len(part):,} of {len(missing):,} states")
            if start // AT_ONCE % 8 == 7:
                self._store()
        if missing:
            self._store()

    def state(self, chat: Chat) -> list[Drawn]:
        """The rollouts of a state, drawn now where they are not there."""
        key = key_of(chat)
        if key not in self._states:
            self._states[key] = self._drawer.draw([chat], self.n)[0]
        return self._states[key]

    def _store(self) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        partial = self._file.with_suffix(".partial")
        with gzip.open(partial, "wt", compresslevel=3) as stream:
            json.dump({key: [[d.text, d.tokens, d.count] for d in row]
                       for key, row in self._states.items()}, stream)  # fmt: skip
        partial.replace(self._file)


def mixed(seed: int) -> int:
    """A seed as 64 bits that look random (splitmix64)."""
    value = (seed + 1) * 0x9E3779B97F4A7C15 & MASK
    value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 & MASK
    value = (value ^ value >> 27) * 0x94D049BB133111EB & MASK
    return value ^ value >> 31


class BankEngine:
    """An engine whose completions are the bank's."""

    def __init__(self, bank: Bank, most_tokens: int) -> None:
        self._bank = bank
        self._most = most_tokens

    async def generate(self, chat: Chat, sampling: Sampling) -> Reply:
        """`sampling.n` rollouts of a state; the seed picks them."""
        drawn = self._bank.state(chat)
        ends = list(accumulate(each.count for each in drawn))
        total = ends[-1]
        done = []
        for index in range(sampling.n):
            picked = mixed(sampling.seed + index) % total
            each = drawn[bisect_right(ends, picked)]
            reason = "length" if each.tokens > self._most else "stop"
            done.append(Completion(each.text, reason, None, each.tokens))
        return Reply(tuple(done), 0)

    async def close(self) -> None:
        """Nothing to release."""
