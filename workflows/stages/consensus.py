"""Stage `consensus`: keeps a path only where its sources agree.

The first of `consensus.sources` gives the labels. The others must agree with it, on all steps or on
the first error. The paper's sources are Monte-Carlo labels and a judge, the rationale model itself.
How votes are reduced and how much must agree, the paper leaves open: both are settings.

Invariant: every path that enters is kept or has exactly one reason out of `REASONS`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import pairwise
from typing import Literal

from actors.workers.contract import PureStage, ShardResult, process_now
from storage.errors import ConfigurationError, ItemError
from storage.rows.kinds import (
    AGREEMENTS,
    ALTERED,
    FORMALIZED,
    GIVEN,
    JUDGEMENTS,
    LABELS,
    PATHS,
    RATIONALES,
    TREE,
    ShardRows,
)
from storage.rows.records import Agreement, Drop, Judgement
from storage.runs.specs import Difference, Spec
from workflows.formats.rationale import Unreadable, check_executed
from workflows.judging.ballots import Unread
from workflows.judging.sources import NEEDS, SOURCES, Evidence, Reading
from workflows.labels.rule import first_error
from workflows.settings import ConsensusSettings, JudgeSettings, StageSettings
from workflows.stages.judge import READ_BY_CONSENSUS
from workflows.stages.kit import Kit, Stage


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


class Incomplete(StrEnum):
    """Why a path lacks a source; the list is closed."""

    LABELS_MISSING = "labels_missing"
    """It was verified, and has no labels."""


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
        at, scope = len(labels) if judged is None else judged, "index"
        judged = [step < at for step in range(len(labels))]
    first, other = Reading(tuple(labels)), Reading(tuple(judged), scope=scope)
    return Agreed(disagreement(first, other, rule))


def exported_labels(labels: Sequence[bool], settings: ConsensusSettings) -> list[bool]:
    """The labels to export: monotone under `first_error`, and cut as `settings.cut` says."""
    start = first_error(labels)
    if settings.rule == "first_error" and settings.monotone_labels:
        labels = [start is None or step < start for step in range(len(labels))]
    if start is not None and settings.cut != "none":
        end = start + 1
        if settings.cut == "recovery":
            end = next((t for t in range(start, len(labels)) if labels[t]), len(labels))
        labels = labels[:end]
    return list(labels)


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
    )


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


def check_sources(settings: ConsensusSettings, road: Sequence[str]) -> None:
    """Raise ConfigurationError for sources that a road can't give."""
    if not settings.sources or len(set(settings.sources)) < len(settings.sources):
        raise ConfigurationError("`consensus.sources`: name each source once, at least one")
    if settings.sources[0] == "outcome":
        raise ConfigurationError("`consensus.sources`: `outcome` gives no labels: put it last")
    for source in settings.sources:
        if not set(NEEDS[source]) & set(road):
            raise ConfigurationError(
                f"`consensus.sources`: {source!r} needs {' or '.join(NEEDS[source])} in "
                "`stages.road`"
            )


