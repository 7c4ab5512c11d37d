"""Attention within each of the conversations that stand one behind the other in a micro-batch.

The lengths say where each conversation begins: no mask is made, nothing is computed across a
border, and the work grows with the sum of the squared lengths. On GPUs torch's flash attention
takes the lengths as they are; elsewhere each conversation is asked about by itself.

Invariant: what a token sees does not depend on what else is in its micro-batch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from storage.errors import ConfigurationError

PACKED = "stepmill_packed"
"""Name under which transformers calls `packed_attention`."""
LARGEST_HEAD = 256
"""Of flash attention, in elements."""
MORE = ("softcap", "s_aux")
"""What some models give their attention beside queries, keys and values."""
FLASH_DTYPES = (torch.bfloat16, torch.float16)


def packed_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: None,
    *,
    cu_seq_lens_q: torch.Tensor,
    max_length_q: int,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **rest: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention; query [1, heads, T, size], key and value with as many heads or fewer.

    Returns [1, T, heads, size]. Raises ConfigurationError for a model that asks for more.
    """
    windowed = sliding_window is not None and sliding_window < max_length_q
    if windowed or rest.get("dropout") or any(rest.get(name) is not None for name in MORE):
        raise ConfigurationError(
            "the base model's attention has a sliding window, capped scores or dropout: set "
            "spread.attention to eager"
        )
    fast = query.dtype in FLASH_DTYPES and query.shape[-1] <= LARGEST_HEAD
    attend = _flash if query.is_cuda and fast else _each
    return attend(query, key, value, cu_seq_lens_q, max_length_q, scaling), None


def _flash(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor,
    starts: torch.Tensor, longest: int, scaling: float | None,
) -> torch.Tensor:  # fmt: skip
    from torch.nn.attention.varlen import varlen_attn

    heads, fewer = query.shape[1], key.shape[1]
    out = varlen_attn(
        *(side[0].transpose(0, 1) for side in (query, key, value)),
        starts, starts, longest, longest,
        window_size=(-1, 0), scale=scaling, enable_gqa=heads != fewer,
    )  # fmt: skip
    return out[None]


def _each(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor,
    starts: torch.Tensor, longest: int, scaling: float | None,
) -> torch.Tensor:  # fmt: skip
    lengths = starts.diff().tolist()
    shared = query.shape[1] != key.shape[1]
    sides = (side.split(lengths, dim=2) for side in (query, key, value))
    parts = [
        scaled_dot_product_attention(
            one, two, three, is_causal=True, scale=scaling, enable_gqa=shared
        )
        for one, two, three in zip(*sides, strict=True)
    ]
    return torch.cat(parts, dim=2).transpose(1, 2)


AttentionInterface.register(PACKED, packed_attention)


def attention_name(setting: str) -> str:
    """What transformers calls `spread.attention`."""
    return PACKED if setting == "packed" else setting
