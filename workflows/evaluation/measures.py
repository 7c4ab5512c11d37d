"""Measures of a verifier on a benchmark: a long table, one figure per row.

    processbench   f1, error_accuracy, correct_accuracy by subset and number of histories.
                   Subset "" is the average over subsets; f1_spread is the average's standard
                   deviation over benchmarks of this size.
    bon            pass_at_1, pass_at_n, majority (no verifier), and argmax_X, vote_X for every
                   aggregation X, by number of solutions. Also what early stopping would save

Invariant: all functions are pure. Every figure is computed from labelled responses and stored
rewards. Its row has the number of solutions (or problems) and the threshold.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from storage.errors import InputError
from storage.rows.records import Response, Score
from workflows.evaluation import best_of_n, probes, processbench, stopping
from workflows.evaluation.processbench import Histories
from workflows.votes.rewards import Aggregate, averaged, solution_score

Suite = Literal["processbench", "bon"]

AFTER_STEPS, KEEP = 2, 0.5
"""The replayed early rejection: the steps before it, and the share of candidates that go on."""
HIGH, SURE = 0.9, 8.0
"""The replayed reliability-based stopping: the leader's least mean and concentration."""


@dataclass(frozen=True, slots=True)
class Measure:
    """One figure."""

    verifier: str
    subset: str
    """"": over all subsets."""
    measure: str
    k: int
    """Histories whose rewards are averaged, or solutions to choose from."""
    value: float
    solutions: int
    """Solutions, or problems, behind it."""
    threshold: float | None
    """A step with a reward below it is wrong; None where the measure uses none."""


def check_suite(responses: Sequence[Response], suite: Suite, n: int) -> None:
    """Raise InputError for a file of another suite, or too few solutions per problem."""
    if suite == "processbench":
        bare = next((row for row in responses if row.label is None), None)
        if bare is not None:
            raise InputError(
                f"response {bare.response_id!r} has no `label`: this is no ProcessBench file; "
                "for several answers to a problem use --suite bon"
            )
        processbench.score(
            processbench.Judgement(row.subset, row.label, None)
            for row in responses
            if row.label is not None
        )
        return
    problems = best_of_n.candidates_of(responses, {})
    short = next((name for name, candidates in problems.items() if len(candidates) < n), None)
    if short is not None:
        raise InputError(
            f"problem {short!r} has {len(problems[short])} responses, and best of {n} needs {n}: "
            "give more, ask for a smaller --n, or use --suite processbench"
        )


def histories_of(scores: Iterable[Score], n: int) -> dict[str, Histories]:
    """response_id -> the rewards of its n histories; None for a history without rewards."""
    by_response: dict[str, Histories] = {}
    for score in scores:
        rows: list[Sequence[float] | None] = [None] * n
        for history in score.histories:
            rows[history.history] = history.rewards
        by_response[score.response_id] = rows
    return by_response


def processbench_measures(
    verifier: str,
    responses: Sequence[Response],
    histories: Mapping[str, Histories],
    n: int,
    threshold: float,
    pruned: bool = False,
) -> list[Measure]:
    """Compute F1 and its parts per subset and on average, for 1, 2, 4, ... n histories.

    `pruned`: histories end where the verdict of all n is decided, so only n is measured.
    """
    measures: list[Measure] = []
    for k in [n] if pruned else best_of_n.sizes(n):
        score = processbench.maj_at(responses, histories, k, n, threshold)
        for subset in score.subsets:
            size = subset.erroneous + subset.correct
            measures += [
                Measure(verifier, subset.subset, name, k, value, size, threshold)
                for name, value in (
                    ("f1", subset.f1),
                    ("error_accuracy", subset.error_accuracy),
                    ("correct_accuracy", subset.correct_accuracy),
                )
            ]
        spread = processbench.f1_spread(responses, histories, k, n, threshold)
        measures += [
            Measure(verifier, "", name, k, value, len(responses), threshold)
            for name, value in (("f1", score.f1), ("f1_spread", spread))
        ]
    odd, seen = processbench.right_answer_wrong_process(responses, histories, n, threshold)
    if seen is not None:
        name = "right_answer_wrong_process"
        measures.append(Measure(verifier, "", name, n, seen, odd, threshold))
    return measures if pruned else measures + _at_last(verifier, histories, n)


def bon_measures(
    verifier: str,
    responses: Sequence[Response],
    histories: Mapping[str, Histories],
    n: int,
    per_response: int,
) -> list[Measure]:
    """Compute the accuracy of every choice among 1, 2, ... n solutions, and early stopping's."""
    problems = list(best_of_n.candidates_of(responses, histories).values())
    measures: list[Measure] = []
    for k in best_of_n.sizes(n):
        best = best_of_n.best_of([candidates[:n] for candidates in problems], k)
        for name, value in (
            ("pass_at_1", best.pass_at_1),
            ("pass_at_n", best.pass_at_n),
            ("majority", best.majority),
            *((f"{rule}_{aggregate}", v) for (aggregate, rule), v in best.chosen.items()),
        ):
            measures.append(Measure(verifier, "", name, k, value, len(problems), None))
    measures += _stopped(verifier, responses, histories, n, per_response)
    return measures + _at_last(verifier, histories, per_response)


