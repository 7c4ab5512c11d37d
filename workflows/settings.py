"""Every setting of a build, once: names, defaults (the paper's), bounds and what each one means.

The command line validates these dataclasses with pydantic; inside they are plain frozen values.
Where the paper is silent or contradicts itself, the setting says which reading is the default.

Invariant: a run's result depends on these settings, its input and its models, on nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal, Protocol

from pydantic import Field

from actors.engines.contract import Sampling
from storage.bounds import STRICT, Count, Positive, Share, Temperature
from storage.rows.kinds import ROAD


class SamplingSettings(Protocol):
    """The settings of a stage that asks a model, as far as sampling goes."""

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


def sampling_of(wanted: SamplingSettings) -> Sampling:
    """How a stage samples, without its seeds and numbers."""
    return Sampling(
        temperature=wanted.temperature,
        top_p=wanted.top_p,
        top_k=wanted.top_k,
        max_tokens=wanted.max_tokens,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkedSolution:
    """A problem with its solution, shown to policy and completion model."""

    __pydantic_config__ = STRICT

    problem: str
    solution: str
    """As the policy should write it: steps with their headers, the answer boxed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkedRationale:
    """A solution with its verification, shown to the writer of rationales."""

    __pydantic_config__ = STRICT

    problem: str
    steps: tuple[str, ...]
    """Without their headers."""
    verification: str
    """As the writer should write it: a heading and both parts for each step, code with its
    outputs."""
    first_error: int
    """Number of the first wrong step, from 1; -1: none is wrong."""


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
    """Generated tokens of one rollout; a rollout cut here counts as wrong."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelSettings:
    """Stage `label`: labels from MC values (equations 9 and 10)."""

    __pydantic_config__ = STRICT

    form: Literal["ratio", "difference", "hard", "soft", "start_ratio", "effective"] = "ratio"
    """`ratio`: MC after / MC before; `difference`: their difference; `hard`, `soft`: MC after;
    `start_ratio`: MC after / MC(s1), at most 1; `effective`: MC after + `alpha` * the prover's
    difference."""
    threshold: Annotated[float, Field(allow_inf_nan=False)] = 0.8
    """A step is right where its value >= threshold (`hard`: where MC after > threshold)."""
    after_first_zero: Literal["zero", "keep", "drop"] = "zero"
    """`zero`: after the first MC = 0 every label is wrong (the paper); `keep`: as measured;
    `drop`: the steps after the one that led there have no labels."""
    tolerance: Count | None = None
    """Steps further than this before the first MC = 0 are right with value 1, whatever their
    value; None: every value counts."""
    unseen_zero: Literal["keep", "drop"] = "keep"
    """`drop`: a wrong path goes (`no_zero`) where no state that was rolled out has MC = 0."""
    prover: Literal["none", "same", "best_of", "model"] = "none"
    """Whose MC values `difference` and `effective` compare: the completion model's (`none`,
    `same`), its best of `prover_k` (1 - (1 - MC)^k), or the model of stage `prover`."""
    prover_k: Positive = 4
    alpha: float = 1.0
    """What the prover's difference weighs in `effective`."""
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
    """Generated tokens of one call, that is between two code outputs; the next one goes on."""
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
    attempts: Positive = 2
    """Tries per path before an unreadable rationale is dropped; the paper names no second one."""
    require_code: bool = True
    """Every step is checked by code (the paper). False: the writer is told that a step with nothing
    to compute may say so in its verification, in the line `Nothing to compute.`; `tool` and
    `hybrid` of `consensus.sources` still need code of every step."""
    state_verdict: bool = False
    """True: the writer is also asked that the last word its code prints for a paragraph is True
    or False; for `consensus.sources` with `tool`."""
    system: str | None = None
    """System prompt of the writer; None: the paper's."""
    examples: tuple[WorkedRationale, ...] = ()
    """Worked examples that the writer is shown before the solution, each with `problem`, `steps`
    (without headers), `verification` (a heading and both parts for each step, code with its
    outputs) and `first_error` (number of the first wrong step, from 1; -1: none)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeSettings:
    """Stage `judge`: independent verifications without code, by a panel of prompts."""

    __pydantic_config__ = STRICT

    prompts: tuple[Literal["critique", "resolve", "align"], ...] = ("critique",)
    """`critique`: every paragraph analysed and judged; `resolve`: the same after a solution of
    the judge's own; `align`: every paragraph aligned with the reference solution, as JSON."""
    sees: tuple[Literal["none", "answer", "reference_solution"], ...] = ("none",)
    """What the judge sees of the truth; the panel is every prompt with every sight."""
    votes: Positive = 1
    """Independent verifications per prompt and sight."""
    aggregator: Literal["single", "outcome_vote", "step_vote", "meta_critique", "any"] = "single"
    """`single`: the first verification; `outcome_vote`: majority of whole verdicts (no error, or
    some), the first that agrees speaks; `step_vote`: majority per step; `meta_critique`: a
    critique of the verification, then its revision, which counts; `any`: whichever agrees with
    the other sources of `consensus`."""
    verdicts: Literal["steps", "index"] = "steps"
    """What is read of a verification: its verdicts per step, or its index of the first error."""
    ungraded: Literal["unreadable", "wrong"] = "unreadable"
    """A step without a verdict: it makes the verification unreadable, or it counts as wrong."""
    paths: Literal["all", "wrong"] = "all"
    """`wrong`: only paths whose own answer is wrong are judged."""
    temperature: Temperature = 0.6
    top_p: Share = 0.95
    top_k: int = -1
    max_tokens: Positive = 8192
    """Generated tokens of one verification; one that is cut here is unreadable."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsensusSettings:
    """Stage `consensus`: keep a path only where its sources agree."""

    __pydantic_config__ = STRICT

    rule: Literal["all_steps", "first_error", "none"] = "all_steps"
    """`all_steps`: every label agrees (the paper; a non-monotone path never does);
    `first_error`: only the index of the first wrong step has to agree; `none`: keep all."""
    sources: tuple[Literal["labels", "judge", "tool", "hybrid", "outcome"], ...] = (
        "labels", "judge",
    )  # fmt: skip
    """What has to agree; the first gives the labels. `labels`: stage `label`; `judge`: the
    rationale's votes, or stage `judge`; `tool`: what the code of each step found; `hybrid`: sign
    of tool verdicts and outcome together; `outcome`: whether any step is wrong against the path's
    answer."""
    aggregate: Literal["majority", "unanimous"] = "majority"
    """How a rationale's votes become one index."""
    outcome_overwrites_last: bool = False
    """True: the last step's label is whether the path's answer is right."""
    monotone_labels: bool = True
    """Under `first_error`: export every step after the first error as wrong."""
    cut: Literal["none", "first_error", "recovery"] = "none"
    """Steps that are not exported: `first_error`: those after the first wrong one; `recovery`:
    from the first right one after a wrong one on."""
    balance: Literal["none", "verdict", "outcome"] = "none"
    """Keep as many paths without as with a wrong step (`verdict`), or as many with a right as
    with a wrong answer (`outcome`), shard by shard; the others are `surplus`."""
    discount: Share = 0.9
    """`hybrid`: what a later step's value is worth one step earlier."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerSettings:
    """How answers are compared."""

    __pydantic_config__ = STRICT

    timeout_s: Annotated[float, Field(gt=0)] = 3.0
    """Hard limit of one comparison; what takes longer is not equal."""
    percent_equals_fraction: bool = False
    """True: 50 % equals 0.5."""
    unusual: Literal["drop", "refuse"] = "drop"
    """What a problem becomes whose reference can't be compared with any answer (cases of a
    function, a list with dots): dropped as `unusual_answer`, or the whole file is refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StageSettings:
    """The settings of all stages of a build."""

    __pydantic_config__ = STRICT

    seed: int = 0
    """Seed of the run: seeds of requests derive from (seed, item, sample index)."""
    heal: bool = True
    """Leave the end of a forced beginning ("Step 1: ") to the model, where its tokenizer joins it
    to what follows; False: force it to the letter, as runs before this setting did."""
    road: tuple[str, ...] = ROAD[1:]
    """The stages, in their order; others than the paper's make other strategies."""
    sample: SampleSettings = field(default_factory=SampleSettings)
    estimate: EstimateSettings = field(default_factory=EstimateSettings)
    search: SearchSettings = field(default_factory=SearchSettings)
    label: LabelSettings = field(default_factory=LabelSettings)
    rationalize: RationalizeSettings = field(default_factory=RationalizeSettings)
    judge: JudgeSettings = field(default_factory=JudgeSettings)
    consensus: ConsensusSettings = field(default_factory=ConsensusSettings)
    repair: RepairSettings = field(default_factory=RepairSettings)
    answers: AnswerSettings = field(default_factory=AnswerSettings)
