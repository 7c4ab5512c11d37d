"""The floor on a stage's yield: when hardly any text is of use, and what a person is told then.

Texts that say something count as usable, however wrong: problems that are too hard, labels that
nobody agrees with and all that the rules drop never come near the floor. What comes near it is a
model that is asked in a form that it can't answer in.

Invariant: pure; the numbers are sums over the whole stage, whoever made it and when.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

from actors.workers.yields import SHOWN, Yield
from storage.bounds import Share
from storage.errors import BelowFloor

TEXTS = 48
"""Texts of a stage before its yield means anything."""
REPLIES = 16
"""Requests that they must have come from: a hard problem's samples all fail together."""


def _off(value: Any) -> Any:
    """What YAML reads in `off`."""
    return "off" if value is False else value


FloorSetting = Annotated[Literal["off"] | Share, BeforeValidator(_off)]

SOLUTIONS = ("sample", "estimate", "prover", "search", "retry")
"""Stages whose texts are solutions."""
TEMPLATE = "compare its chat template with the one that it was trained with"
ADVICE: Mapping[str, str] = {
    "no_box": f"the model does not end with \\boxed{{}}: {TEMPLATE}, see what "
    "`stages.sample.system` asks of it, show it `stages.sample.examples`, or take a model that can",
    "one_step": f"the model does not write `Step 2:` and so on: {TEMPLATE}, show it "
    "`stages.sample.examples`, or take a model that can",
    "truncated": "the model does not come to an end: compare its chat template and its end-of-text "
    "tokens with those that it was trained with, or raise `{limit}`",
}
"""Flaw of a solution -> what to change."""
ADVICE_ON: Mapping[str, str] = {
    "rationalize": f"the rationale model does not keep the form of a verification: {TEMPLATE}, "
    "show it `stages.rationalize.examples`, or take a stronger one",
    "judge": f"the judge does not keep the form of a verdict: {TEMPLATE}, or take a stronger one",
    "score": f"the verifier does not answer as one does: {TEMPLATE}, and `verify.mode` with what "
    "it was trained for",
    "refine": f"the generator does not write a solution in steps: {TEMPLATE}, or take another one",
    "repair": f"the judge does not write one step: {TEMPLATE}, or take a stronger one",
}
"""Stage -> what to change."""
LIMITS: Mapping[str, str] = {
    "sample": "stages.sample.max_tokens",
    "rationalize": "stages.rationalize.total_tokens",
    "judge": "stages.judge.max_tokens",
    "repair": "stages.repair.max_tokens",
    "refine": "refine.max_tokens",
    "score": "models.verifier.max_model_len",
}
"""Stage -> the setting of its longest text; those that are left out have that of `estimate`."""


@dataclass(frozen=True, slots=True)
class YieldFloor:
    """Stops a stage of which too small a share is usable."""

    share: float

    def below(self, seen: Yield) -> bool:
        """Whether less is usable."""
        return seen.usable < self.share * seen.texts

    def enough(self, seen: Yield) -> bool:
        """Whether it is more than an accident."""
        return seen.texts >= TEXTS and seen.replies >= REPLIES

    def stop(self, run: str, stage: str, seen: Yield) -> BelowFloor:
        """The reason, what to change, and what the model wrote."""
        lost = seen.unusable.most_common()
        reasons = ", ".join(f"{reason} {number:,}" for reason, number in lost)
        total = seen.unusable.total()
        said = (
            f"run {run} stopped in stage {stage}: of {seen.texts:,} texts {total:,} are of no use "
            f"({reasons}), so that fewer than the floor of {self.share:.0%} are left. "
            f"{_advice(stage, lost[0][0])}; `floor: off` in the configuration goes on all the same."
        )
        texts = [text for reason, _ in lost for text in seen.shown.get(reason, [])]
        shown = [f"  {of.item} ({of.flaw}): {of.text or '(empty)'}" for of in texts[:SHOWN]]
        return BelowFloor("\n".join([said, *shown]))


def floor_of(setting: Literal["off"] | float) -> YieldFloor | None:
    """The floor of a configuration; None: off."""
    return None if setting == "off" else YieldFloor(float(setting))


def _advice(stage: str, flaw: str) -> str:
    steps = "one_step" if flaw in ("step_gap", "empty_step") else flaw
    by_flaw = stage in SOLUTIONS or flaw == "truncated"
    advice = ADVICE[steps] if by_flaw and steps in ADVICE else ADVICE_ON.get(stage, TEMPLATE)
    advice = advice.replace("{limit}", LIMITS.get(stage, "stages.estimate.max_tokens"))
    return advice[0].upper() + advice[1:]