def _stopped(
    verifier: str,
    responses: Sequence[Response],
    histories: Mapping[str, Histories],
    n: int,
    per_response: int,
) -> list[Measure]:
    """Replay early rejection and, with several histories, reliability-based stopping."""
    early: list[tuple[bool, float]] = []
    sure: list[tuple[bool, float]] = []
    grouped: dict[str, list[Response]] = {}
    for response in responses:
        grouped.setdefault(response.problem_id, []).append(response)
    for group in grouped.values():
        rows = [
            [rewards for rewards in histories.get(row.response_id, ()) if rewards is not None]
            for row in group[:n]
        ]
        if not all(rows):
            continue  # a solution that could not be verified: the replay would not be the rule's
        means = [averaged(each) for each in rows]
        choice = stopping.early_rejection(means, AFTER_STEPS, KEEP)
        early.append((bool(group[choice.chosen].correct), choice.steps / choice.all_steps))
        if per_response > 1 and all(len(each) == per_response for each in rows):
            scores = [[solution_score(rewards, "min") for rewards in each] for each in rows]
            stop = stopping.reliable_choice(scores, HIGH, SURE)
            share = stop.verifications / stop.all_verifications
            sure.append((bool(group[stop.chosen].correct), share))
    measures: list[Measure] = []
    for name, cost, replays in (
        ("early_rejection", "early_rejection_steps", early),
        ("reliable_stopping", "reliable_stopping_verifications", sure),
    ):
        if replays:
            right, share = map(fmean, zip(*replays, strict=True))
            measures.append(Measure(verifier, "", name, n, right, len(replays), None))
            measures.append(Measure(verifier, "", cost, n, share, len(replays), None))
    return measures


def _at_last(verifier: str, histories: Mapping[str, Histories], n: int) -> list[Measure]:
    present = [[rewards for rewards in rows if rewards is not None] for rows in histories.values()]
    share = probes.min_at_last([averaged(rows) for rows in present if rows])
    if share is None:
        return []
    return [Measure(verifier, "", "min_at_last", n, share, len(present), None)]


def probe_responses(responses: Sequence[Response], probe: str) -> list[Response]:
    """The responses that a probe asks about. Raises InputError where it finds none."""
    rewrite = {
        probes.REVERSED: lambda row: probes.reversed_steps(row),
        probes.RESTYLED: lambda row: probes.restyled(row),
        probes.CORRUPTED: lambda row: probes.corrupted(row),
    }[probe]
    rewritten = [row for row in map(rewrite, responses) if row is not None]
    if not rewritten:
        raise InputError(f"--probe {probe}: no response that it could be made from")
    return rewritten


def probe_measures(
    verifier: str,
    probe: str,
    responses: Sequence[Response],
    asked: Sequence[Response],
    plain: Mapping[str, Histories],
    answered: Mapping[str, Histories],
    n: int,
    threshold: float,
    aggregate: Aggregate = "min",
) -> list[Measure]:
    """The measures of a probe; `asked`: its responses, `answered`: their rewards."""
    before, after = _means(plain), _means(answered)

    def measure(name: str, value: float) -> Measure:
        return Measure(verifier, "", name, n, value, len(asked), threshold)

    if probe == probes.CORRUPTED:
        caught, fall = probes.corruption_caught(asked, before, after)
        return [measure("corruption_caught", caught), measure("corruption_fall", fall)]
    if probe == probes.RESTYLED:
        scores = {name: solution_score(rewards, aggregate) for name, rewards in before.items()}
        styled = probes.plain_scores(
            after, probe, lambda rewards: solution_score(rewards, aggregate)
        )
        return [measure("style_delta", probes.style_delta(scores, styled))]
    both: dict[str, Histories] = {}
    back = probes.plain_rewards(after, probe)
    for name in before.keys() & back.keys():
        both[name] = [probes.bidirectional(before[name], back[name])]
    alone: dict[str, Histories] = {name: [rewards[::-1]] for name, rewards in back.items()}
    return [
        measure(f"{name}_f1", processbench.maj_at(responses, rewards, 1, 1, threshold).f1)
        for name, rewards in (("reversed", alone), ("bidirectional", both))
    ]


def _means(histories: Mapping[str, Histories]) -> dict[str, list[float]]:
    present = {name: [row for row in rows if row is not None] for name, rows in histories.items()}
    return {name: averaged(rows) for name, rows in present.items() if rows}
