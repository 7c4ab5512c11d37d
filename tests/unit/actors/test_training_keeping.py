"""The folder of a trained model: what it stores, and that it is loaded as it was trained."""

from __future__ import annotations

from pathlib import Path

import pytest
from safetensors import safe_open

from actors.models.rewards import RewardModel
from actors.training.keeper import write_model

HEAD = "lm_head.weight"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_a_tied_head_is_stored_once_and_another_one_as_it_is(
    tied: bool, dtype: str, tmp_path: Path
) -> None:
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=1,
        num_attention_heads=2, tie_word_embeddings=tied,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    write_model(model, model.state_dict(), 2, dtype, tmp_path / "model", RewardModel())
    with safe_open(tmp_path / "model" / "model.safetensors", "pt") as stored:
        names = list(stored.keys())
    assert (HEAD not in names) == tied
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value.to(loaded.dtype)), name
