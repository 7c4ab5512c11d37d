"""What a model learns to say of a solution, from a micro-batch to its loss.

    generative      the assistant's own tokens              cross entropy
    discriminative, value, orm
                    two logits at the end of each step      cross entropy with a target in [0, 1]
    implicit        beta log(policy / reference), summed    the same, of a whole solution's outcome

A target may be a share: cross entropy is then least where the model says that share. A weight says
what a step counts for: c right rollouts of n are the target c / n with a weight in proportion to n,
the negative log-likelihood of the counts but for a constant. The implicit one is ImplicitPRM's
(arXiv 2412.01981), whose step rewards are differences of the summed log-ratios.

Invariant: a loss is a sum over terms (`terms`); who divides it by their number divides once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional

from actors.models.rewards import HEADED, RewardModel
from actors.training.batches import Tensors
from actors.training.losses import summed_cross_entropy, token_nats

LABELS = {0: "wrong", 1: "right"}
HEAD = "score."
"""Names of a head's weights begin with this in transformers' classes."""
SCALED_LOGITS = ("logit_scale", "logits_scaling", "final_logit_softcapping", "lm_head_multiplier")
"""Settings of models that do more than multiply by the head: they make whole logits themselves."""


class Passed:
    """A micro-batch on the device of the arithmetic."""

    def __init__(
        self, made: Tensors, device: torch.device, reference: Sequence[float] | None = None
    ) -> None:
        """`reference`: log-probability of each conversation's learnt tokens under the reference."""
        self.longest = made.longest
        arrays = {name: getattr(made, name) for name in NAMES}
        held = {name: torch.from_numpy(array) for name, array in arrays.items()}
        held["reference"] = torch.zeros(len(made.starts) - 1)
        if reference is not None:
            held["reference"] = torch.tensor(reference, dtype=torch.float32)
        for name, part in held.items():
            if device.type == "cuda":
                part = part.pin_memory().to(device, non_blocking=True)
            setattr(self, name, part)

    ids: torch.Tensor
    positions: torch.Tensor
    starts: torch.Tensor
    places: torch.Tensor
    targets: torch.Tensor
    marks: torch.Tensor
    wanted: torch.Tensor
    weights: torch.Tensor
    reference: torch.Tensor


NAMES = ("ids", "positions", "starts", "places", "targets", "marks", "wanted", "weights")


class Learner(torch.nn.Module):  # type: ignore[misc]
    """A generative verifier: a causal language model."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        head = model.get_output_embeddings()
        scaled = any(getattr(model.config, name, None) for name in SCALED_LOGITS)
        self._plain = not scaled and getattr(head, "bias", None) is None

    def forward(
        self, batch: Passed, sides: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Summed nats of the learnt tokens, and the logits [V, 2] of the verdicts.

        sides: ids of Yes and No; None: nobody asks for logits.
        """
        asked = None
        if sides is not None:
            asked = torch.searchsorted(batch.places, batch.marks - 1)
        if not self._plain:
            logits = self._logits(batch)
            loss = functional.cross_entropy(logits, batch.targets, reduction="sum")
            return loss, None if sides is None else logits[asked][:, sides]
        hidden = self._hidden(batch)[batch.places]
        head = self.model.get_output_embeddings().weight
        loss = summed_cross_entropy(hidden, head, batch.targets)
        if sides is None:
            return loss, None
        return loss, functional.linear(hidden[asked], head[sides]).float()

    def _hidden(self, batch: Passed) -> torch.Tensor:
        """[T, width]: what the decoder says of each token."""
        hidden: torch.Tensor = self.model.base_model(**_given(batch)).last_hidden_state[0]
        return hidden

    def _logits(self, batch: Passed) -> torch.Tensor:
        """[L, vocabulary] at the places, of a model that makes them itself."""
        logits: torch.Tensor = self.model(**_given(batch), logits_to_keep=batch.places).logits
        return logits[0].float()


class HeadLearner(Learner):
    """A model with a head over tokens."""

    def __init__(self, model: Any) -> None:
        torch.nn.Module.__init__(self)
        self.model = model

    def forward(
        self, batch: Passed, sides: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Summed weighted nats of the targets, and the logits [V, 2] of right and wrong."""
        logits = self.model.score(self._hidden(batch)[batch.marks]).float()
        said = functional.log_softmax(logits, dim=-1)
        nats = -(batch.wanted * said[:, 1] + (1 - batch.wanted) * said[:, 0])
        return (batch.weights * nats).sum(), logits.detach().flip(1)


class RatioLearner(Learner):
    """A causal language model that is compared with its own beginning."""

    def __init__(self, model: Any, beta: float) -> None:
        super().__init__(model)
        self.beta = beta

    def forward(
        self, batch: Passed, sides: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Summed nats of the outcomes, and [N, 2]: beta times each log-ratio, beside 0."""
        if self._plain:
            head = self.model.get_output_embeddings().weight
            nats = token_nats(self._hidden(batch)[batch.places], head, batch.targets)
        else:
            nats = functional.cross_entropy(self._logits(batch), batch.targets, reduction="none")
        owners = torch.searchsorted(batch.starts, batch.places.to(torch.int32), right=True) - 1
        sums = torch.zeros_like(batch.reference).index_add(0, owners, -nats)
        odds = self.beta * (sums - batch.reference)
        loss = functional.binary_cross_entropy_with_logits(
            odds, batch.wanted, batch.weights, reduction="sum"
        )
        return loss, torch.stack([odds.detach(), torch.zeros_like(odds)], 1)


def configured(config: Any, reward: RewardModel) -> Any:
    """The configuration of the model that is to be trained; a head's labels are named in it."""
    if reward.kind in HEADED:
        config.num_labels = len(LABELS)
        config.id2label = LABELS
        config.label2id = {name: number for number, name in LABELS.items()}
    return config


def model_class(reward: RewardModel) -> Any:
    """transformers' class of models of this kind."""
    import transformers

    if reward.kind in HEADED:
        return transformers.AutoModelForTokenClassification
    return transformers.AutoModelForCausalLM


def learner_of(model: Any, reward: RewardModel) -> Learner:
    """The module that makes the loss."""
    if reward.kind in HEADED:
        return HeadLearner(model)
    return RatioLearner(model, reward.beta) if reward.kind == "implicit" else Learner(model)


def begin_head(parts: dict[str, torch.Tensor], has_head: bool) -> dict[str, torch.Tensor]:
    """Write zeros into a head's weights, unless the base has them; the weights left to read.

    From zeros every step is as likely right as wrong, on any number of workers.
    """
    if has_head:
        return parts
    for name, part in parts.items():
        if name.startswith(HEAD):
            part.zero_()
    return {name: part for name, part in parts.items() if not name.startswith(HEAD)}


def _given(batch: Passed) -> dict[str, Any]:
    return {
        "input_ids": batch.ids[None],
        "position_ids": batch.positions[None],
        "use_cache": False,
        **{f"cu_seq_lens_{side}": batch.starts for side in "qk"},
        **{f"max_length_{side}": batch.longest for side in "qk"},
    }
