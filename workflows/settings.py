"""Every setting of a build, once: names, defaults (the paper's), bounds and what each one means.

The command line validates these dataclasses with pydantic; inside they are plain frozen values.
Where the paper is silent or contradicts itself, the setting says which reading is the default.

Invariant: a run's result depends on these settings, its input and its models, on nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

STRICT = ConfigDict(extra="forbid", use_attribute_docstrings=True)
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=0)]
Temperature = Annotated[float, Field(ge=0)]


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleSettings:
    """Stage `sample`: the policy's paths."""

    __pydantic_config__ = STRICT

    correct: Positive = 4
    """Right paths wanted per problem."""
    incorrect: Positive = 4
    """Wrong (valid but incorrect) paths wanted per problem."""
    first_round: Positive = 32
    """Samples of the first round; its size is fixed, so its Pass@1 is unbiased."""
    round: Positive = 16
    """Samples of every later round."""
    cap: Positive = 2048
    """Most samples per problem, shared by both classes."""
    top_up: bool = True
    """Where one class stays short of its quota but is not empty, fill up from the other class."""
    temperature: Temperature = 0.7
    top_p: Share = 1.0
    top_k: int = -1
    max_tokens: Positive = 2048
    system: str = "Please reason step by step, and put your final answer within \\boxed{}."
    """System prompt of policy and completion model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EstimateSettings:
    """Stage `estimate`: Monte-Carlo rollouts by the completion model (equation 7)."""

    __pydantic_config__ = STRICT

    mc_budget: Literal["exact", "exact_zero_stop", "two_round", "adaptive", "first_success"] = (
        "exact_zero_stop"
    )
    """`exact`: every state; `exact_zero_stop`: none after the first MC = 0 (same labels);
    `two_round`: K/4, then K where a label is uncertain; `adaptive`: batches until each label is
    decided; `first_success`: until one rollout is right (hard labels only)."""
    pilot: str | None = None
    """A finished run of the same store, estimated with `exact`: its rollouts give the chain that
    `two_round`, `adaptive` and `label.estimate: posterior` need."""
    pilot_paths: Positive = 300
    """Most paths of the pilot that are read, in the order of its shards."""
    delta: Share | None = None
    """A label is decided once the chance of its being wrong is at most this; None: 0.1 under
    `adaptive`, 0.25 under `two_round`, whose second round goes to K at once."""
    batch: Positive = 8
    """Rollouts per state and turn of `adaptive` and `first_success`."""
    cap: Annotated[float, Field(gt=0)] = 1.0
    """Most rollouts per state under `adaptive`, in multiples of K."""
    k_hard: Positive = 128
    """Rollouts per state where MC(s1) < `hard_below`."""
    k_medium: Positive = 64
    """Rollouts per state where `hard_below` <= MC(s1) < `easy_from`."""
    k_easy: Positive = 32
    """Rollouts per state where MC(s1) >= `easy_from`, 1.0 included."""
    hard_below: Share = 0.1
    easy_from: Share = 0.9
    probe: Positive = 32
    """Rollouts from the bare problem that choose K; topped up to K for MC(s1) itself."""
    temperature: Temperature = 0.7
    top_p: Share = 1.0
    top_k: int = -1
    max_tokens: Positive = 2048
    """Generated tokens of one rollout; a rollout cut here counts as wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelSettings:
    """Stage `label`: labels from MC values (equations 9 and 10)."""

    __pydantic_config__ = STRICT

    form: Literal["ratio", "difference", "hard", "soft"] = "ratio"
    """`ratio`: MC after / MC before; `difference`: their difference; `hard`, `soft`: MC after."""
    threshold: float = 0.8
    """A step is right where its value >= threshold (`hard`: where MC after > threshold)."""
    after_first_zero: Literal["zero", "keep"] = "zero"
    """`zero`: after the first MC = 0 every label is wrong (the paper)."""
    estimate: Literal["counts", "posterior"] = "counts"
    """What stands for MC(s): `counts`: c / n (the paper); `posterior`: what a chain fitted to a
    pilot believes of a path's states together; a label is right where that is likelier."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RationalizeSettings:
    """Stage `rationalize`: the written verification with executed code."""

    __pydantic_config__ = STRICT

    temperature: Temperature = 0.6
    top_p: Share = 0.95
    top_k: int = 40
    max_tokens: Positive = 4096
    """Generated tokens of one call, that is between two code outputs."""
    total_tokens: Positive = 16384
    """Generated tokens and code outputs of one rationale."""
    code_rounds: Positive = 64
    """Most executed code blocks per solution."""
    execute: bool = True
    """False: code is written but not run (ablation)."""
    output_chars: Positive = 2000
    """Most characters of one code output that are fed back."""
    votes: Positive = 4
    """Samples of the judge's final index."""
    attempts: Positive = 1
    """Tries per path before an unreadable rationale is dropped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsensusSettings:
    """Stage `consensus`: keep a path only where judge and labels agree."""

    __pydantic_config__ = STRICT

    rule: Literal["all_steps", "first_error", "none"] = "all_steps"
    """`all_steps`: every label agrees (the paper; a non-monotone path never does);
    `first_error`: only the index of the first wrong step has to agree; `none`: keep all."""
    aggregate: Literal["majority", "unanimous"] = "majority"
    """How the judge's votes become one index."""
    monotone_labels: bool = True
    """Under `first_error`: export every step after the first error as wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerSettings:
    """How answers are compared."""

    __pydantic_config__ = STRICT

    timeout_s: Annotated[float, Field(gt=0)] = 3.0
    """Hard limit of one comparison; what takes longer is not equal."""
    percent_equals_fraction: bool = False
    """True: 50 % equals 0.5."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageSettings:
    """The settings of all stages of a build."""

    __pydantic_config__ = STRICT

    seed: int = 0
    """Seed of the run: seeds of requests derive from (seed, item, sample index)."""
    sample: SampleSettings = field(default_factory=SampleSettings)
    estimate: EstimateSettings = field(default_factory=EstimateSettings)
    label: LabelSettings = field(default_factory=LabelSettings)
    rationalize: RationalizeSettings = field(default_factory=RationalizeSettings)
    consensus: ConsensusSettings = field(default_factory=ConsensusSettings)
    answers: AnswerSettings = field(default_factory=AnswerSettings)