class ConsensusStage(PureStage):
    """Stage `consensus`: applies `agreement` to each path of a shard.

    A path without a verification ended earlier. On a road without verifications, labels decide.
    """

    def __init__(
        self,
        settings: ConsensusSettings,
        judge: JudgeSettings | None = None,
        *,
        verified: bool = True,
        labelled: bool = True,
        executes: bool = True,
    ) -> None:
        """`verified`, `labelled`: whether a stage of the road writes verifications, or labels.

        `executes`: whether the code of rationales is run.
        """
        self._settings = settings
        self._judge = judge or JudgeSettings()
        self._verified = verified
        self._labelled = labelled
        self._executes = executes

    async def run(self, rows: ShardRows) -> ShardResult[Agreement]:
        """Decide on every path that enters: a row for each, and a drop for each that is not kept.

        A rationale that shows unrun code or output is dropped as `not_executed`, without a row.
        """
        labels = {row.path_id: row for row in rows[LABELS]}
        paths = {row.path_id: row for row in rows[PATHS]}
        rationales = {row.path_id: row for row in (*rows[RATIONALES], *rows[FORMALIZED])}
        judgements_of: dict[str, list[Judgement]] = defaultdict(list)
        for row in rows[JUDGEMENTS]:
            judgements_of[row.path_id].append(row)
        people = {
            f"{given.problem_id}#{index}": solution.label
            for given in rows[GIVEN]
            for index, solution in enumerate(given.solutions)
        }

        injected = {row.path_id: row for kind in ALTERED for row in rows[kind]}

        def judge(path_id: str) -> list[Agreement]:
            labelled, path = labels.get(path_id), paths.get(path_id)
            rationale, judgements = rationales.get(path_id), tuple(judgements_of[path_id])
            if labelled is None and "labels" in self._settings.sources:
                raise ItemError(Incomplete.LABELS_MISSING, "a verification without labels")
            if rationale is not None and rationale.executed and self._executes:
                check_executed(rationale.analyses, rationale.verifications, rationale.executions)
            steps = len(path.steps) if path else len(labelled.labels) if labelled else 0
            problem = rationale or (judgements[0] if judgements else labelled or paths[path_id])
            of = Evidence(
                path_id, problem.problem_id, steps, path, labelled, rationale, judgements,
                people.get(path_id), injected.get(path_id),
            )  # fmt: skip
            return [agreement(of, self._settings, self._judge)]

        entered = list(rationales) or list(judgements_of)
        if not self._verified:
            selected = [path.path_id for path in rows[PATHS] if path.selected]
            entered = list(labels) if self._labelled else selected
        judged, drops = process_now(entered, str, judge)
        judged = self._balanced(judged, {name: path.correct for name, path in paths.items()})
        lost = [Drop(row.path_id, row.reason) for row in judged if row.reason is not None]
        return ShardResult(
            tuple(judged), (*drops, *lost), {"kept": sum(row.kept for row in judged)}
        )

    def _balanced(self, judged: list[Agreement], right: dict[str, bool]) -> list[Agreement]:
        """Keep as many paths of one class as of the other, the first ones of each."""
        if self._settings.balance == "none":
            return judged

        def kind(row: Agreement) -> bool:
            by_verdict = self._settings.balance == "verdict"
            return first_error(row.labels) is None if by_verdict else right[row.path_id]

        kept = [row for row in judged if row.kept]
        room = min(sum(map(kind, kept)), len(kept) - sum(map(kind, kept)))
        taken = {True: 0, False: 0}
        balanced = []
        for row in judged:
            if row.kept:
                taken[kind(row)] += 1
                if taken[kind(row)] > room:
                    row = replace(row, kept=False, reason=Disagreement.SURPLUS)
            balanced.append(row)
        return balanced


def _filter(kit: Kit[StageSettings]) -> ConsensusStage:
    return ConsensusStage(
        kit.settings.consensus,
        kit.settings.judge,
        verified=any(kit.reads(kind) for kind in VERIFIED),
        labelled=kit.reads(LABELS),
        executes=kit.settings.rationalize.execute,
    )


def _check(settings: StageSettings) -> None:
    check_sources(settings.consensus, settings.road)


def _redone(setting: str, difference: Difference, spec: Spec) -> bool | None:
    return True if setting in READ_BY_CONSENSUS else None


VERIFIED = (RATIONALES, FORMALIZED, JUDGEMENTS)
CONSENSUS = Stage(
    rows=AGREEMENTS,
    role="cpu",
    reads=(PATHS, GIVEN, *ALTERED, TREE, LABELS, *VERIFIED),
    without=(GIVEN, *ALTERED, TREE, LABELS, *VERIFIED),
    says="keeps a path only where its labels and what was written of it agree",
    settings=ConsensusSettings,
    check=_check,
    redone=_redone,
    drops=(*Unread, *Disagreement, *Incomplete, Unreadable.NOT_EXECUTED),
    make=_filter,
)
