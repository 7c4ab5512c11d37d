"""How a model is trained: every number of the optimisation, and how the work is spread.

Invariant: `LearningSettings` decides the loss curve; `SpreadSettings` only where and how fast it is
drawn, up to the order in which floating-point numbers are added.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from actors.models.rewards import RewardModel
from storage.bounds import STRICT, Positive, Share


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterSettings:
    """Low-rank adapters (LoRA) beside the frozen products of the base; merged at the end."""

    __pydantic_config__ = STRICT

    rank: Positive = 16
    """Rows of A and columns of B, whose product is added to a weight."""
    alpha: Positive = 32
    """B A is multiplied by alpha / rank."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of an adapter's inputs that are dropped while it learns."""
    targets: tuple[str, ...] = ()
    """Names of the products that get one, as q_proj; none: all products of all layers."""
    quantised: bool = False
    """Hold these products in four bits (QLoRA's NF4), whole on each worker; needs bitsandbytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LearningSettings:
    """What the loss curve depends on. Batch and rate are the paper's; what it leaves open follows
    the recipe that it credits (cosine, 5 % warm-up, one epoch, packed, no weight decay, clip 1).
    """

    __pydantic_config__ = STRICT

    epochs: Annotated[float, Field(gt=0)] = 1.0
    """Times every conversation is seen."""
    batch: Positive = 64
    """Conversations per update, whatever the workers, the packing and the accumulation."""
    rate: Annotated[float, Field(gt=0)] = 2e-6
    """Highest learning rate."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """How the rate falls to 0 after the warm-up."""
    warm_up: Share = 0.05
    """Share of the updates in which the rate rises."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """AdamW's decay of weights; none of biases and norms."""
    beta2: Share = 0.999
    """Decay of AdamW's second moment."""
    clip: Annotated[float, Field(ge=0)] = 1.0
    """Largest norm of the gradient; 0: not clipped."""
    precision: Literal["auto", "bfloat16", "float32"] = "auto"
    """Arithmetic of the model; weights and optimizer state are float32 either way. `auto`, decided
    once, when a training is created: bfloat16 where GPUs or processor multiply it themselves."""
    packing: bool = True
    """Several conversations in one pass, one behind the other; they don't see each other."""
    seed: int = 0
    """Seed of the order of the conversations and of everything random."""
    adapter: AdapterSettings | None = None
    """Learn adapters (LoRA) in place of all weights; the usual rate is a hundred times higher."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpreadSettings:
    """Where and how fast the training runs; may change whenever it is continued."""

    __pydantic_config__ = STRICT

    workers: Positive = 1
    """Processes that train together: one per GPU, or on processors."""
    strategy: Literal["ddp", "fsdp"] = "ddp"
    """`ddp`: a whole model per worker; `fsdp`: weights, gradients and optimizer sharded."""
    offload: bool = False
    """Hold weights, gradients and the optimizer's state in the machine's memory, not the GPU's:
    slower, for models that fit in no other way."""
    micro_tokens: Positive = 16384
    """Most tokens of one pass; more per update are accumulated."""
    gradient_checkpointing: bool | Literal["auto"] = "auto"
    """Compute activations twice to hold fewer of them. `auto`: of as many layers as a GPU's memory
    asks for; on processors of none."""
    attention: Literal["packed", "sdpa", "flash_attention_2", "eager"] = "packed"
    """Implementation of attention. `packed`: by the lengths of the conversations, torch's flash
    attention on GPUs; `flash_attention_2`: the same by its own package; `sdpa` and `eager` are
    transformers' and slower, for models that need a sliding window or capped scores."""
    cpus_per_worker: Positive | None = None
    """CPU cores of a worker; None: 4 beside a GPU, or as many as a node has for each of its GPUs,
    else the machine's, shared equally."""
    device: Literal["auto", "cpu"] = "auto"
    """`auto`: GPUs, which are waited for on a cluster that is joined; without a cluster the
    machine's processor where it has none. `cpu`: processors, whatever else there is."""
    place_patience_s: Annotated[float, Field(gt=0)] = 1800.0
    """How long free GPUs of a cluster are waited for before the training stops (resumable)."""
    failures: Annotated[int, Field(ge=0)] = 3
    """Times that a lost worker, or a lost task that makes tokens, is replaced before the training
    stops, resumable.
    """
    ray_address: str | None = None
    """Ray cluster to join; None: $RAY_ADDRESS, or a private one on this machine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RhythmSettings:
    """How often something besides learning is done."""

    __pydantic_config__ = STRICT

    evaluate: Positive = 50
    """Updates between two looks at the held-out conversations; there is always one at the end."""
    checkpoint: Positive = 50
    """Updates between two checkpoints: what a crash can cost."""
    keep: bool = False
    """Keep all checkpoints, also when the training is finished; else the newest two, until then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSettings:
    """The settings that the training loop itself needs."""

    learning: LearningSettings = field(default_factory=LearningSettings)
    spread: SpreadSettings = field(default_factory=SpreadSettings)
    rhythm: RhythmSettings = field(default_factory=RhythmSettings)
    reward: RewardModel = field(default_factory=RewardModel)
    """What the model learns to say."""
