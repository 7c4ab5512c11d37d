"""What a training takes of a GPU and of its host, computed before anything starts.

Counted are the bytes that the arithmetic can't do without: weights, gradients and the two moments
of AdamW in float32, what is gathered for a pass, what a pass keeps for its way back, and a piece of
logits. How a layer is computed decides what it keeps: the inputs of its products, of its norms and
of its activation, each once, in the precision of the arithmetic.

Invariant: pure; the same numbers for a plan on paper and for the machine at hand.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from actors.training.events import Place
from actors.training.settings import AdapterSettings, TrainingSettings
from storage.errors import ConfigurationError

GIB = 1 << 30
FIXED_BYTES = GIB
"""CUDA's context, its libraries and their workspaces."""
EXCHANGE_BYTES = 2 * GIB
"""NCCL's buffers, where several workers exchange weights and gradients."""
SPARE = 0.04
"""Share of a GPU that the allocator loses between blocks."""
PIECE_BYTES = 5 << 28
"""Most bytes of logits that stand at a time, 1.25 GiB: a larger piece is no faster."""
BYTES_A_WEIGHT = 16
"""Weight, gradient and two moments, in float32."""
BYTES_IN_FOUR_BITS = 4.5 / 8
"""A weight in NF4 and its share of a float32 scale of 64 weights."""
WORKER_BYTES = 4 * GIB
"""torch, CUDA's libraries, pinned batches, and what is mapped of the conversations."""


@dataclass(frozen=True, slots=True)
class ModelShape:
    """The numbers of a decoder that its memory follows from."""

    width: int
    feed_forward: int
    layers: int
    queries: int
    """Width of all query heads together."""
    keys: int
    """Width of all key heads together."""
    vocabulary: int
    tied: bool
    """Whether the head is the table of the embeddings."""

    @classmethod
    def of(cls, config: Any) -> ModelShape:
        """From a transformers configuration."""
        config = config.get_text_config()
        heads = config.num_attention_heads
        size = getattr(config, "head_dim", None) or config.hidden_size // heads
        fewer = getattr(config, "num_key_value_heads", None) or heads
        wide = getattr(config, "intermediate_size", None) or 4 * config.hidden_size
        return cls(
            config.hidden_size, wide, config.num_hidden_layers,
            heads * size, fewer * size, config.vocab_size, bool(config.tie_word_embeddings),
        )  # fmt: skip

    @property
    def layer(self) -> int:
        """Weights of a layer: four products of attention, three of the feed-forward part."""
        attention = self.width * 2 * (self.queries + self.keys)
        return attention + 3 * self.width * self.feed_forward

    @property
    def tables(self) -> int:
        """Weights of embeddings and head."""
        return (1 if self.tied else 2) * self.vocabulary * self.width

    @property
    def parameters(self) -> int:
        """All weights; norms and biases are too few to count."""
        return self.layers * self.layer + self.tables

    def adapters(self, settings: AdapterSettings) -> int:
        """Weights of the adapters of all layers; each product has two, of its sides and the rank.

        Counted as if every product had one where the settings name some.
        """
        attention = 2 * (self.width + self.queries) + 2 * (self.width + self.keys)
        return self.layers * settings.rank * (attention + 3 * (self.width + self.feed_forward))

    @property
    def multiplied(self) -> int:
        """Weights that a token is multiplied with: embeddings of their own are looked up."""
        return self.layers * self.layer + self.vocabulary * self.width


