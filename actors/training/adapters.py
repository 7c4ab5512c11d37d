"""Adapters: low-rank changes of a frozen base (LoRA), whose products may be held in four bits.

peft puts them beside the products of the decoder's layers; bitsandbytes holds products in NF4
(QLoRA, arXiv 2305.14314). The trained model is the base with the adapters added into it.

Invariant: what an adapter starts at follows from the seed and its name, however it is spread.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch.distributed.tensor import DTensor, distribute_tensor

from actors.training.settings import AdapterSettings
from storage.errors import ConfigurationError

MARK, INNER = "lora_", ".base_layer"
"""In the name of an adapter's weight; in that of a weight that has an adapter."""


def products(layers: Sequence[Any], settings: AdapterSettings) -> list[tuple[Any, str]]:
    """(module, name in it) of the layers' products that get an adapter.

    Raises ConfigurationError where the layers lack one that is named.
    """
    found = [
        (module, name)
        for layer in layers
        for module in layer.modules()
        for name, child in module.named_children()
        if isinstance(child, torch.nn.Linear)
    ]
    there = sorted({name for _, name in found})
    unknown = [name for name in settings.targets if name not in there]
    if unknown:
        raise ConfigurationError(
            f"learning.adapter.targets: the base has no {', '.join(unknown)}; it has "
            + ", ".join(there)
        )
    return [pair for pair in found if not settings.targets or pair[1] in settings.targets]


def attach(model: Any, layers: Sequence[Any], settings: AdapterSettings) -> None:
    """Put adapters beside the products of `layers`, without values; all else is frozen."""
    from peft import LoraConfig, inject_adapter_in_model

    config = LoraConfig(
        r=settings.rank, lora_alpha=settings.alpha, lora_dropout=settings.dropout,
        target_modules=sorted({name for _, name in products(layers, settings)}),
    )  # fmt: skip
    model.is_loaded_in_4bit = settings.quantised  # peft asks
    inject_adapter_in_model(config, model, low_cpu_mem_usage=True)
    del model.is_loaded_in_4bit
    for name, held in model.named_parameters():
        if MARK in name:
            held.data = held.data.to(torch.float32)


def quantise(
    model: Any, layers: Sequence[Any], settings: AdapterSettings, fill: Any, dtype: torch.dtype,
    device: torch.device,
) -> None:  # fmt: skip
    """Hold the products that get an adapter in NF4, read layer by layer; `model` has no values.

    Raises ConfigurationError where bitsandbytes is not installed.
    """
    try:
        from bitsandbytes import nn
    except ImportError:
        raise ConfigurationError(
            "learning.adapter.quantised needs bitsandbytes: pip install bitsandbytes"
        ) from None
    names = {id(module): name for name, module in model.named_modules()}
    for layer in layers:
        chosen = [
            (module, name, getattr(module, name)) for module, name in products([layer], settings)
        ]
        parts = {
            f"{names[id(old)]}.weight": torch.empty(old.weight.shape, dtype=dtype)
            for _, _, old in chosen
        }
        fill(parts)
        for (module, name, old), part in zip(chosen, parts.values(), strict=True):
            new = nn.Linear4bit(
                old.in_features, old.out_features, old.bias is not None, dtype,
                quant_type="nf4", device="meta",
            )  # fmt: skip
            new.support_avx512bf16_for_cpu = False  # its form for processors can't be added to
            new.bias = old.bias
            new.weight = nn.Params4bit(part, requires_grad=False, quant_type="nf4", module=new)
            new.weight = new.weight.to(device)
            setattr(module, name, new)


def begin(model: Any, seed: int) -> None:
    """Write what adapters start at: A uniform as a layer of its width begins, B zero."""
    for name, held in model.named_parameters():
        if MARK not in name:
            continue
        full = torch.zeros(held.shape)
        if "lora_A" in name:
            draw = torch.Generator().manual_seed(zlib.crc32(f"{seed} {name}".encode()))
            full.uniform_(-1, 1, generator=draw).div_(math.sqrt(held.shape[1]))
        _write(held.detach(), full)


def base_parts(model: Any) -> dict[str, torch.Tensor]:
    """Name in the base -> this worker's part of the weight, but for those held in four bits."""
    return {
        name.replace(INNER, ""): held.detach()
        for name, held in model.named_parameters()
        if MARK not in name and held.is_floating_point()
    }


def whole_weights(model: Any, dtype: torch.dtype) -> Iterator[tuple[str, torch.Tensor]]:
    """(name in the base, weight) of every weight as a whole, adapters added in float32.

    All workers must ask for all of them, in this order.
    """
    for name, held in model.named_parameters():
        if MARK in name:
            continue
        if not name.endswith(f"{INNER}.weight"):
            yield name.replace(INNER, ""), _whole(held.to(dtype))
            continue
        layer = model.get_submodule(name.removesuffix(f"{INNER}.weight"))
        weight = _whole(held) if held.is_floating_point() else _dequantised(held)
        for adapter in layer.active_adapters:
            up, down = layer.lora_B[adapter].weight, layer.lora_A[adapter].weight
            weight = weight.float() + _whole(up) @ _whole(down) * layer.scaling[adapter]
        yield name.replace(INNER, ""), weight.to(dtype)


def learnt(model: Any) -> Mapping[str, torch.Tensor]:
    """Name -> this worker's part of the weights that a training changes."""
    return {name: held.detach() for name, held in model.named_parameters() if held.requires_grad}


def _write(part: torch.Tensor, full: torch.Tensor) -> None:
    full = full.to(part.device)
    if isinstance(part, DTensor):
        full = distribute_tensor(full, part.device_mesh, part.placements, src_data_rank=None)
    part.copy_(full)


def _whole(held: torch.Tensor) -> torch.Tensor:
    held = held.detach()
    return held.full_tensor() if isinstance(held, DTensor) else held


def _dequantised(held: Any) -> torch.Tensor:
    from bitsandbytes.functional import dequantize_4bit

    weight: torch.Tensor = dequantize_4bit(held.data, held.quant_state)
    return weight
