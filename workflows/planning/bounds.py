"""What a build's settings allow, for plans without a run to go by.

The bounds are wide: how many samples a problem needs and how long texts are is the model's matter.
Lengths are published ones, or the settings' own limits where these are lower.

Invariant: a role that can't be bounded is left out, never guessed.
"""

from __future__ import annotations

from workflows.planning.measured import TEXTS, Name
from workflows.planning.ranges import Range
from workflows.settings import StageSettings

SOLUTION_TOKENS = (150, 1000)
"""Of nine in ten solutions: Qwen2.5-Math's 400 published responses to MATH problems have 611 to
1,996 characters (QwenLM/Qwen2.5-Math, Apache License 2.0), at 2 to 4 characters a token."""
VERIFICATION_TOKENS = (1500, 5000)
"""Of a verified solution: GenPRM's Table 9 has 2,771 (MATH) to 4,877 tokens (Minerva) on average
(arXiv 2504.00891, version 1)."""
STEPS = (2, 12)
"""Steps of a solution."""


def bounds(settings: StageSettings, problems: int) -> dict[Name, Range]:
    """The texts and tokens of each role, by settings alone."""
    found: dict[Name, Range] = {}
    road, sample = settings.road, settings.sample
    if "sample" in road and "given" not in road:
        most = sample.per_problem if sample.budget == "knapsack" else sample.cap
        first = min(sample.first_round, most)
        texts = (first, first if sample.select == "all" else most)
        found |= _role("policy", texts, SOLUTION_TOKENS, sample.max_tokens, problems)
    quota = sample.correct + sample.incorrect
    paths = (1, sample.first_round if sample.select == "all" else quota)
    estimate = settings.estimate
    ways = (min(estimate.k_easy, estimate.k_hard), max(estimate.k_easy, estimate.k_hard))
    rollouts = (estimate.probe, estimate.probe + paths[1] * STEPS[1] * ways[1])
    for stage, role in (("estimate", "completer"), ("prover", "prover")):
        if stage in road:
            rest = (SOLUTION_TOKENS[0] // 5, SOLUTION_TOKENS[1])
            found |= _role(role, rollouts, rest, estimate.max_tokens, problems)
    if "rationalize" in road:
        written = settings.rationalize
        texts = (paths[0], paths[1] * written.attempts)
        limit = written.total_tokens
        found |= _role("rationale", texts, VERIFICATION_TOKENS, limit, problems)
    return found


def _role(
    role: str, texts: tuple[int, int], tokens: tuple[int, int], limit: int, problems: int
) -> dict[Name, Range]:
    """`texts` of a problem and `tokens` of a text, each the least and the most."""
    low, high = (min(length, limit) for length in tokens)
    least, most = (problems * number for number in texts)
    return {
        Name(role, TEXTS.get(role, "texts")): Range(least, most),
        Name(role, "tokens"): Range(least * low, most * high),
    }
