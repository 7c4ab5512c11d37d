"""Settings of the stages that label, verify and filter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from storage.bounds import STRICT, Count, Positive, Share, Temperature


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
    `same`), its best of `prover_k` (1 - (1 - MC)^k), or the model of stage `prover`. With any but
    `none` the completion model must be the policy, whose own Q stands beside them."""
    prover_k: Positive = 4
    alpha: float = 1.0
    """What the prover's difference weighs in `effective`."""
    estimate: Literal["counts", "posterior"] = "counts"
    """What stands for MC(s): `counts`: c / n (the paper); `posterior`: what a chain fitted to a
    pilot believes of a path's states together; a label is right where that is likelier."""


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
    aggregator: Literal["single", "outcome_vote", "step_vote", "meta_critique", "any", "lowest"] = (
        "single"
    )
    """`single`: the first verification; `outcome_vote`: majority of whole verdicts (no error, or
    some), the first that agrees speaks; `step_vote`: majority per step; `meta_critique`: a
    critique of the verification, then its revision, which counts; `any`: whichever agrees with
    the other sources of `consensus`; `lowest`: the one with the earliest first error (with stage
    `metaverify`: of those whose reasons are real)."""
    verdicts: Literal["steps", "index"] = "steps"
    """What is read of a verification: its verdicts per step, or its index of the first error."""
    ungraded: Literal["unreadable", "wrong"] = "unreadable"
    """A step without a verdict: it makes the verification unreadable, or it counts as wrong."""
    paths: Literal["all", "wrong"] = "all"
    """`wrong`: only paths whose own answer is wrong are judged."""
    prefixes: Positive = 1
    """Prefixes of each path that are verified: the whole path, and shorter ones drawn by the
    run's seed, as many as there are."""
    thinks: bool = False
    """True: the model thinks before it answers. Its answer isn't begun for it, and what it thought
    (a text up to `</think>`, or the server's own channel) is kept and is no part of a verdict."""
    temperature: Temperature = 0.6
    top_p: Share = 0.95
    top_k: int = -1
    max_tokens: Positive = 8192
    """Generated tokens of one verification, thoughts included; one that is cut here is
    unreadable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsensusSettings:
    """Stage `consensus`: keep a path only where its sources agree."""

    __pydantic_config__ = STRICT

    rule: Literal["all_steps", "first_error", "none"] = "all_steps"
    """`all_steps`: every label agrees (the paper; a non-monotone path never does);
    `first_error`: only the index of the first wrong step has to agree; `none`: keep all."""
    sources: tuple[
        Literal["labels", "judge", "tool", "hybrid", "outcome", "people", "injected"], ...
    ] = ("labels", "judge")
    """What has to agree; the first gives the labels. `labels`: stage `label`; `judge`: the
    rationale's votes, or stage `judge`; `tool`: what the code of each step found; `hybrid`: sign
    of tool verdicts and outcome together; `outcome`: whether any step is wrong against the path's
    answer; `people`: the labels that given solutions came with (`solutions`); `injected`: where
    stage `inject` or `mislead` put an error."""
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
class ExportSettings:
    """Stage `export`: the kept paths as conversations."""

    __pydantic_config__ = STRICT

    contradictions: Literal["keep", "drop", "rewrite"] = "keep"
    """A step whose analysis, or code, says the opposite of its label, as far as a detector sees:
    it stays (the paper names no check); `drop`: the conversation ends before it; `rewrite`: stage
    `rewrite` tries to write the verification again without knowing the label, and what still
    contradicts is dropped."""
