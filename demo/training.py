"""The training loop of the demo models: short documents, batched by length, loss on replies.

Invariant: the same seed and number of steps see the same documents in the same batches. A limit in
minutes only shortens the schedule: the learning rate always falls to its end.
"""

import itertools
import math
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer
from transformers import Qwen2Config, Qwen2ForCausalLM

from demo.corpus import Document
from demo.tokenizer import END, PAD

_IGNORED = -100
_POOL = 2048
"""Documents drawn at a time and cut into batches of similar length."""


@dataclass(frozen=True)
class Shape:
    """The size of a model."""

    hidden: int = 128
    layers: int = 4
    heads: int = 4
    feed_forward: int = 384


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to learn."""

    steps: int
    minutes: float
    rate: float = 4e-3
    batch_tokens: int = 6000
    warm_up: int = 100


@dataclass(frozen=True)
class Batch:
    """Token ids padded on the right, and the ids to predict (``_IGNORED`` where none)."""

    ids: torch.Tensor
    labels: torch.Tensor


def new_model(shape: Shape, tokenizer: Tokenizer, seed: int) -> Qwen2ForCausalLM:
    """An untrained model of the Qwen2 architecture with tied embeddings."""
    torch.manual_seed(seed)
    size = math.ceil(tokenizer.get_vocab_size() / 64) * 64
    return Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=size,
            hidden_size=shape.hidden,
            intermediate_size=shape.feed_forward,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            num_key_value_heads=shape.heads,
            max_position_embeddings=2048,
            rope_theta=10000.0,
            tie_word_embeddings=True,
            eos_token_id=token_id(tokenizer, END),
            pad_token_id=token_id(tokenizer, PAD),
            bos_token_id=None,
        )
    )


def token_id(tokenizer: Tokenizer, token: str) -> int:
    """The id of a token that must be there."""
    found = tokenizer.token_to_id(token)
    if found is None:
        raise ValueError(f"the tokenizer lacks {token!r}")
    return int(found)


def encode(documents: list[Document], tokenizer: Tokenizer) -> list[tuple[list[int], list[int]]]:
    """Ids and labels of each document; the first reply token is the first label."""
    encoded = tokenizer.encode_batch([each.prompt + each.reply for each in documents])
    rows = []
    for document, found in zip(documents, encoded, strict=True):
        opened = len(document.prompt)
        labels = [
            token if start >= opened else _IGNORED
            for token, (start, _) in zip(found.ids, found.offsets, strict=True)
        ]
        rows.append((found.ids, labels))
    return rows


def batches(
    stream: Iterator[Document], tokenizer: Tokenizer, tokens: int, rng: random.Random
) -> Iterator[Batch]:
    """Endless batches of about ``tokens`` tokens each."""
    pad = token_id(tokenizer, PAD)
    while True:
        rows = encode(list(itertools.islice(stream, _POOL)), tokenizer)
        rows.sort(key=lambda row: len(row[0]))
        groups: list[list[tuple[list[int], list[int]]]] = [[]]
        for row in rows:
            if groups[-1] and len(row[0]) * (len(groups[-1]) + 1) > tokens:
                groups.append([])
            groups[-1].append(row)
        rng.shuffle(groups)
        for group in groups:
            width = math.ceil(max(len(ids) for ids, _ in group) / 8) * 8
            ids = [row + [pad] * (width - len(row)) for row, _ in group]
            labels = [row + [_IGNORED] * (width - len(row)) for _, row in group]
            yield Batch(torch.tensor(ids), torch.tensor(labels))


def optimizers(model: torch.nn.Module, rate: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the layers, AdamW for embeddings, biases and norms."""
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    chosen = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in chosen]
    return [
        torch.optim.Muon(matrices, lr=rate, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=rate, betas=(0.9, 0.95), weight_decay=0.0),
    ]


def train(
    model: Qwen2ForCausalLM,
    stream: Iterator[Document],
    tokenizer: Tokenizer,
    schedule: Schedule,
    seed: int,
    report: Callable[[str], None] = print,
    checkpoint: Callable[[], None] | None = None,
) -> float:
    """Train in place; returns the mean loss of the last hundred steps."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model.to(device).train()
    rules = optimizers(model, schedule.rate)
    feed = batches(stream, tokenizer, schedule.batch_tokens, random.Random(seed))
    recent: list[float] = []
    seen = 0
    saved = started = time.monotonic()
    for step in range(schedule.steps):
        elapsed = time.monotonic() - started
        progress = max(step / schedule.steps, elapsed / (60 * schedule.minutes))
        if progress >= 1:
            break
        scale = min(1.0, (step + 1) / schedule.warm_up) * (1 - progress)
        for rule in rules:
            for group in rule.param_groups:
                group["lr"] = schedule.rate * max(scale, 0.01)
        batch = next(feed)
        with torch.autocast(device, torch.bfloat16):
            loss = _loss(model, batch, device)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for rule in rules:
            rule.step()
            rule.zero_grad(set_to_none=True)
        recent.append(loss.item())
        seen += batch.ids.numel()
        if (step + 1) % 100 == 0:
            rate = seen / (time.monotonic() - started)
            mean = sum(recent[-100:]) / len(recent[-100:])
            report(f"step {step + 1} loss {mean:.4f} {rate:.0f} tokens/s {elapsed / 60:.1f} min")
        if checkpoint is not None and time.monotonic() - saved > 240:
            saved = time.monotonic()
            checkpoint()
    model.to("cpu").eval()
    return sum(recent[-100:]) / max(1, len(recent[-100:]))


def _loss(model: Qwen2ForCausalLM, batch: Batch, device: str) -> torch.Tensor:
    """Mean cross entropy of the reply tokens; only they pay for logits."""
    hidden = model.model(input_ids=batch.ids.to(device), use_cache=False).last_hidden_state
    targets = batch.labels[:, 1:].reshape(-1).to(device)
    kept = targets != _IGNORED
    states = hidden[:, :-1].reshape(-1, hidden.shape[-1])[kept]
    logits: torch.Tensor = model.lm_head(states).float()
    return torch.nn.functional.cross_entropy(logits, targets[kept])
