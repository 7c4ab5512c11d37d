"""What a training takes of a GPU, against what was measured, and what is refused."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest

from actors.training.memory import (
    GIB,
    ModelShape,
    Plan,
    check_host,
    estimate,
    memory_plan,
    recomputed_layers,
)
from actors.training.settings import (
    AdapterSettings,
    LearningSettings,
    SpreadSettings,
    TrainingSettings,
)
from benchmarks.shapes import SHAPES
from storage.errors import ConfigurationError

ONE = Plan(parts=1, micro_tokens=16384)


def shape_of(name: str, layers: int = 28) -> ModelShape:
    from transformers import Qwen2Config

    return ModelShape.of(Qwen2Config(**asdict(replace(SHAPES[name], num_hidden_layers=layers))))


MEASURED = {
    "1.5b": (shape_of("1.5b"), ONE, 60.7),
    "7b, 7 layers": (shape_of("7b", 7), ONE, 66.1),
    "7b, 11 layers computed twice": (shape_of("7b", 11), replace(ONE, recomputed=11), 69.4),
}
"""What `python -m benchmarks.training_speed` measured on one H100 80GB: GiB."""


@pytest.mark.parametrize("name", MEASURED)
def test_the_estimate_is_near_what_was_measured(name: str) -> None:
    shape, plan, measured = MEASURED[name]
    assert estimate(shape, plan).total / GIB == pytest.approx(measured, rel=0.15)


def test_the_estimate_for_a_processor_is_near_what_a_worker_grew_by() -> None:
    """5.15 GiB over an idle worker by `python -m benchmarks.training_memory`."""
    shape = ModelShape(1024, 4096, 9, 1024, 256, 32_000, tied=False)
    found = estimate(shape, Plan(parts=1, micro_tokens=1024, element=4, fused=False))
    assert (found.total - found.fixed) / GIB == pytest.approx(5.15, rel=0.15)
    assert shape.parameters > 200e6
    fused = estimate(shape, Plan(parts=1, micro_tokens=1024, element=4))
    assert found.activations > fused.activations


def test_weights_are_counted_as_transformers_counts_them() -> None:
    shape = shape_of("7b")
    assert shape.parameters == SHAPES["7b"].parameters
    assert shape.parameters - shape.multiplied == SHAPES["7b"].vocab_size * 3584


def test_as_few_layers_are_computed_twice_as_memory_asks_for() -> None:
    shape = shape_of("7b", 8)
    needed = estimate(shape, ONE).total
    assert recomputed_layers(shape, ONE, needed) == 0
    count = recomputed_layers(shape, ONE, needed - 8 * GIB)
    assert count is not None
    assert 0 < count < 8
    assert estimate(shape, replace(ONE, recomputed=count)).total <= needed - 8 * GIB
    assert estimate(shape, replace(ONE, recomputed=count - 1)).total > needed - 8 * GIB
    assert recomputed_layers(shape, ONE, 40 * GIB) is None


def settings(**spread: object) -> TrainingSettings:
    learning = LearningSettings(precision="bfloat16")
    return TrainingSettings(learning=learning, spread=SpreadSettings(**spread))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("spread", "remedy"),
    [
        ({}, "raise spread.workers above 1 under spread.strategy fsdp"),
        ({"workers": 2, "strategy": "fsdp", "gradient_checkpointing": False},
         "set spread.gradient_checkpointing to auto"),
    ],
)  # fmt: skip
def test_what_can_never_fit_is_refused_with_the_numbers(
    spread: dict[str, object], remedy: str
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        memory_plan(settings(**spread), shape_of("7b"), 16384, 79 * GIB)
    assert remedy in str(refused.value)
    assert "of a GPU, which has 79.0" in str(refused.value)
    assert "weights, gradients and optimizer" in str(refused.value)


def test_adapters_are_counted_as_peft_makes_them() -> None:
    from peft import LoraConfig, inject_adapter_in_model
    from transformers import Qwen2Config, Qwen2ForCausalLM

    config = Qwen2Config(
        vocab_size=99, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2,
    )  # fmt: skip
    model = Qwen2ForCausalLM(config)
    inject_adapter_in_model(LoraConfig(r=4, target_modules="all-linear"), model)
    count = sum(held.numel() for name, held in model.named_parameters() if "lora_" in name)
    assert ModelShape.of(config).adapters(AdapterSettings(rank=4)) == count


def test_less_is_learnt_in_less_memory() -> None:
    """7B on one GPU of 80 GB: not all weights; adapters of it; 32B in four bits."""
    lora, qlora = AdapterSettings(), AdapterSettings(quantised=True)
    whole, adapted, quantised = (
        estimate(shape_of("7b"), replace(ONE, recomputed=28, adapter=adapter)).total
        for adapter in (None, lora, qlora)
    )
    assert whole > 79 * GIB > adapted > quantised + 8 * GIB
    assert (
        estimate(shape_of("32b", 64), replace(ONE, recomputed=64, adapter=qlora)).total < 79 * GIB
    )


def test_what_is_held_in_the_machines_memory_is_counted_there() -> None:
    plan = Plan(parts=8, micro_tokens=16384, recomputed=64)
    shape, away = shape_of("32b", 64), replace(plan, offload=True)
    assert estimate(shape, plan).total > 79 * GIB > estimate(shape, away).total
    check_host(shape, 8, 128 * GIB, plan)
    with pytest.raises(ConfigurationError, match="8 workers, which has 128"):
        check_host(shape, 8, 128 * GIB, away)


def test_eight_gpus_hold_what_one_does_not() -> None:
    spread = {"workers": 8, "strategy": "fsdp"}
    assert memory_plan(settings(**spread), shape_of("7b"), 16384, 79 * GIB).parts == 8


def test_a_processor_computes_nothing_twice_unless_told() -> None:
    shape = shape_of("1.5b")
    assert memory_plan(settings(), shape, 16384, None).recomputed == 0
    told = settings(gradient_checkpointing=True)
    assert memory_plan(told, shape, 16384, None).recomputed == 28


def test_a_host_that_can_not_hold_its_workers_is_refused() -> None:
    check_host(shape_of("7b"), 8, 64 * GIB)
    with pytest.raises(ConfigurationError, match=r"46\.2 GiB .* 8 workers, which has 40\.0"):
        check_host(shape_of("7b"), 8, 40 * GIB)
