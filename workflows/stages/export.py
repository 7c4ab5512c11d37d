"""Stage `export`: a training conversation of every path that consensus kept.

A step whose own analysis or code contradicts its label is marked, or the conversation ends before
it: a later turn would answer to a history that lacks it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace

from actors.workers.contract import PureStage, ShardResult, process_now
from storage.errors import ConfigurationError, ItemError
from storage.rows.kinds import (
    AGREEMENTS,
    EXAMPLES,
    FORMALIZED,
    JUDGEMENTS,
    LABELS,
    PATHS,
    PROBLEMS,
    RATIONALES,
    REWRITTEN,
    TREE,
    ShardRows,
)
from storage.rows.readings import counts_of
from storage.rows.records import Agreement, Example, Judgement
from workflows.formats.conversation import Reason, example_of, spoken, unwritten
from workflows.judging.contradictions import ANALYSIS, CODE, contradictions, first_contradicted
from workflows.settings import ExportSettings, StageSettings
from workflows.stages.consensus import VERIFIED
from workflows.stages.kit import Kit, Stage

STEPS, WRONG, UNJUDGED = "steps", "steps wrong", "steps wrong, not judged"
AGAINST = {kind: f"steps that their {kind} contradicts" for kind in (ANALYSIS, CODE)}
CUT = "steps cut for a contradiction"
"""Counts of its commits."""


class ExportStage(PureStage):
    """Stage `export`: makes an example (`example_of`) of each kept path."""

    def __init__(
        self,
        run: str,
        models: Mapping[str, str],
        *,
        executes: bool = True,
        settings: ExportSettings | None = None,
    ) -> None:
        """`models`: role (policy, completer, rationale...) -> identity of the model.

        `executes`: whether the code of rationales is run.
        """
        self._keeps = settings is None or settings.contradictions == "keep"
        self._run = run
        self._models = models
        self._executes = executes

    async def run(self, rows: ShardRows) -> ShardResult[Example]:
        """Make an example of each kept path of a shard."""
        problems = {row.problem_id: row for row in rows[PROBLEMS]}
        paths = {row.path_id: row for row in rows[PATHS]}
        labels = {row.path_id: row for row in rows[LABELS]}
        written_by = (*rows[RATIONALES], *rows[FORMALIZED], *rows[REWRITTEN])  # the last counts
        rationales = {row.path_id: row for row in written_by}
        judgements: dict[str, list[Judgement]] = defaultdict(list)
        for row in rows[JUDGEMENTS]:
            judgements[row.path_id].append(row)
        cut = 0

        def export(kept: Agreement) -> list[Example]:
            nonlocal cut
            name = kept.path_id
            mc = labels[name].mc if name in labels else []
            of, models = (problems[kept.problem_id], paths[name]), self._models
            if origin := paths[name].origin:
                models = {**models, "policy": origin.model}
            by = models, self._run
            follows = kept.follows or []
            if kept.chosen is None and name not in rationales:
                return [replace(unwritten(*of, kept.labels, mc, *by), follows=follows)]
            written = (
                replace(rationales[name], executed=self._executes and rationales[name].executed)
                if kept.chosen is None
                else spoken(judgements[name][kept.chosen])
            )
            against = contradictions(written, kept.labels)
            end = len(kept.labels) if self._keeps else first_contradicted(against)
            cut += len(kept.labels) - end
            if end == 0:
                raise ItemError(Reason.CONTRADICTED, f"by its {against[0]}")
            made = example_of(*of, kept.labels[:end], mc, written, *by)
            return [replace(made, follows=follows[:end], contradicts=against[:end])]

        kept = [row for row in rows[AGREEMENTS] if row.kept]
        examples, drops = process_now(kept, lambda row: row.path_id, export)
        against = [by for example in examples for by in example.contradicts]
        counts = {
            STEPS: sum(len(example.labels) for example in examples),
            WRONG: sum(example.labels.count(False) for example in examples),
            UNJUDGED: sum(example.follows.count(True) for example in examples),
            **{AGAINST[kind]: sum(kind in by for by in against) for kind in AGAINST},
            CUT: cut,
            **counts_of(rows[RATIONALES], examples),
        }
        return ShardResult(tuple(examples), tuple(drops), counts)


def _exporter(kit: Kit[StageSettings]) -> ExportStage:
    executes = kit.settings.rationalize.execute
    return ExportStage(kit.run, kit.models, executes=executes, settings=kit.settings.export)


def _check(settings: StageSettings) -> None:
    rewrites = settings.export.contradictions == "rewrite"
    if rewrites != (REWRITTEN.stage in settings.road):
        raise ConfigurationError(
            "`export.contradictions: rewrite` and stage `rewrite` go together: name it in "
            "`stages.road` between consensus and export, or set `keep` or `drop` and leave it out"
        )


BEFORE = (TREE, LABELS, *VERIFIED)
EXPORT = Stage(
    rows=EXAMPLES,
    role="cpu",
    reads=(PROBLEMS, PATHS, *BEFORE, AGREEMENTS, REWRITTEN),
    without=(*BEFORE, REWRITTEN),
    says="writes the kept paths as conversations that a verifier is trained on",
    settings=ExportSettings,
    check=_check,
    passed="kept by consensus",
    drops=tuple(Reason),
    make=_exporter,
)
