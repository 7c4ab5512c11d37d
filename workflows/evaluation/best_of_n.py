"""Best-of-N: choose one of several solutions to a problem, and count how often it is right.

    argmax           the solution with the highest score
    weighted vote    the answer with the highest sum of scores
    majority         the commonest answer, without a verifier
    pass@N           whether any solution is right: the upper bound of every choice

A score aggregates a solution's step rewards (min, last, mean, product). For a smaller N the
candidates of a problem are cut, in order, into disjoint chunks of N. Accuracies are averaged over
the chunks, as compute-optimal-tts does. Its empty value is -1: a solution without rewards is last.

Invariant: all functions are pure; ties go to the first in order.
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
"""Score of a solution without rewards."""


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

    Answers are compared as text and digits. Where only algebra can compare them, give equal answers
    one spelling first (`workflows.answers.grading.alike`). A candidate without an answer has no
    vote. A negative weight counts as 0. Without any answer the first candidate is returned.
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
    return max(enumerate(groups), key=lambda entry: (entry[1][1], -entry[0]))[1][0]


def majority(candidates: Sequence[Candidate]) -> Candidate:
    """The first candidate with the commonest answer."""
    return vote(candidates, [1.0] * len(candidates))


def _same(left: str | None, right: str) -> bool:
    return left is not None and bool(quick(left, right, AnswerSettings()))


def best_of(problems: Sequence[Sequence[Candidate]], n: int) -> BestOfN:
    """Compute the accuracies at N over the disjoint chunks of N candidates of every problem.

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
        pass_at_1=fmean(fmean(candidate.correct for candidate in each) for each in problems),
        pass_at_n=accuracy(lambda chunk: any(candidate.correct for candidate in chunk)),
        majority=accuracy(lambda chunk: majority(chunk).correct),
        chosen=chosen,
    )


def _chunks(candidates: Sequence[Candidate], n: int) -> list[Sequence[Candidate]]:
    return [candidates[at : at + n] for at in range(0, len(candidates) - n + 1, n)]


def candidates_of(
    responses: Sequence[Response], histories: Mapping[str, Histories]
) -> dict[str, list[Candidate]]:
    """problem_id -> its candidates in order, with the rewards averaged over their histories.

    Raises InputError for a response without `correct`.
    """
    candidates: dict[str, list[Candidate]] = {}
    for response in responses:
        if response.correct is None:
            raise InputError(
                f"response {response.response_id!r} does not say whether its answer is right: "
                "best-of-N needs `correct` in every row"
            )
        rows = histories.get(response.response_id, ())
        seen = [rewards for rewards in rows if rewards is not None]
        candidates.setdefault(response.problem_id, []).append(
            Candidate(response.answer, response.correct, averaged(seen) if seen else None)
        )
    return candidates


def sizes(n: int) -> list[int]:
    """1, 2, 4, ... up to n, and n itself."""
    powers = [1 << power for power in range(n.bit_length()) if 1 << power <= n]
    return powers if powers[-1] == n else [*powers, n]
