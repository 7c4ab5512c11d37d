"""The arithmetic of a pass: what a token sees, how losses and gradients are added up."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from actors.training.batches import Conversation, tensors
from actors.training.events import Place
from actors.training.settings import LearningSettings
from storage.errors import ConfigurationError

pytestmark = pytest.mark.usefixtures("one_thread")
WORDS = 211


def configuration(name: str = "qwen2", **changes: Any) -> Any:
    """A small model of a family."""
    import transformers

    family = {
        "qwen2": transformers.Qwen2Config,
        "llama": transformers.LlamaConfig,
        "granite": transformers.GraniteConfig,
    }[name]
    own = {"granite": {"logits_scaling": 4.0}}.get(name, {})
    return family(
        vocab_size=WORDS, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=512,
        tie_word_embeddings=name != "llama", **own, **changes,
    )  # fmt: skip


@contextmanager
def learner_of(config: Any, attention: str = "packed", **changes: Any) -> Iterator[Any]:
    """A learner whose weights follow from their names."""
    import torch

    from actors.training.attention import attention_name
    from actors.training.learner import build, process_group

    def fill(parts: dict[str, Any]) -> None:
        for name, held in parts.items():
            draw = torch.Generator().manual_seed(zlib.crc32(name.encode()))
            part = getattr(held, "_local_tensor", held)  # one worker's part is all of it
            part.copy_(torch.randn(part.shape, generator=draw) * 0.2 + (held.ndim == 1))

    learning = LearningSettings(
        precision=changes.pop("precision", "float32"), adapter=changes.pop("adapter", None)
    )
    given: dict[str, Any] = {"learning": learning, "sharded": False, "place": Place()} | changes
    with process_group(Place()) as device:
        yield build(config, fill, attention=attention_name(attention), device=device, **given)


def talks(seed: int = 0, lengths: Sequence[int] = (17, 1, 40, 9)) -> list[Conversation]:
    draw = np.random.default_rng(seed)
    nothing = np.array([], dtype=np.int32)
    return [
        Conversation(
            f"c{n}", f"q{n}", draw.integers(0, WORDS, n, dtype=np.int32),
            draw.random(n) < 0.7, nothing, nothing.astype(bool),
        )
        for n in lengths
    ]  # fmt: skip


def loss_of(learner: Any, members: Sequence[int], all_of_them: Sequence[Conversation]) -> Any:
    import torch

    from actors.training.objectives import Passed

    batch = Passed(tensors(tuple(members), all_of_them, 0), torch.device("cpu"))
    return learner(batch)[0]


@pytest.mark.parametrize("family", ["qwen2", "llama", "granite"])
@pytest.mark.parametrize("attention", ["packed", "sdpa", "eager"])
def test_conversations_in_one_pass_have_the_losses_that_they_have_alone(
    attention: str, family: str
) -> None:
    made = talks()
    with learner_of(configuration(family), attention) as learner:
        together = loss_of(learner, range(4), made).item()
        alone = [loss_of(learner, [member], made).item() for member in range(4)]
    assert together == pytest.approx(sum(alone), rel=1e-5)


@pytest.mark.parametrize("attention", ["packed", "sdpa", "eager"])
def test_the_loss_is_that_of_transformers_own_model(attention: str) -> None:
    import torch

    (made,) = talks(lengths=(60,))
    labels = np.where(made.own, made.ids, -100).astype(np.int64)
    with learner_of(configuration("granite"), attention) as learner:
        ours = loss_of(learner, [0], [made]).item()
        ids = torch.from_numpy(made.ids.astype(np.int64))[None]
        given = {f"cu_seq_lens_{side}": torch.tensor([0, 60], dtype=torch.int32) for side in "qk"}
        logits = learner.model(ids, max_length_q=60, max_length_k=60, **given).logits[0, :-1]
    wanted = torch.from_numpy(labels[1:])
    theirs = torch.nn.functional.cross_entropy(logits, wanted, reduction="sum")
    assert ours == pytest.approx(theirs.item(), rel=1e-5)


def test_gradients_of_micro_batches_are_added_up_in_float32() -> None:
    made = talks()
    with learner_of(configuration(), precision="bfloat16", sharded=True) as learner:

        def gradients(*batches: Sequence[int]) -> dict[str, Any]:
            learner.zero_grad()
            for members in batches:
                loss_of(learner, members, made).backward()
            return {name: held.grad.to_local().clone() for name, held in learner.named_parameters()}

        first, second, both = gradients([0, 1]), gradients([2, 3]), gradients([0, 1], [2, 3])
    for name, total in both.items():
        assert str(total.dtype) == "torch.float32", name
        assert (total == first[name] + second[name]).all(), name


def test_weights_stay_in_float32_when_an_update_is_far_below_bfloat16() -> None:
    import torch

    def weights(learner: Any) -> dict[str, Any]:
        return {name: held.to_local().clone() for name, held in learner.named_parameters()}

    with learner_of(configuration(), precision="bfloat16") as learner:
        optimizer = torch.optim.AdamW(learner.parameters(), lr=2e-6, weight_decay=0.0, fused=True)
        before = weights(learner)
        loss_of(learner, range(4), talks()).backward()
        optimizer.step()
        after = weights(learner)
    moved = [(after[name] - before[name]).abs().max().item() for name in before]
    assert max(moved) == pytest.approx(2e-6, rel=0.2)


def test_logits_in_pieces_give_the_loss_and_gradients_of_all_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import torch

    from actors.training import losses

    torch.manual_seed(2)
    head = torch.randn(WORDS, 32, requires_grad=True)
    hidden = torch.randn(50, 32, requires_grad=True)
    targets = torch.randint(0, WORDS, (50,))
    targets[7] = -100
    found = []
    for size in (losses.PIECE_BYTES, 8 * WORDS * 4):
        monkeypatch.setattr(losses, "PIECE_BYTES", size)
        loss = losses.summed_cross_entropy(hidden, head, targets)
        found.append((loss, *torch.autograd.grad(loss, (hidden, head))))
    for whole, pieces in zip(*found, strict=True):
        assert torch.allclose(whole, pieces, rtol=1e-4, atol=1e-4)


def test_a_window_that_attention_by_lengths_does_not_know_is_refused() -> None:
    config = configuration(
        use_sliding_window=True, sliding_window=8, max_window_layers=0,
        layer_types=["sliding_attention"] * 2,
    )  # fmt: skip
    with learner_of(config) as learner:
        with pytest.raises(ConfigurationError, match=r"spread\.attention to eager"):
            loss_of(learner, range(4), talks())
