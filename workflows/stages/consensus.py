"""Stage `consensus`: keeps a path only where its sources agree.

`workflows.judging.agreement` says what agrees. Where a judge verified several prefixes of a path,
the path is kept if any of them is.

Invariant: every path that enters is kept or has exactly one reason out of `REASONS`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum

from actors.workers.contract import PureStage, ShardResult, process_now
from storage.errors import ConfigurationError, ItemError
from storage.rows.kinds import (
    AGREEMENTS,
    ALTERED,
    FORMALIZED,
    GIVEN,
    GROUNDED,
    JUDGEMENTS,
    LABELS,
    PATHS,
    RATIONALES,
    REASONS,
    TREE,
    ShardRows,
)
from storage.rows.records import Agreement, Drop, Judgement
from storage.rows.tree_chains import grounded_chains
from storage.runs.specs import Difference, Spec
from workflows.formats.rationale import Unreadable, check_executed
from workflows.judging.agreement import Disagreement, agreements, of_path
from workflows.judging.ballots import Unread
from workflows.judging.reasons import scored
from workflows.judging.sources import NEEDS, Evidence
from workflows.labels.rule import first_error
from workflows.settings import ConsensusSettings, JudgeSettings, StageSettings
from workflows.stages.judge import READ_BY_CONSENSUS
from workflows.stages.kit import Kit, Stage
from workflows.stages.metaverify import LEAST


class Incomplete(StrEnum):
    """Why a path lacks a source; the list is closed."""

    LABELS_MISSING = "labels_missing"
    """It was verified, and has no labels."""


def check_sources(settings: ConsensusSettings, road: Sequence[str], judge: JudgeSettings) -> None:
    """Raise ConfigurationError for sources that a road, or a prefix, can't give."""
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
    by_outcome = settings.outcome_overwrites_last or "outcome" in settings.sources
    if judge.prefixes > 1 and settings.sources[0] not in ("labels", "people"):
        raise ConfigurationError(
            "`judge.prefixes`: labels of the whole path must come from another source: put that "
            "first in `consensus.sources`, or set it to 1"
        )
    if by_outcome and judge.prefixes > 1:
        raise ConfigurationError(
            "`judge.prefixes`: a prefix has no outcome; set it to 1, or take the outcome out of "
            "`consensus`"
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
        least: float = 0.0,
    ) -> None:
        """`verified`, `labelled`: whether a stage of the road writes verifications, or labels.

        `executes`: whether the code of rationales is run. `least`: the least mean score of a
        verification's reasons, where a second model scored them.
        """
        self._least = least
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
        for row in scored(rows[JUDGEMENTS], rows[REASONS], self._least):
            judgements_of[row.path_id].append(row)
        trees = grounded_chains(rows[GROUNDED])
        people = {name: label for given in rows[GIVEN] for name, label in given.labels.items()}
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
                tuple(trees.get(path_id, ())), people.get(path_id), injected.get(path_id),
            )  # fmt: skip
            return agreements(of, self._settings, self._judge)

        entered = list(rationales) or list(judgements_of)
        if not self._verified:
            selected = [path.path_id for path in rows[PATHS] if path.selected]
            entered = list(labels) if self._labelled else selected
        parts, drops = process_now(entered, str, judge)
        parts = self._balanced(parts, {name: path.correct for name, path in paths.items()})
        parts_of: dict[str, list[Agreement]] = defaultdict(list)
        for part in parts:
            parts_of[part.path_id].append(part)
        judged = [of_path(rows) for rows in parts_of.values()]
        lost = [Drop(row.path_id, row.reason) for row in judged if row.reason is not None]
        return ShardResult(
            tuple(judged), (*drops, *lost), {"kept": sum(row.kept for row in judged)}
        )

    def _balanced(self, judged: list[Agreement], right: dict[str, bool]) -> list[Agreement]:
        """Keep as many paths, or prefixes, of one class as of the other, the first of each."""
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
        least=kit.settings.metaverify.least if kit.reads(REASONS) else 0.0,  # type: ignore[attr-defined]
    )


def _check(settings: StageSettings) -> None:
    check_sources(settings.consensus, settings.road, settings.judge)


def _redone(setting: str, difference: Difference, spec: Spec) -> bool | None:
    return True if setting in (*READ_BY_CONSENSUS, LEAST) else None


VERIFIED = (RATIONALES, FORMALIZED, JUDGEMENTS, GROUNDED)
CONSENSUS = Stage(
    rows=AGREEMENTS,
    role="cpu",
    reads=(PATHS, GIVEN, TREE, LABELS, *VERIFIED, REASONS),
    without=(GIVEN, TREE, LABELS, *VERIFIED, REASONS),
    says="keeps a path only where its labels and what was written of it agree",
    settings=ConsensusSettings,
    check=_check,
    redone=_redone,
    drops=(*Unread, *Disagreement, *Incomplete, Unreadable.NOT_EXECUTED),
    make=_filter,
)