@dataclass(frozen=True, slots=True)
class Plan:
    """How a training is spread."""

    parts: int
    """Workers that share one set of weights."""
    micro_tokens: int
    """Most tokens of a pass."""
    element: int = 2
    """Bytes of a number of the arithmetic: 2 in bfloat16."""
    recomputed: int = 0
    """Layers whose activations are computed twice."""
    adapter: AdapterSettings | None = None
    """Learnt in place of the weights."""
    offload: bool = False
    """Whether what is sharded stands in the machine's memory."""
    fused: bool = True
    """Whether norms, activation and cross entropy are one kernel each, as on GPUs."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Bytes of one GPU, by what they are for."""

    weights: int
    """With gradients and the optimizer's state, in float32."""
    gathered: int
    """For a pass: all weights where each worker has all of them, else the tables, a layer at work
    and the next one, each of them twice while it is gathered."""
    activations: int
    beside: int
    """Beside all activations: a piece of logits and the head's gradient, or a layer's gradients on
    their way into float32, whichever is more."""
    tables: int
    """When no activations are left: the tables' gradients on their way into float32."""
    fixed: int = FIXED_BYTES

    @property
    def total(self) -> int:
        """The peak, with what the allocator loses."""
        passing = max(self.activations + self.beside, self.tables)
        return round((self.weights + self.gathered + passing) * (1 + SPARE)) + self.fixed

    def __str__(self) -> str:
        """In one line."""
        named = (
            ("weights, gradients and optimizer", self.weights),
            ("gathered for a pass", self.gathered),
            ("activations", self.activations), ("logits or gradients on their way", self.beside),
        )  # fmt: skip
        parts = ", ".join(f"{name} {size / GIB:.1f}" for name, size in named)
        return f"{self.total / GIB:.1f} GiB ({parts})"


def estimate(shape: ModelShape, plan: Plan) -> Estimate:
    """Peak of a GPU of one worker."""
    if plan.adapter is not None:
        return _with_adapters(shape, plan, plan.adapter)
    whole, unit = shape.parameters, plan.element
    shared = plan.parts > 1
    held = shape.tables + 4 * shape.layer if shared else whole
    # The head's gradient is summed in float32, then held in the arithmetic's precision.
    head = shape.vocabulary * shape.width
    piece = min(PIECE_BYTES, plan.micro_tokens * shape.vocabulary * unit)
    piece *= 1 if plan.fused else 3  # logits, their softmax and its gradient
    moving = unit + 8  # a gradient as it comes, in float32, and reduced
    return Estimate(
        weights=0 if plan.offload else BYTES_A_WEIGHT * whole // plan.parts,
        gathered=held * unit,
        activations=_activations(shape, plan),
        beside=max(piece + head * (4 + unit), shape.layer * moving + head * unit),
        tables=shape.tables * moving,
        fixed=FIXED_BYTES + (EXCHANGE_BYTES if shared else 0),
    )


