"""Rollouts of a tiny Qwen2 model drawn as a tree: what is equal so far is computed once.

n rollouts of a state start as one row that counts n times. After each token a row splits by a
multinomial draw into one row per next token, so that the work is that of the distinct texts, and
the law that of n independent samples. All rows share the prompt's keys and values.

Invariant: logits are those of the model in transformers (`tests` compare them), in float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import linear, silu
from transformers import Qwen2ForCausalLM


@dataclass(frozen=True, slots=True)
class Ended:
    """One distinct rollout: its tokens without the end, and how often it was drawn."""

    tokens: list[int]
    count: int
    finished: bool
    """False where it was cut at the limit."""


class TreeModel:
    """The weights, and one step for many rows."""

    def __init__(self, folder: Path) -> None:
        model = Qwen2ForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        self._weights = {name: value.detach() for name, value in model.state_dict().items()}
        self._layers: int = model.config.num_hidden_layers
        self._heads: int = model.config.num_attention_heads
        self._kv_heads: int = model.config.num_key_value_heads
        self._eps: float = model.config.rms_norm_eps
        self._size: int = model.config.hidden_size // self._heads
        theta: float = model.config.rope_parameters["rope_theta"]
        self._rates = theta ** -(torch.arange(0, self._size, 2).float() / self._size)

    @torch.inference_mode()
    def prompt(self, tokens: list[int]) -> tuple[Tensor, Tensor]:
        """(logits of the next token, (layers, 2, heads, prompt, size) keys and values)."""
        places = torch.arange(len(tokens))
        hidden = self._weights["model.embed_tokens.weight"][torch.tensor(tokens)]
        mask = torch.full((len(tokens), len(tokens)), float("-inf")).triu(1)
        kept = []
        for layer in range(self._layers):
            query, key, value = self._projected(layer, hidden, places)
            scores = torch.einsum("qhd,khd->hqk", query, key) / self._size**0.5 + mask
            seen = torch.einsum("hqk,khd->qhd", scores.softmax(-1), value)
            hidden = self._rest(layer, hidden, seen)
            kept.append(torch.stack([key, value]).transpose(1, 2))
        return self._logits(hidden[-1:])[0], torch.stack(kept)

    @torch.inference_mode()
    def step(
        self, tokens: Tensor, place: int, prompt: Tensor, own: Tensor
    ) -> tuple[Tensor, Tensor]:
        """(logits of R rows, their own keys and values (R, layers, 2, heads, t + 1, size))."""
        hidden = self._weights["model.embed_tokens.weight"][tokens]
        places = torch.tensor([place])
        fresh = []
        for layer in range(self._layers):
            query, key, value = self._projected(layer, hidden, places)
            fresh.append(torch.stack([key, value], 1))
            keys = torch.cat([own[:, layer, 0], key[:, :, None]], 2)
            values = torch.cat([own[:, layer, 1], value[:, :, None]], 2)
            shared = torch.einsum("rhd,hpd->rhp", query, prompt[layer, 0])
            mine = torch.einsum("rhd,rhtd->rht", query, keys)
            weights = (torch.cat([shared, mine], 2) / self._size**0.5).softmax(-1)
            length = prompt.shape[3]
            seen = torch.einsum("rhp,hpd->rhd", weights[:, :, :length], prompt[layer, 1])
            seen = seen + torch.einsum("rht,rhtd->rhd", weights[:, :, length:], values)
            hidden = self._rest(layer, hidden, seen)
        grown = torch.cat([own, torch.stack(fresh, 1)[:, :, :, :, None]], 4)
        return self._logits(hidden), grown

    def _projected(self, layer: int, hidden: Tensor, places: Tensor) -> tuple[Tensor, ...]:
        name = f"model.layers.{layer}.self_attn."
        normed = self._normed(hidden, f"model.layers.{layer}.input_layernorm.weight")
        parts = []
        for part, heads in (("q", self._heads), ("k", self._kv_heads), ("v", self._kv_heads)):
            weight, bias = (self._weights[f"{name}{part}_proj.{kind}"] for kind in
                            ("weight", "bias"))  # fmt: skip
            made = linear(normed, weight, bias).view(len(hidden), heads, self._size)
            if part != "v":
                made = self._turned(made, places)
            parts.append(made.repeat_interleave(self._heads // heads, 1))
        return tuple(parts)

    def _turned(self, rows: Tensor, places: Tensor) -> Tensor:
        angles = (places[:, None].float() * self._rates).repeat(1, 2)[:, None]
        low, high = rows.chunk(2, -1)
        return rows * angles.cos() + torch.cat([-high, low], -1) * angles.sin()

    def _rest(self, layer: int, hidden: Tensor, seen: Tensor) -> Tensor:
        name = f"model.layers.{layer}."
        weights = self._weights
        hidden = hidden + linear(seen.flatten(1), weights[f"{name}self_attn.o_proj.weight"])
        normed = self._normed(hidden, f"{name}post_attention_layernorm.weight")
        gate, up = (linear(normed, weights[f"{name}mlp.{part}_proj.weight"])
                    for part in ("gate", "up"))  # fmt: skip
        return hidden + linear(silu(gate) * up, weights[f"{name}mlp.down_proj.weight"])

    def _normed(self, hidden: Tensor, name: str) -> Tensor:
        scale = torch.rsqrt(hidden.pow(2).mean(-1, keepdim=True) + self._eps)
        return hidden * scale * self._weights[name]

    def _logits(self, hidden: Tensor) -> Tensor:
        normed = self._normed(hidden, "model.norm.weight")
        return linear(normed, self._weights["lm_head.weight"])


def draw(
    model: TreeModel, prompt: list[int], n: int, temperature: float, most: int, end: int,
    rng: np.random.Generator,
) -> list[Ended]:  # fmt: skip
    """n rollouts of a prompt, equal ones together, of at most `most` tokens with their end."""
    logits, shared = model.prompt(prompt)
    layers, _, heads, _, size = shared.shape
    own = torch.zeros(1, layers, 2, heads, 0, size)
    logits, counts = logits[None], np.array([n])
    written: list[list[int]] = [[]]
    found: list[Ended] = []
    for length in range(1, most + 1):
        chances = torch.softmax(logits.double() / temperature, -1).numpy()
        split = rng.multinomial(counts, chances / chances.sum(axis=1, keepdims=True))
        rows, tokens = np.nonzero(split)
        times = split[rows, tokens]
        over = (tokens == end) | (length == most)
        for row, token, count in zip(rows[over], tokens[over], times[over], strict=True):
            cut = [] if token == end else [int(token)]
            found.append(Ended(written[row] + cut, int(count), bool(token == end)))
        rows, tokens, counts = rows[~over], tokens[~over], times[~over]
        if not len(rows):
            break
        written = [[*written[row], int(token)] for row, token in zip(rows, tokens, strict=True)]
        chosen = own[torch.from_numpy(rows)]
        place = len(prompt) + length - 1
        logits, own = model.step(torch.from_numpy(tokens), place, shared, chosen)
    return found
