"""Adapters: what is frozen, what is learnt, and the model that both become."""

from __future__ import annotations

from typing import Any

import pytest

from actors.training.events import Place
from actors.training.settings import AdapterSettings
from storage.errors import ConfigurationError
from tests.unit.actors.test_training_arithmetic import configuration, learner_of, loss_of, talks

pytestmark = pytest.mark.usefixtures("one_thread")
FORMS = {
    "LoRA": AdapterSettings(rank=4),
    "LoRA of two products": AdapterSettings(rank=4, targets=("q_proj", "down_proj")),
    "QLoRA": AdapterSettings(rank=4, quantised=True),
}


def learnt(learner: Any, updates: int = 5) -> list[float]:
    """Losses of some updates on the same conversations."""
    import torch

    parts = [held for held in learner.parameters() if held.requires_grad]
    optimizer = torch.optim.AdamW(parts, lr=0.02)
    losses = []
    for _ in range(updates):
        loss = loss_of(learner, range(4), talks())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("family", ["qwen2", "llama"])
@pytest.mark.parametrize("sharded", [False, True])
@pytest.mark.parametrize("form", FORMS)
def test_the_merged_model_computes_what_base_and_adapters_did(
    form: str, sharded: bool, family: str
) -> None:
    """transformers' own model with the merged weights has the learner's loss."""
    import torch
    from transformers import AutoModelForCausalLM

    from actors.training.learner import gathered_weights

    with learner_of(configuration(family), adapter=FORMS[form], sharded=sharded) as learner:
        losses = learnt(learner)
        mine = loss_of(learner, [2], talks()).item()
        weights = gathered_weights(learner.model, torch.float32, Place())
    assert losses[-1] < losses[0]
    model = AutoModelForCausalLM.from_config(configuration(family), attn_implementation="eager")
    report = model.load_state_dict(weights, strict=False)
    assert set(report.missing_keys) <= {"lm_head.weight"}
    assert not report.unexpected_keys
    model.tie_weights()
    one = talks()[2]
    places = [place for place in range(1, 40) if one.own[place]]
    ids = torch.from_numpy(one.ids).long()
    logits = model(ids[None]).logits[0, [place - 1 for place in places]].float()
    theirs = torch.nn.functional.cross_entropy(logits, ids[places], reduction="sum")
    assert mine == pytest.approx(theirs.item(), rel=1e-4)


@pytest.mark.parametrize("form", FORMS)
def test_an_untrained_adapter_changes_nothing_and_the_base_never_changes(form: str) -> None:
    import torch

    from actors.training.learner import gathered_weights

    with learner_of(configuration(), adapter=FORMS[form]) as learner:
        before = gathered_weights(learner.model, torch.float32, Place())
        learnt(learner)
        after = gathered_weights(learner.model, torch.float32, Place())
        names = {name for name, held in learner.named_parameters() if held.requires_grad}
    changed = {name for name in before if (before[name] != after[name]).any()}
    assert all("lora_" in name for name in names)
    assert len(changed) * 2 == len(names)
    if form == "LoRA of two products":
        assert {name.split(".")[-2] for name in changed} == {"q_proj", "down_proj"}
    if form != "QLoRA":
        with learner_of(configuration()) as whole:
            base = gathered_weights(whole.model, torch.float32, Place())
        assert all((before[name] == base[name]).all() for name in base)


def test_a_base_in_bfloat16_is_held_once_and_adapters_learn_in_float32() -> None:
    with learner_of(configuration(), precision="bfloat16", adapter=FORMS["LoRA"]) as learner:
        kinds = {
            str(held.dtype).removeprefix("torch."): "lora_" in name
            for name, held in learner.named_parameters()
        }
        losses = learnt(learner)
    assert kinds == {"bfloat16": False, "float32": True}
    assert losses[-1] < losses[0]


def test_a_product_that_the_base_lacks_is_named_with_those_it_has() -> None:
    wrong = AdapterSettings(targets=("query",))
    with pytest.raises(ConfigurationError, match=r"no query; it has down_proj, gate_proj"):
        with learner_of(configuration(), adapter=wrong):
            pass
