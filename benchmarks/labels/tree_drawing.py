"""Rollouts of a tiny Qwen2 model drawn as one tree: equal beginnings are computed once.

The prompts are states of one problem's solutions, which begin alike, so they are paths of one tree.
The n rollouts of a prompt start at the node where it ends. After each token a node splits into one
node per next token that was drawn there. So the work is that of the distinct texts, and the law is
that of n independent samples of each prompt.

Invariant: logits are those of the model in transformers (`tests` compare them), in float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import linear, silu
from transformers import Qwen2ForCausalLM

Integers = npt.NDArray[np.int64]
ROOM = 32
"""Tokens by which the keys and values of nodes get more room."""


@dataclass(frozen=True, slots=True)
class Ended:
    """One distinct rollout: its tokens without the end, and how often it was drawn."""

    tokens: list[int]
    count: int
    finished: bool
    """False where it was cut at the limit."""


class TreeModel:
    """The weights, and one step for many nodes."""

    def __init__(self, folder: Path) -> None:
        model = Qwen2ForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        config = model.config
        self.layers: int = config.num_hidden_layers
        self.heads: int = config.num_attention_heads
        self.size: int = config.hidden_size // self.heads
        self._kv_heads: int = config.num_key_value_heads
        self._eps: float = config.rms_norm_eps
        theta: float = config.rope_parameters["rope_theta"]
        self._rates = theta ** -(torch.arange(0, self.size, 2).float() / self.size)
        weights = {name: value.detach() for name, value in model.state_dict().items()}
        self._embedded = weights["model.embed_tokens.weight"]
        # The scale of a norm is part of the matrix behind it.
        self._out = weights["lm_head.weight"] * weights["model.norm.weight"]
        self._blocks = [_Block.of(weights, f"model.layers.{n}.") for n in range(self.layers)]
        self.nodes = Nodes(self.layers, self.heads, self.size)

    def prompt(self, tokens: Sequence[int]) -> tuple[Tensor, Tensor]:
        """(logits of the next token, (layers, 2, heads, prompt, size) keys and values)."""
        places = torch.arange(len(tokens))
        hidden = self._embedded[torch.tensor(tokens)]
        mask = torch.full((len(tokens), len(tokens)), float("-inf")).triu(1)
        kept = []
        for block in self._blocks:
            query, key, value = (each.transpose(0, 1) for each in
                                 self._projected(block, hidden, places))  # fmt: skip
            weight = (query @ key.mT / self.size**0.5 + mask).softmax(-1)
            hidden = self._rest(block, hidden, (weight @ value).transpose(0, 1))
            kept.append(torch.stack([key, value]))
        return self._logits(hidden[-1:])[0], torch.stack(kept)

    def step(self, tokens: Integers, prompt: Tensor) -> Tensor:
        """Logits of R nodes, each one token further."""
        hidden = self._embedded[torch.from_numpy(tokens)]
        own, length, shared = self.nodes.next_token(), self.nodes.length, prompt.shape[3]
        places = torch.tensor([shared + length - 1])
        for layer, block in enumerate(self._blocks):
            query, key, value = self._projected(block, hidden, places)
            keys, values = own[layer, 0, : len(tokens)], own[layer, 1, : len(tokens)]
            keys[:, :, length - 1], values[:, :, length - 1] = key, value
            keys, values = keys[:, :, :length], values[:, :, :length]
            query = query / self.size**0.5
            of_prompt = (query.transpose(0, 1) @ prompt[layer, 0].mT).transpose(0, 1)
            of_own = (query[:, :, None] @ keys.mT)[:, :, 0]
            weight = torch.cat([of_prompt, of_own], 2).softmax(-1)
            seen = (weight[:, :, :shared].transpose(0, 1) @ prompt[layer, 1]).transpose(0, 1)
            seen = seen + (weight[:, :, None, shared:] @ values)[:, :, 0]
            hidden = self._rest(block, hidden, seen)
        return self._logits(hidden)

    def _projected(self, block: _Block, hidden: Tensor, places: Tensor) -> tuple[Tensor, ...]:
        projected = linear(self._normed(hidden), block.qkv, block.qkv_bias)
        projected = projected.view(len(hidden), -1, self.size)
        query, key, value = projected.split([self.heads, self._kv_heads, self._kv_heads], 1)
        each = self.heads // self._kv_heads
        turned = self._turned(query, places), self._turned(key, places), value
        return turned[0], *(part.repeat_interleave(each, 1) for part in turned[1:])

    def _turned(self, rows: Tensor, places: Tensor) -> Tensor:
        angles = (places[:, None].float() * self._rates).repeat(1, 2)[:, None]
        low, high = rows.chunk(2, -1)
        return rows * angles.cos() + torch.cat([-high, low], -1) * angles.sin()

    def _rest(self, block: _Block, hidden: Tensor, seen: Tensor) -> Tensor:
        hidden = hidden + linear(seen.flatten(1), block.out)
        gate, up = linear(self._normed(hidden), block.gate_up).chunk(2, -1)
        return hidden + linear(silu(gate) * up, block.down)

    def _normed(self, hidden: Tensor) -> Tensor:
        return hidden * torch.rsqrt(hidden.pow(2).mean(-1, keepdim=True) + self._eps)

    def _logits(self, hidden: Tensor) -> Tensor:
        return linear(self._normed(hidden), self._out)


@dataclass(frozen=True, slots=True)
class _Block:
    """The matrices of a layer, those that read the same input as one."""

    qkv: Tensor
    qkv_bias: Tensor
    out: Tensor
    gate_up: Tensor
    down: Tensor

    @classmethod
    def of(cls, weights: dict[str, Tensor], layer: str) -> _Block:
        def joined(*names: str) -> Tensor:
            return torch.cat([weights[layer + name] for name in names])

        attention = [f"self_attn.{part}_proj." for part in "qkv"]
        return cls(
            joined(*(f"{name}weight" for name in attention))
            * weights[f"{layer}input_layernorm.weight"],
            joined(*(f"{name}bias" for name in attention)),
            weights[f"{layer}self_attn.o_proj.weight"],
            joined("mlp.gate_proj.weight", "mlp.up_proj.weight")
            * weights[f"{layer}post_attention_layernorm.weight"],
            weights[f"{layer}mlp.down_proj.weight"],
        )


class Nodes:
    """Keys and values of the newest nodes, beyond the prompt; one of R places for each.

    The memory stays from tree to tree: new pages would cost more than what is computed.
    """

    def __init__(self, layers: int, heads: int, size: int) -> None:
        self.length = 0
        self._own = torch.empty(layers, 2, 1, heads, ROOM, size)

    def split(self, parents: Integers) -> Integers:
        """Make room for children; returns them in the order of their places.

        A first child takes its parent's place, and only the others, with those whose place is
        beyond the end, are copied.
        """
        if len(parents) > self._own.shape[2]:
            self._grow(2, 2 * len(parents) - self._own.shape[2])
        place = np.full(len(parents), -1)
        _, first = np.unique(parents, return_index=True)
        first = first[parents[first] < len(parents)]
        place[first] = parents[first]
        free = np.setdiff1d(np.arange(len(parents)), parents[first], assume_unique=True)
        moved = np.flatnonzero(place < 0)
        place[moved] = free
        kept = self._own[:, :, :, :, : self.length]
        kept[:, :, torch.from_numpy(free)] = kept[:, :, torch.from_numpy(parents[moved])]
        return np.argsort(place)

    def next_token(self) -> Tensor:
        """(layers, 2, at least R, heads, at least `length`, size), for one token more."""
        self.length += 1
        if self.length > self._own.shape[4]:
            self._grow(4, ROOM)
        return self._own

    def _grow(self, axis: int, by: int) -> None:
        size = list(self._own.shape)
        size[axis] = by
        self._own = torch.cat([self._own, torch.empty(size)], axis)


@torch.inference_mode()
def draw(
    model: TreeModel, prompts: Sequence[Sequence[int]], n: int, temperature: float, most: int,
    end: int, rng: np.random.Generator,
) -> list[list[Ended]]:  # fmt: skip
    """n rollouts of each prompt, equal ones together, of at most `most` tokens with their end."""
    start = _shared(prompts)
    logits, shared = model.prompt(start)
    model.nodes.length, logits = 0, logits[None]
    written: list[list[int]] = [list(start)]
    drawn: list[list[Ended]] = [[] for _ in prompts]
    # Who is where: prompt `who` has `count` rollouts at node `at`, or 0 while it lasts.
    at, who = np.zeros(len(prompts), np.int64), np.arange(len(prompts))
    count = np.zeros(len(prompts), np.int64)
    length = np.array([len(prompt) for prompt in prompts])
    for place in range(len(start), max(length) + most):
        count[length[who] == place] = n
        forced = count == 0
        at, who, token, count = _split(at[~forced], who[~forced], count[~forced],
                                       torch.softmax(logits / temperature, -1), rng,
                                       (at[forced], who[forced],
                                        [prompts[w][place] for w in who[forced]]))  # fmt: skip
        over = (count > 0) & ((token == end) | (place + 1 == length[who] + most))
        ended = np.stack([at, who, token, count], 1)[over]
        for node, w, last, times in ended.tolist():
            tokens = written[node][length[w] :] + ([] if last == end else [last])
            drawn[w].append(Ended(tokens, times, last == end))
        at, who, token, count = (a[~over] for a in (at, who, token, count))
        if not len(at):
            break
        key, child = np.unique(at * logits.shape[1] + token, return_inverse=True)
        parents, tokens = np.divmod(key, logits.shape[1])
        order = model.nodes.split(parents)
        at = np.argsort(order)[child]
        written = [[*written[parents[c]], int(tokens[c])] for c in order]
        logits = model.step(tokens[order], shared)
    return drawn


def _shared(prompts: Sequence[Sequence[int]]) -> list[int]:
    """What all begin with."""
    alike = takewhile(lambda tokens: len(set(tokens)) == 1, zip(*prompts, strict=False))
    return [tokens[0] for tokens in alike]


def _split(
    at: Integers, who: Integers, count: Integers, chances: Tensor, rng: np.random.Generator,
    forced: tuple[Integers, Integers, list[int]],
) -> tuple[Integers, Integers, Integers, Integers]:  # fmt: skip
    """(at, who, next token, count) of what is drawn, and of what is forced, with count 0."""
    size = chances.shape[1]
    upto = np.cumsum(chances.numpy(), axis=1, dtype=np.float64)
    upto /= upto[:, -1:]
    upto += np.arange(len(upto))[:, None]
    each = np.repeat(np.arange(len(at)), count)
    picked = np.searchsorted(upto.ravel(), at[each] + rng.random(len(each)), side="right")
    drawn, times = np.unique(each * size + picked % size, return_counts=True)
    origin, token = np.divmod(drawn, size)
    return (
        np.concatenate([at[origin], forced[0]]),
        np.concatenate([who[origin], forced[1]]),
        np.concatenate([token, np.array(forced[2], np.int64)]),
        np.concatenate([times, np.zeros(len(forced[0]), np.int64)]),
    )
