"""Whether the sources of a path agree: the rule of the consensus, and the labels that it exports.

The first of `consensus.sources` gives the labels. The others must agree with it, on all steps or on
the first error. The paper's sources are Monte-Carlo labels and a judge, the rationale model itself.
How votes are reduced and how much must agree, the paper leaves open: both are settings.

Invariant: pure. A path is agreed on or has exactly one reason.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import pairwise
from typing import Literal

from storage.rows.records import Agreement
from workflows.judging.ballots import Unread, judge_labels
from workflows.judging.sources import SOURCES, Evidence, Reading
from workflows.labels.rule import first_error
from workflows.settings import ConsensusSettings, JudgeSettings


class Disagreement(StrEnum):
    """Why a path with readable sources is not kept; the list is closed."""

    NON_MONOTONE = "non_monotone"
    """A label is right again after a wrong one: no single index can agree (`all_steps`)."""
    INDEX_MISMATCH = "index_mismatch"
    """Two sources name different first errors."""
    LABEL_MISMATCH = "label_mismatch"
    """The first errors agree, a later label does not."""
    OUTCOME_MISMATCH = "outcome_mismatch"
    """No step is wrong and the answer is, or the other way round."""
    SURPLUS = "surplus"
    """Agreed, but its class has more paths than the other (`balance`)."""


Rule = Literal["all_steps", "first_error"]
"""How much must agree."""
REASONS = frozenset(reason.value for kinds in (Unread, Disagreement) for reason in kinds)


def is_monotone(labels: Sequence[bool]) -> bool:
    """Whether no label is right after a wrong one."""
    return not any(after and not before for before, after in pairwise(labels))


def disagreement(first: Reading, other: Reading, rule: str) -> Disagreement | None:
    """Why `other` disagrees with the labels of `first` under `rule`; None where it agrees."""
    if other.scope == "outcome":
        same = (first_error(first.labels) is None) == other.labels[-1]
        return None if same else Disagreement.OUTCOME_MISMATCH
    theirs = other.labels[: len(first.labels)]  # labels may end with the first wrong step
    by_index = "index" in (first.scope, other.scope)
    monotone = is_monotone(first.labels) and is_monotone(theirs)
    if rule == "all_steps" and by_index and not monotone:
        return Disagreement.NON_MONOTONE
    if first_error(first.labels) != first_error(theirs):
        return Disagreement.INDEX_MISMATCH
    if rule == "all_steps" and first.labels != theirs:
        return Disagreement.LABEL_MISMATCH
    return None


@dataclass(frozen=True, slots=True)
class Agreed:
    """Whether two judgements of a solution agree, and why not; its truth value is whether."""

    reason: Disagreement | None

    def __bool__(self) -> bool:
        """Whether they agree."""
        return self.reason is None


def agree(
    labels: Sequence[bool], judged: Sequence[bool] | int | None, rule: Rule = "all_steps"
) -> Agreed:
    """Whether a judge agrees with the labels of a solution's steps.

    `judged`: its label of each step; or its first error, 0-based, None where no step is wrong.

    >>> bool(agree([True, False], 1))
    True
    >>> agree([True, False], None).reason.value
    'index_mismatch'
    """
    scope = "steps"
    if judged is None or isinstance(judged, int):
        judged, scope = judge_labels(judged, len(labels)), "index"
    first, other = Reading(tuple(labels)), Reading(tuple(judged), scope=scope)
    return Agreed(disagreement(first, other, rule))


def exported_labels(labels: Sequence[bool], settings: ConsensusSettings) -> list[bool]:
    """The labels to export: monotone under `first_error`, and cut as `settings.cut` says."""
    start = first_error(labels)
    if settings.rule == "first_error" and settings.monotone_labels:
        labels = judge_labels(start, len(labels))
    if start is not None and settings.cut != "none":
        end = start + 1
        if settings.cut == "recovery":
            end = next((t for t in range(start, len(labels)) if labels[t]), len(labels))
        labels = labels[:end]
    return list(labels)


def following(
    labels: Sequence[bool], by: Reading, of: Evidence, settings: ConsensusSettings
) -> list[bool]:
    """For each label, whether it is wrong only because an earlier step is.

    `by`: the reading that gave the labels. So it is behind the first error wherever an index alone
    says where that is, or the rule of the consensus calls all later steps wrong, and in a step that
    begins in a state with MC 0, of which no rollout can say anything.
    """
    start = first_error(labels)
    monotone = settings.rule == "first_error" and settings.monotone_labels
    labelled = of.labels if settings.sources[0] == "labels" else None
    dead = [value == 0 for value in labelled.mc] if labelled else []
    return [
        not right
        and start is not None
        and step > start
        and (monotone or by.scope == "index" or dead[step : step + 1] == [True])
        for step, right in enumerate(labels)
    ]


def agreement(
    of: Evidence, settings: ConsensusSettings, judge: JudgeSettings | None = None
) -> Agreement:
    """Decide whether the sources agree on a path under `settings.rule`.

    `all_steps`: every label equals that of the first source. `first_error`: the first errors are
    equal. `none`: every path is kept whose first source can be read. The judge's first error is
    recorded under each rule.
    """
    panel = judge or JudgeSettings()
    read = {name: SOURCES[name](of, settings, panel) for name in settings.sources}
    first = next(iter(read.values()))
    others = list(read.values())[1:]
    reason: Unread | Disagreement | None = None
    chosen: Reading | None = None
    speaker: int | None = None
    if isinstance(first, Unread):
        reason = first
    else:
        chosen, speaker, reason = _agreeing(_overwritten(first, of, settings), others, settings)
    labels = exported_labels(chosen.labels, settings) if chosen else []
    by_judge = read.get("judge")
    judged = by_judge[0].labels if isinstance(by_judge, list) else ()
    return Agreement(
        path_id=of.path_id,
        problem_id=of.problem_id,
        kept=reason is None,
        reason=reason,
        label_first_error=(
            of.labels.first_error if of.labels else first_error(chosen.labels) if chosen else None
        ),
        judge_first_error=first_error(judged),
        rule=settings.rule,
        labels=labels,
        values=list(chosen.values[: len(labels)]) if chosen else [],
        chosen=speaker,
        follows=following(labels, chosen, of, settings) if chosen else [],
    )


def agreements(
    of: Evidence, settings: ConsensusSettings, judge: JudgeSettings | None = None
) -> list[Agreement]:
    """The same for every prefix of a path that the judge verified, the longest first.

    `chosen` counts all of the path's verifications. Where no judge has to agree, the whole path is
    decided on alone.
    """
    if "judge" not in settings.sources or not of.judgements:
        return [agreement(of, settings, judge)]
    places: dict[int, list[int]] = defaultdict(list)
    for at, row in enumerate(of.judgements):
        places[row.steps or of.steps].append(at)
    found = []
    for steps in sorted(places, reverse=True):
        decided = agreement(_prefix(of, steps, places[steps]), settings, judge)
        chosen = None if decided.chosen is None else places[steps][decided.chosen]
        found.append(replace(decided, chosen=chosen))
    return found


def _prefix(of: Evidence, steps: int, places: Sequence[int]) -> Evidence:
    """What is known of a path's first steps; `places`: the verifications that are about them."""
    labels = of.labels
    if labels is not None and steps < len(labels.labels):
        known = labels.labels[:steps]
        labels = replace(labels, labels=known, first_error=first_error(known))
    people = -1 if of.people is not None and of.people >= steps else of.people
    judgements = tuple(of.judgements[at] for at in places)
    return replace(of, steps=steps, labels=labels, judgements=judgements, people=people)


