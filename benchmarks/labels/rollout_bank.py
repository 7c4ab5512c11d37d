"""Many rollouts of every state of a run's solutions, drawn once, to replay strategies from.

A tiny model writes few different texts, so those of a problem's states are drawn as one tree
(`benchmarks.tree_drawing`).

`BankEngine` plays the completion model: rollout i of a state is one of the stored ones, picked by
its seed, with replacement. In that world MC(s) is exactly the stored share, so labels made of it
are the truth. Every strategy runs with the product's stages and seeds.

Invariant: pure in the model, the states of each problem that are drawn together, n and the seed.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from actors.engines.contract import Chat, Completion, Reply, Sampling
from benchmarks.tree_drawing import TreeModel, draw
from demo.tokenizer import END, START
from demo.training import token_id

MASK = (1 << 64) - 1
STORED_EVERY = 1_000
"""States after which the bank is stored, so that a killed one goes on."""


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
        self._model = TreeModel(folder)
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._temperature = temperature
        self._most = most_tokens
        self._seed = seed
        self._end = token_id(self._tokenizer, END)

    def draw(self, chats: Sequence[Chat], n: int) -> list[list[Drawn]]:
        """n rollouts of each chat, equal ones together; one that is cut is longer than the limit.

        Chats that begin alike, as the states of one problem do, are much cheaper together.
        """
        texts = [rendered(chat) for chat in chats]
        digest = hashlib.sha256("\x1e".join(texts).encode()).digest()
        rng = np.random.default_rng([self._seed, *digest[:8]])
        prompts = [self._tokenizer.encode(text).ids for text in texts]
        drawn = draw(self._model, prompts, n, self._temperature, self._most, self._end, rng)
        return [
            [
                Drawn(self._tokenizer.decode(each.tokens, skip_special_tokens=False),
                      len(each.tokens) + 1, each.count)
                for each in ended
            ]
            for ended in drawn
        ]  # fmt: skip


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

    def fill(self, chats: Iterable[Chat], say: Any = print, together: bool = False) -> None:
        """Draw what is missing, problem by problem, and store all of it now and then.

        `together`: draw all of them as one tree, whatever their questions.
        """
        missing: dict[str, dict[str, Chat]] = defaultdict(dict)
        for chat in chats:
            if (key := key_of(chat)) not in self._states:
                missing["" if together else chat.messages[-1].content][key] = chat
        total, done, stored = sum(map(len, missing.values())), 0, 0
        for states in missing.values():
            drawn = self._drawer.draw(list(states.values()), self.n)
            self._states.update(zip(states, drawn, strict=True))
            done += len(states)
            if done - stored >= STORED_EVERY or done == total:
                self._store()
                stored = done
                say(f"{done:,} of {total:,} states")

    def state(self, chat: Chat) -> list[Drawn]:
        """The rollouts of a state, drawn now where they are not there."""
        key = key_of(chat)
        if key not in self._states:
            [self._states[key]] = self._drawer.draw([chat], self.n)
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