def _with_adapters(shape: ModelShape, plan: Plan, adapter: AdapterSettings) -> Estimate:
    """The base is held in the precision of the arithmetic, its products in four bits if so set."""
    unit, shared, learnt = plan.element, plan.parts > 1, shape.adapters(adapter)
    products = shape.layers * shape.layer
    if adapter.quantised:  # on each worker; a layer at work stands beside it as numbers
        frozen = round(products * BYTES_IN_FOUR_BITS) + shape.tables * unit // plan.parts
        gathered = shape.layer * unit + (shape.tables * unit if shared else 0)
    else:
        stands = not (plan.offload and shared)
        frozen = (products + shape.tables) * unit // plan.parts * stands
        gathered = (shape.tables + 4 * shape.layer) * unit if shared else 0
    return Estimate(
        weights=frozen + (0 if plan.offload else BYTES_A_WEIGHT * learnt // plan.parts),
        gathered=gathered + learnt * unit,
        activations=_activations(shape, plan),
        beside=min(PIECE_BYTES, plan.micro_tokens * shape.vocabulary * unit),
        tables=0,
        fixed=FIXED_BYTES + (EXCHANGE_BYTES if shared else 0),
    )


def _activations(shape: ModelShape, plan: Plan) -> int:
    """Bytes that a pass keeps for its way back."""
    unit = plan.element
    kept = _kept_by_a_layer(shape, plan.fused)
    token = (shape.layers - plan.recomputed) * kept
    if plan.recomputed:  # their inputs, and all of the one that is at work
        token += plan.recomputed * shape.width + kept
    return token * plan.micro_tokens * unit


def recomputed_layers(shape: ModelShape, plan: Plan, memory: int) -> int | None:
    """Fewest layers to compute twice so that a GPU's `memory` suffices; None: it never does."""
    counts = range(shape.layers + 1)
    fits = (n for n in counts if estimate(shape, replace(plan, recomputed=n)).total <= memory)
    return next(fits, None)


def settled(shape: ModelShape, plan: Plan, setting: bool | str, memory: int | None) -> Plan:
    """The plan with its number of layers that are computed twice.

    setting: `spread.gradient_checkpointing`; memory: bytes of the GPU, None on a processor. Raises
    ConfigurationError, with the numbers, where they can't fit.
    """
    if memory is None:
        return replace(plan, recomputed=shape.layers if setting is True else 0)
    count = recomputed_layers(shape, plan, memory) if setting == "auto" else None
    if count is None:
        count = 0 if setting is False else shape.layers
    made = replace(plan, recomputed=count)
    needed = estimate(shape, made)
    if needed.total > memory:
        remedies = ["lower spread.micro_tokens"]
        remedies += [] if count else ["set spread.gradient_checkpointing to auto"]
        remedies += [f"raise spread.workers above {plan.parts} under spread.strategy fsdp"]
        remedies += [] if plan.adapter else ["learn learning.adapter alone"]
        raise ConfigurationError(
            f"the training needs {needed} of a GPU, which has {memory / GIB:.1f}: "
            + ", or ".join(remedies)
        )
    return made


def memory_plan(
    settings: TrainingSettings, shape: ModelShape, micro_tokens: int, memory: int | None
) -> Plan:
    """How a training is spread over GPUs of so much memory. Raises ConfigurationError."""
    spread = settings.spread
    plan = Plan(
        parts=spread.workers if spread.strategy == "fsdp" else 1,
        micro_tokens=micro_tokens,
        element=4 if settings.learning.precision == "float32" else 2,
        adapter=settings.learning.adapter,
        offload=spread.offload,
    )
    return settled(shape, plan, spread.gradient_checkpointing, memory)


def check_host(shape: ModelShape, workers: int, memory: int, plan: Plan | None = None) -> None:
    """Whether a machine with `memory` bytes holds its `workers`. Raises ConfigurationError."""
    needed = host_bytes(shape, workers, plan)
    if needed > memory:
        raise ConfigurationError(
            f"the training needs {needed / GIB:.1f} GiB of the memory of a machine with {workers} "
            f"workers, which has {memory / GIB:.1f}: spread them over more machines"
        )


def host_bytes(shape: ModelShape, workers: int, plan: Plan | None = None) -> int:
    """Peak of a host with GPUs: the finished model as a whole, in bfloat16, on the first worker's,
    what its workers take, and what they hold there in the place of their GPUs.
    """
    offloaded = 0
    if plan is not None and plan.offload:
        on_gpu = estimate(shape, plan).weights
        offloaded = workers * (estimate(shape, replace(plan, offload=False)).weights - on_gpu)
    return shape.parameters * 2 + workers * WORKER_BYTES + offloaded


def gpu_memory(place: Place) -> int | None:
    """Bytes of this worker's GPU; None where it works on a processor."""
    if not place.gpu:
        return None
    import torch

    return int(torch.cuda.mem_get_info(place.local_rank % torch.cuda.device_count())[1])


def _kept_by_a_layer(shape: ModelShape, fused: bool) -> int:
    """Numbers per token that a layer keeps for its way back."""
    width, wide = shape.width, shape.feed_forward
    # Input of each norm, of the three products behind the first one, of the two behind the second,
    # of the output product; queries, keys, values and the result of attention are inputs too.
    attention = 2 * width + shape.queries + shape.queries + 2 * shape.keys
    rest = 2 * width + 3 * wide  # gate, up, and their product, which goes into the last product
    if fused:
        return attention + rest
    # What each norm scales; the activated gate; keys and values as wide as queries; the results of
    # conversations, before they stand in one row.
    return attention + rest + 2 * width + wide + 2 * (shape.queries - shape.keys) + shape.queries
