"""What a build's settings allow, for plans without a run to go by.

How many samples a problem needs and how long texts are is the model's matter: each average is known
only by its bounds. Lengths are published ones, or the settings' own limits where these are lower.

Invariant: a role that can't be bounded is left out, never guessed.
"""

from __future__ import annotations

from storage.rows.kinds import PITS
from workflows.planning.measured import TEXTS, Name
from workflows.planning.ranges import Range, product
from workflows.settings import StageSettings

SOLUTION_TOKENS = (150, 1000)
"""Of nine in ten solutions: Qwen2.5-Math's 400 published responses to MATH problems have 611 to
1,996 characters (QwenLM/Qwen2.5-Math, Apache License 2.0), at 2 to 4 characters a token."""
REST = 1 / 5
"""Least share of a solution that a rollout writes: the rest of it."""
VERIFICATION_TOKENS = (1500, 5000)
"""Of a verified solution: GenPRM's Table 9 has 2,771 (MATH) to 4,877 tokens (Minerva) on average
(arXiv 2504.00891, version 1)."""
STEPS = (2, 12)
"""Steps of a solution."""


def bounds(settings: StageSettings, problems: int) -> dict[Name, Range]:
    """The texts and tokens of each role, by settings alone."""
    found: dict[Name, Range] = {}
    road, sample, estimate = settings.road, settings.sample, settings.estimate

    def add(role: str, texts: Range, tokens: tuple[float, float], limit: int) -> None:
        length = Range(min(tokens[0], limit), min(tokens[1], limit))
        found[Name(role, TEXTS.get(role, "texts"))] = texts.times(problems)
        found[Name(role, "tokens")] = product(texts, length).times(problems)

    if "sample" in road and not {"given", "ground"} & set(road):
        most = sample.per_problem if sample.budget == "knapsack" else sample.cap
        first = min(sample.first_round, most)
        drawn = Range(first, first if sample.select == "all" else most)
        add("policy", drawn, SOLUTION_TOKENS, sample.max_tokens)
    quota = sample.correct + sample.incorrect
    paths = Range(1, sample.first_round if sample.select == "all" else quota)
    ways = sorted((estimate.k_easy, estimate.k_medium, estimate.k_hard))
    rolled = product(paths, Range(*STEPS), Range(ways[0], ways[-1]))
    if PITS.stage in road and rolled.high is not None and paths.high is not None:
        around = 2 * getattr(settings, PITS.stage).rollouts
        rolled = Range(rolled.low, rolled.high + paths.high * around)
    rest = (REST * SOLUTION_TOKENS[0], SOLUTION_TOKENS[1])
    for stage, role in (("estimate", "completer"), ("prover", "prover")):
        if stage in road:
            add(role, rolled, rest, estimate.max_tokens)
    if "rationalize" in road:
        written = settings.rationalize
        texts = product(paths, Range(1, written.attempts))
        add("rationale", texts, VERIFICATION_TOKENS, written.total_tokens)
    return found
