"""Many rollouts of every state of a run's solutions, drawn once, to replay strategies from.

A tiny model writes few different texts, so that they are drawn as trees
(`benchmarks.tree_drawing`).

`BankEngine` plays the completion model: rollout i of a state is one of the stored ones, picked by
its seed, with replacement. In that world MC(s) is exactly the stored share, so that the labels
made of it are the truth, and every strategy runs with the stages and seeds that ship.

Invariant: pure in the model, the chats, n and the seed of the bank.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from actors.engine import Chat, Completion, Reply, Sampling
from benchmarks.tree_drawing import TreeModel, draw
from demo.tokenizer import END, START
from demo.training import token_id

MASK = (1 << 64) - 1
STORED_EVERY = 100
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

    def draw(self, chat: Chat, n: int) -> list[Drawn]:
        """n rollouts of a chat, equal ones together; one that is cut is longer than the limit."""
        text = rendered(chat)
        digest = hashlib.sha256(text.encode()).digest()
        rng = np.random.default_rng([self._seed, *digest[:8]])
        ended = draw(self._model, self._tokenizer.encode(text).ids, n, self._temperature,
                     self._most, self._end, rng)  # fmt: skip
        return [
            Drawn(self._tokenizer.decode(each.tokens, skip_special_tokens=False),
                  len(each.tokens) + 1, each.count)
            for each in ended
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

    def fill(self, chats: Iterable[Chat], say: Any = print) -> None:
        """Draw what is missing, and store all of it now and then."""
        wanted = {key_of(chat): chat for chat in chats}
        missing = [(key, chat) for key, chat in wanted.items() if key not in self._states]
        for number, (key, chat) in enumerate(missing, start=1):
            self._states[key] = self._drawer.draw(chat, self.n)
            if number % STORED_EVERY == 0 or number == len(missing):
                self._store()
                say(f"{number:,} of {len(missing):,} states")

    def state(self, chat: Chat) -> list[Drawn]:
        """The rollouts of a state, drawn now where they are not there."""
        key = key_of(chat)
        if key not in self._states:
            self._states[key] = self._drawer.draw(chat, self.n)
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
