"""Settings of the stages that put errors into right solutions: `inject` and `mislead`.

They are no part of `StageSettings`: only a road that has such a stage has them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from storage.bounds import STRICT, Positive, Share, Temperature

Kind = Literal[
    "off_by_one", "digits_swapped", "digit_lost", "place_shifted", "sign_lost", "base_mixed",
    "operation_mistaken", "operation_swapped", "operand_miscopied", "unit_mixed",
    "premise_skipped",
]  # fmt: skip
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class InjectSettings:
    """Stage `inject`: one error in a right solution, put there and carried on by rule."""

    __pydantic_config__ = STRICT

    trust: Literal["labelled", "all"] = "labelled"
    """Whose steps are known to be right: `labelled`: given solutions whose `label` is -1; `all`:
    every given solution with the right answer, because you say so (reference solutions)."""
    kinds: tuple[Kind, ...] = KINDS
    """The kinds of error, each as likely as the next: `off_by_one`, `digits_swapped`, `digit_lost`,
    `place_shifted` (ten times the result), `sign_lost`, `base_mixed` (the result in base 8),
    `operation_mistaken` (another operation's result), `operation_swapped` (another operation),
    `operand_miscopied`, `unit_mixed` (60, 100 or 1000 times an operand), `premise_skipped`."""
    untouched: Share = 0.5
    """Share of the solutions that stay as they are: all their steps are right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MisleadSettings(InjectSettings):
    """Stage `mislead`: one error in a right solution, which the completion model carries on."""

    __pydantic_config__ = STRICT

    by: Literal["rule", "model"] = "rule"
    """Who puts the error into its step: the rules of stage `inject`, or the completion model, asked
    for one error of a drawn kind."""
    temperature: Temperature = 0.7
    top_p: Share = 1.0
    top_k: int = -1
    max_tokens: Positive = 2048
    """Generated tokens of a wrong step, and of the steps behind it; what is cut is dropped."""
