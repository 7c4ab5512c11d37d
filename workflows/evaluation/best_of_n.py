"""Best-of-N: which of several solutions to a problem is chosen, and how often that one is right.

    argmax           the solution with the highest score
    weighted vote    the answer with the highest sum of scores
    majority         the commonest answer, no verifier asked
    pass@N           whether any is right: what no choice can beat

A score is an aggregation of a solution's step rewards (min, last, mean, product). Curves over N
cut the candidates of a problem into disjoint chunks of N in their order and average over chunks,
as compute-optimal-tts does (its empty value is -1: a solution without rewards is chosen last).

Invariant: pure; ties go to the first in order, always.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from storage.errors import InputError
from storage.rows.records import Response
from workflows.answers import quick
from workflows.evaluation.processbench import Histories
from workflows.settings import AnswerSettings
from workflows.votes.rewards import AGGREGATES, Aggregate, averaged, solution_score

UNSCORED = -1.0
"""Score of a solution whose rewards could not be had."""

RULES = ("argmax", "vote")


@dataclass(frozen=True, slots=True)
class Candidate:
    """One of the solutions to a problem."""

    answer: str | None
    correct: bool
    rewards: Sequence[float] | None
    """Mean reward per step; None: not verified."""


@dataclass(frozen=True, slots=True)
class BestOfN:
    """Accuracies at one N, in 0..1, over `problems` problems."""

    n: int
    problems: int
    pass_at_1: float
    pass_at_n: float
    majority: float
    chosen: dict[tuple[Aggregate, str], float]
    """(aggregation, `argmax` or `vote`) -> accuracy."""


def candidate_score(candidate: Candidate, aggregate: Aggregate) -> float:
    """The aggregated rewards, or `UNSCORED`."""
    if not candidate.rewards:
        return UNSCORED
    return solution_score(candidate.rewards, aggregate)


def argmax(candidates: Sequence[Candidate], scores: Sequence[float]) -> Candidate:
    """The candidate with the highest score, the first of equals."""
    return candidates[max(range(len(candidates)), key=lambda index: (scores[index], -index))]


def vote(candidates: Sequence[Candidate], weights: Sequence[float]) -> Candidate:
    """The first candidate with the answer of the greatest total weight.

    Answers are the same where text or digits say so; whoever votes over answers that only algebra
    can compare gives equal ones one spelling first (`workflows.answers.grading.alike`). A candidate
    without an answer does not vote, and a negative weight counts as 0. Without any answer: the
    first candidate.
    """
    groups: list[tuple[Candidate, float]] = []
    for candidate, weight in zip(candidates, weights, strict=True):
        if candidate.answer is None:
            continue
        same = next(
            (at for at, (first, _) in enumerate(groups) if _same(first.answer, candidate.answer)),
            None,
        )
        if same is None:
            groups.append((candidate, max(0.0, weight)))
        else:
            groups[same] = (groups[same][0], groups[same][1] + max(0.0, weight))
    if not groups:
        return candidates[0]
    return max(enumerate(groups), key=lambda found: (found[1][1], -found[0]))[1][0]


def majority(candidates: Sequence[Candidate]) -> Candidate:
    """The first candidate with the commonest answer."""
    return vote(candidates, [1.0] * len(candidates))


def _same(left: str | None, right: str) -> bool:
    return left is not None and bool(quick(left, right, AnswerSettings()))


def best_of(problems: Sequence[Sequence[Candidate]], n: int) -> BestOfN:
    """Accuracies at N over the disjoint chunks of N candidates of every problem.

    Raises InputError where a problem has fewer than N candidates.
    """
    if not problems or any(len(candidates) < n for candidates in problems):
        least = min(map(len, problems), default=0)
        raise InputError(f"best of {n} needs {n} solutions per problem; one problem has {least}")

    def accuracy(choose: Callable[[Sequence[Candidate]], bool]) -> float:
        return fmean(fmean(choose(chunk) for chunk in _chunks(each, n)) for each in problems)

    chosen: dict[tuple[Aggregate, str], float] = {}
    for aggregate in AGGREGATES:
        for rule, choose in (("argmax", argmax), ("vote", vote)):

            def by(
                chunk: Sequence[Candidate],
                choose: Callable[[Sequence[Candidate], Sequence[float]], Candidate] = choose,
                aggregate: Aggregate = aggregate,
            ) -> bool:
                scores = [candidate_score(candidate, aggregate) for candidate in chunk]
                return choose(chunk, scores).correct

            chosen[aggregate, rule] = accuracy(by)
    return BestOfN(
        n=n,
        problems=len(problems),
        pass_at_1=fmean(fmean(one.correct for one in each) for each in problems),
        pass_at_n=accuracy(lambda chunk: any(one.correct for one in chunk)),
        majority=accuracy(lambda chunk: majority(chunk).correct),
        chosen=chosen,
    )


def _chunks(candidates: Sequence[Candidate], n: int) -> list[Sequence[Candidate]]:
    return [candidates[at : at + n] for at in range(0, len(candidates) - n + 1, n)]


def candidates_of(
    responses: Sequence[Response], histories: Mapping[str, Histories]
) -> dict[str, list[Candidate]]:
    """problem_id -> its candidates in order, rewards averaged over their histories.

    Raises InputError where it is not known whether an answer is right.
    """
    found: dict[str, list[Candidate]] = {}
    for response in responses:
        if response.correct is None:
            raise InputError(
                f"response {response.response_id!r} does not say whether its answer is right: "
                "best-of-N needs `correct` in every row"
            )
        seen = [one for one in histories.get(response.response_id, ()) if one is not None]
        found.setdefault(response.problem_id, []).append(
            Candidate(response.answer, response.correct, averaged(seen) if seen else None)
        )
    return found


def sizes(n: int) -> list[int]:
    """1, 2, 4, ... up to n, and n itself."""
    powers = [1 << power for power in range(n.bit_length()) if 1 << power <= n]
    return powers if powers[-1] == n else [*powers, n]
