"""The model that learns: sharded weights in float32, gathered in the precision of the arithmetic.

`fully_shard` (FSDP2) holds weights, gradients and the optimizer's state in float32, each worker its
part or, where models are replicated, all of it. For a pass they are gathered in bfloat16; gradients
are added up over workers and micro-batches in float32. At a rate of 2e-6 an update of a weight is
far below half a step of bfloat16. One worker alone goes the same way, on a mesh of one.

Weights are read from the base's files straight into each worker's part: none of them ever holds a
model as a whole.

Invariant: what is computed does not depend on how the weights are spread.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import distributed
from torch.distributed import checkpoint
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import (
    CPUOffloadPolicy,
    FSDPModule,
    MixedPrecisionPolicy,
    OffloadPolicy,
    fully_shard,
)
from torch.distributed.tensor import DTensor

from actors.models.rewards import HEADED, RewardModel, reward_model_in
from actors.training import adapters
from actors.training.events import Place
from actors.training.losses import fused_kernels
from actors.training.objectives import (
    HEAD,
    Learner,
    begin_head,
    configured,
    learner_of,
    model_class,
)
from actors.training.settings import LearningSettings
from storage.errors import InputError

GENERATIVE = RewardModel()
Fill = Callable[[dict[str, Any]], None]
"""Writes the weights: parameter name -> this worker's part, in float32."""


@contextmanager
def process_group(place: Place) -> Iterator[torch.device]:
    """This worker's device, in a process group: the one there is, or one of this worker alone."""
    device = torch.device("cpu")
    if place.gpu:
        device = torch.device("cuda", place.local_rank % torch.cuda.device_count())
        torch.cuda.set_device(device)
        # Passes of ever other lengths would leave holes that nothing fits into.
        torch.cuda.memory._set_allocator_settings("expandable_segments:True")
    own = not distributed.is_initialized()
    if own:
        backend = "cpu:gloo,cuda:nccl" if place.gpu else "gloo"
        distributed.init_process_group(
            backend, store=distributed.HashStore(), rank=place.rank, world_size=place.workers
        )
    try:
        yield device
    finally:
        if own:
            distributed.destroy_process_group()


def build(
    config: Any, fill: Fill, *, attention: str, learning: LearningSettings, sharded: bool,
    device: torch.device, place: Place, recomputed: int = 0, offload: bool = False,
    reward: RewardModel = GENERATIVE,
) -> Learner:  # fmt: skip
    """A learner of a model's configuration; `fill` writes its weights.

    `recomputed`: layers whose activations are computed twice. `offload`: weights, gradients and the
    optimizer's state stay in the machine's memory. `reward`: what it learns to say.
    """
    from accelerate import init_empty_weights

    dtype = torch.bfloat16 if learning.precision == "bfloat16" else torch.float32
    adapter = learning.adapter
    has_head = reward.kind in HEADED and reward_model_in(config.to_dict(), "").kind in HEADED
    with init_empty_weights(include_buffers=False):
        model = model_class(reward).from_config(
            configured(config, reward),
            dtype=dtype if adapter else torch.float32,
            attn_implementation=attention,
        )
    if device.type == "cuda" and fused_kernels():
        logging.getLogger("liger_kernel").setLevel(logging.ERROR)  # names every backend it lacks
        from liger_kernel.transformers import _apply_liger_kernel_to_instance

        _apply_liger_kernel_to_instance(
            model=model, fused_linear_cross_entropy=False, cross_entropy=False
        )
    layers = decoder_layers(model)
    if recomputed:
        model.gradient_checkpointing_enable({"use_reentrant": False})
        for layer in layers[recomputed:]:
            layer.gradient_checkpointing = False
    if adapter:
        if adapter.quantised:
            adapters.quantise(model, layers, adapter, fill, dtype, device)
        adapters.attach(model, layers, adapter)
        for name, held in model.named_parameters():
            if reward.kind in HEADED and name.startswith(HEAD):
                held.data = held.data.to(torch.float32)
                held.requires_grad_(True)
    learner = learner_of(model, reward)
    frozen = {held for held in model.parameters() if not held.requires_grad}
    # What never changes needs no gathering where each worker has all of it; four bits can't be cut.
    alone = {held for held in frozen if not sharded or not held.is_floating_point()}
    mesh = _mesh(device.type, place, sharded)
    for module in (*layers, learner):
        fully_shard(
            module, mesh=mesh, reshard_after_forward=sharded, ignored_params=alone,
            mp_policy=MixedPrecisionPolicy(param_dtype=dtype, reduce_dtype=torch.float32),
            offload_policy=_offloading(device) if offload else OffloadPolicy(),
        )  # fmt: skip
    _materialise(learner, device, offload)
    model.tie_weights()
    fill(begin_head(adapters.base_parts(model), has_head))
    adapters.begin(model, learning.seed)
    return learner


def decoder_layers(model: Any) -> list[Any]:
    """The layers that follow each other, by the class that transformers never splits."""
    names = set(model._no_split_modules or ())
    return [module for module in model.modules() if type(module).__name__ in names]


def read_weights(folder: Path) -> Fill:
    """Fills from a folder's safetensors, each worker reading its part.

    Raises InputError where weights are missing there.
    """

    def fill(parts: dict[str, Any]) -> None:
        try:
            checkpoint.load(parts, storage_reader=checkpoint.HuggingFaceStorageReader(str(folder)))
        except checkpoint.CheckpointException as error:
            raise InputError(
                f"base model {folder.name}: its *.safetensors don't hold the weights of its class "
                f"({_reason(error)}): load it with transformers and save it again"
            ) from error

    return fill


def reshard(learner: Learner) -> None:
    """Give back what a pass without gradients gathered."""
    for module in learner.modules():
        if isinstance(module, FSDPModule):
            module.reshard()


def gathered_weights(model: Any, dtype: torch.dtype, place: Place) -> dict[str, torch.Tensor]:
    """Every weight as a whole, on the first worker's processor; the others get nothing."""
    whole: dict[str, torch.Tensor] = {}
    for name, weight in adapters.whole_weights(model, dtype):
        if place.rank == 0:
            whole[name] = weight.cpu()
    return whole


def _offloading(device: torch.device) -> OffloadPolicy:
    return CPUOffloadPolicy(pin_memory=device.type == "cuda")


def _materialise(learner: Learner, device: torch.device, offload: bool) -> None:
    """Give parameters without values memory: on the device, or in the machine's memory."""

    def placed(held: torch.Tensor) -> torch.Tensor:
        managed = offload and isinstance(held, DTensor)
        target = torch.device("cpu") if managed else device
        return torch.empty_like(held, device=target) if held.is_meta else held.to(target)

    learner._apply(placed)


def _mesh(device: str, place: Place, sharded: bool) -> DeviceMesh:
    if sharded or place.workers == 1:
        return init_device_mesh(device, (place.workers,))
    return init_device_mesh(device, (place.workers, 1), mesh_dim_names=("copies", "parts"))


def _reason(error: Any) -> str:
    return next((str(one[0]) for one in error.failures.values()), str(error)).splitlines()[0]