def of_path(parts: Sequence[Agreement]) -> Agreement:
    """One row of what was decided on a path's prefixes, the longest first.

    It is that of the longest prefix that is kept, with the verifications of the others that are.
    """
    kept = [part for part in parts if part.kept]
    if not kept:
        return parts[0]
    also = [part.chosen for part in kept[1:] if part.chosen is not None]
    return replace(kept[0], also=also or None)


def _overwritten(
    readings: Sequence[Reading], of: Evidence, settings: ConsensusSettings
) -> list[Reading]:
    """The readings of the first source; under `outcome_overwrites_last` with a new last label."""
    if not settings.outcome_overwrites_last:
        return list(readings)
    return [replace(each, labels=(*each.labels[:-1], of.right_answer)) for each in readings]


def _agreeing(
    readings: Sequence[Reading],
    others: Sequence[list[Reading] | Unread],
    settings: ConsensusSettings,
) -> tuple[Reading, int | None, Unread | Disagreement | None]:
    """The first reading that all other sources agree with; if none, the first with its reason.

    Returns (reading, index of the verification to export, None or the reason).
    """
    trials: list[tuple[Reading, int | None, Unread | Disagreement | None]] = []
    for first in readings:
        speaker = first.chosen
        reason: Unread | Disagreement | None = None
        for other in others if settings.rule != "none" else ():
            if isinstance(other, Unread):
                reason = other
                break
            troubles = [disagreement(first, each, settings.rule) for each in other]
            if None not in troubles:
                reason = troubles[0]
                break
            speaker = other[troubles.index(None)].chosen if speaker is None else speaker
        if reason is None:
            return first, speaker, None
        trials.append((first, speaker, reason))
    return trials[0]
