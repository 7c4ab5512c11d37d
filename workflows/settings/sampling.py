"""Settings of sampling, and of the stages that write and roll out solutions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, Protocol

from pydantic import Field

from actors.engines.contract import Sampling
from storage.bounds import STRICT, Positive, Share, Temperature


class SamplingSettings(Protocol):
    """The sampling settings that every stage with a model has."""

    @property
    def temperature(self) -> float:
        """0: greedy."""
        ...

    @property
    def top_p(self) -> float:
        """Nucleus; 1: off."""
        ...

    @property
    def top_k(self) -> int:
        """-1: off."""
        ...

    @property
    def max_tokens(self) -> int:
        """Most new tokens."""
        ...


def sampling_of(settings: SamplingSettings) -> Sampling:
    """The engine's sampling parameters for a stage's settings, without seed and number."""
    return Sampling(
        temperature=settings.temperature,
        top_p=settings.top_p,
        top_k=settings.top_k,
        max_tokens=settings.max_tokens,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkedSolution:
    """A problem with its solution, shown to policy and completion model."""

    __pydantic_config__ = STRICT

    problem: str
    solution: str
    """As the policy should write it: steps with their headers, the answer boxed."""


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
    """Samples of a later round, at least."""
    growth: Share = 0.25
    """A later round draws this share of the samples so far where that is more than `round`: a
    problem that goes on to a cap of 2048 takes 19 rounds, one after the other, instead of 127, for
    some 3 % more samples over all problems. 0: all later rounds are equal."""
    cap: Positive = 2048
    """Most samples per problem, shared by both classes."""
    budget: Literal["blind", "knapsack"] = "blind"
    """`blind`: each problem goes on to its cap; `knapsack`: the next samples go where they are
    expected to fill most missing quota, out of what the shard has left, and problems that will
    hardly ever show a missing class are given up (`workflows.sampling.knapsack`)."""
    per_problem: Positive = 128
    """`knapsack`: samples that a shard may draw, per problem on average."""
    give_up: Share = 0.05
    """`knapsack`: a problem ends where the chance of ever seeing a class it lacks falls under
    this."""
    least_pass_at_1: Share = 0.0
    """A problem of which the policy solves a smaller share is dropped (`pass_at_1_low`)."""
    top_up: bool = True
    """Where one class stays short of its quota but is not empty, fill up from the other class."""
    reuse_rollouts: bool = False
    """True: `solutions` are rollouts that an earlier run paid for and kept (view `rollouts`). They
    fill the quotas first, and the policy samples what is still missing. The run's seed has to be
    another one, so that its own rollouts are new; not for `genprm`."""
    select: Literal["quota", "all"] = "quota"
    """`quota`: by right and wrong answers; `all`: every valid path of the first round, whatever
    its answer, so that no answer decides anything."""
    temperature: Temperature = 0.7
    top_p: Share = 1.0
    top_k: int = -1
    max_tokens: Positive = 2048
    system: str = "Please reason step by step, and put your final answer within \\boxed{}."
    """System prompt of policy and completion model."""
    examples: tuple[WorkedSolution, ...] = ()
    """Worked examples that policy and completion model are shown before the problem, each with
    `problem` and `solution` (steps with their headers, the answer boxed): for base models and
    others that keep no form without."""


SMOOTHED = frozenset({"two_round", "adaptive"})
"""Budgets that need a pilot's chain, and whose labels are posteriors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EstimateSettings:
    """Stage `estimate`: Monte-Carlo rollouts by the completion model (equation 7)."""

    __pydantic_config__ = STRICT

    mc_budget: Literal[
        "exact", "exact_zero_stop", "two_round", "adaptive", "first_success", "binary_search"
    ] = "exact_zero_stop"
    """`exact`: every state; `exact_zero_stop`: none after the first MC = 0 (same labels);
    `two_round`: K/4, then K where a label is uncertain; `adaptive`: batches until each label is
    decided; `first_success`: until one rollout is right (hard labels only); `binary_search`: the
    first state with MC = 0 by halving, a live state taken to have only live ones before it."""
    start: Literal["completer", "policy"] = "completer"
    """Where MC(s1) comes from: rollouts of its own, or the policy's first round, which is right
    where policy and completion model are one."""
    paths: Literal["all", "wrong"] = "all"
    """`wrong`: paths with a right answer get no rollouts, and every step of theirs is right."""
    pilot: str | None = None
    """A finished run of the same store, estimated with `exact`: its rollouts give the chain that
    `two_round`, `adaptive` and `label.estimate: posterior` need. None: the run that this one is
    derived from where that was `exact`, else a small run that the build makes first."""
    pilot_paths: Positive = 300
    """Most paths of the pilot that are read, in the order of its shards; a build's own pilot has
    problems for a quarter more."""
    delta: Share | None = None
    """A label is decided once the chance of its being wrong is at most this; None: 0.1 under
    `adaptive`, 0.25 under `two_round`, whose second round goes to K at once."""
    batch: Positive = 8
    """Rollouts per state and turn of `adaptive`, `first_success` and `binary_search`."""
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
    """Generated tokens of one rollout; what one that is cut here counts as is said by `cut`."""
    cut: Literal["wrong", "last_number", "censored"] = "wrong"
    """A rollout that was cut: `wrong` (the paper names nothing else); `last_number`: graded by its
    box, else by the last number in it (the authors' release); `censored`: it is no rollout of the
    state, and a path with a state of which all are cut is dropped (`all_cut`)."""
    keep_texts: Annotated[int, Field(ge=0)] = 0
    """The first so many rollouts of each state, by index and never by outcome, keep their texts,
    for another run's `sample.reuse_rollouts` (view `rollouts`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchSettings:
    """Stage `search`: OmegaPRM's tree of states; sampled as `estimate` says."""

    __pydantic_config__ = STRICT

    rollouts: Positive = 8
    """Per node."""
    most_rollouts: Positive = 200
    """Per problem."""
    searches: Positive = 100
    """Wrong rollouts whose first error is searched, per problem."""
    alpha: Share = 0.5
    """Q = alpha^(1 - MC) * beta^(words / `words`) of a rollout from a state."""
    beta: Share = 0.9
    words: Positive = 500
    exploration: Annotated[float, Field(ge=0)] = 0.125
    """c of U = c * sqrt(all visits) / (1 + visits of the state)."""
    halve: Literal["steps", "tokens"] = "steps"
    """What a search halves: the steps of a rollout, so that every state ends with a step; or its
    tokens (OmegaPRM), so that states and edges end at the word next to the middle token. A model
    without a tokenizer here has its words counted."""
    edge: Positive = 16
    """`tokens`: a search ends at an edge of at most so many tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairSettings:
    """Stages `repair` and `retry`: one step in the place of the first wrong one, and its trial."""

    __pydantic_config__ = STRICT

    sees: Literal["none", "answer", "reference_solution"] = "reference_solution"
    """What the model that writes the step sees of the truth."""
    max_tokens: Positive = 200
    """Generated tokens of a replacement; one that is cut here is dropped."""
    temperature: Temperature = 0.6
    top_p: Share = 0.95
    continuations: Positive = 32
    """Continuations of the right steps and the replacement, by the completion model."""
    successes: Positive = 1
    """Continuations that have to be right; sampled as `estimate` says."""
