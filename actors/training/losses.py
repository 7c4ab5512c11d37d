"""Cross entropy of a vocabulary's logits that never stand in memory as a whole.

Logits of 16,384 tokens over 151,936 entries would take 5 GB in bfloat16 and twice that in float32.
On GPUs Liger's kernel makes them in pieces, and the gradients with them; elsewhere torch does.

Invariant: logits are in the precision of their factors; sums over them, and gradients summed over
pieces, are float32.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from math import ceil

import torch
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from actors.training.batches import IGNORED
from actors.training.memory import PIECE_BYTES


@cache
def fused_kernels() -> bool:
    """Whether Liger's kernels are there; they come with the set for GPUs."""
    return find_spec("liger_kernel") is not None


def summed_cross_entropy(
    hidden: torch.Tensor, head: torch.Tensor, targets: torch.Tensor
) -> torch.Tensor:
    """Nats, summed over the targets that are not IGNORED.

    hidden: [tokens, width]; head: [vocabulary, width]; targets: [tokens].
    """
    pieces = ceil(len(targets) * len(head) * hidden.element_size() / PIECE_BYTES)
    if hidden.is_cuda and fused_kernels():
        return _by_liger(hidden, head, targets, pieces)
    if pieces == 1:
        logits = functional.linear(hidden, head).float()
        return functional.cross_entropy(logits, targets, ignore_index=IGNORED, reduction="sum")
    options = torch.nn.LinearCrossEntropyOptions(
        batch_chunk_size=ceil(len(targets) / pieces), chunking_method=None, acc_policy="accurate"
    )
    return functional.linear_cross_entropy(
        hidden, head, targets, reduction="sum", ignore_index=IGNORED, options=options
    )


def token_nats(hidden: torch.Tensor, head: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """[tokens]: nats of each target, 0 where it is IGNORED; sizes as of `summed_cross_entropy`.

    Logits are made piece by piece, and once more on the way back.
    """
    pieces = ceil(len(targets) * len(head) * hidden.element_size() / PIECE_BYTES)
    size = ceil(len(targets) / pieces)
    made = [
        checkpoint(_nats, part, head, wanted, use_reentrant=False)
        for part, wanted in zip(hidden.split(size), targets.split(size), strict=True)
    ]
    return torch.cat(made)


def _nats(hidden: torch.Tensor, head: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    logits = functional.linear(hidden, head).float()
    return functional.cross_entropy(logits, targets, ignore_index=IGNORED, reduction="none")


def _by_liger(
    hidden: torch.Tensor, head: torch.Tensor, targets: torch.Tensor, pieces: int
) -> torch.Tensor:
    from liger_kernel.transformers.functional import liger_fused_linear_cross_entropy

    found: torch.Tensor = liger_fused_linear_cross_entropy(
        hidden, head, targets, ignore_index=IGNORED, reduction="sum", accum_dtype=torch.float32,
        # Room for a piece in multiples of `hidden`; Liger rounds pieces up to a power of two.
        chunk_mem_const=ceil(len(head) / (hidden.shape[1] * pieces)),
    )  # fmt: skip
    return found
