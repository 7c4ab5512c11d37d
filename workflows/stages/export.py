"""Stage `export`: a training conversation of every path that consensus kept."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace

from actors.workers.contract import PureStage, ShardResult, process_now
from storage.rows.kinds import (
    AGREEMENTS,
    EXAMPLES,
    FORMALIZED,
    JUDGEMENTS,
    LABELS,
    PATHS,
    PROBLEMS,
    RATIONALES,
    TREE,
    ShardRows,
)
from storage.rows.readings import counts_of
from storage.rows.records import Agreement, Example, Judgement
from workflows.formats.conversation import Reason, example_of, spoken, unwritten
from workflows.settings import StageSettings
from workflows.stages.consensus import VERIFIED
from workflows.stages.kit import Kit, Stage


class ExportStage(PureStage):
    """Stage `export`: makes an example (`example_of`) of each kept path."""

    def __init__(self, run: str, models: Mapping[str, str], *, executes: bool = True) -> None:
        """`models`: role (policy, completer, rationale...) -> identity of the model.

        `executes`: whether the code of rationales is run.
        """
        self._run = run
        self._models = models
        self._executes = executes

    async def run(self, rows: ShardRows) -> ShardResult[Example]:
        """Make an example of each kept path of a shard."""
        problems = {row.problem_id: row for row in rows[PROBLEMS]}
        paths = {row.path_id: row for row in rows[PATHS]}
        labels = {row.path_id: row for row in rows[LABELS]}
        rationales = {row.path_id: row for row in (*rows[RATIONALES], *rows[FORMALIZED])}

        judgements: dict[str, list[Judgement]] = defaultdict(list)
        for row in rows[JUDGEMENTS]:
            judgements[row.path_id].append(row)

        def export(kept: Agreement) -> list[Example]:
            name = kept.path_id
            mc = labels[name].mc if name in labels else []
            of = problems[kept.problem_id], paths[name], kept.labels, mc
            by = self._models, self._run, kept.follows or ()
            if kept.chosen is None and name not in rationales:
                return [unwritten(*of, *by)]
            written = (
                replace(rationales[name], executed=self._executes and rationales[name].executed)
                if kept.chosen is None
                else spoken(judgements[name][kept.chosen])
            )
            return [example_of(*of, written, *by)]

        kept = [row for row in rows[AGREEMENTS] if row.kept]
        examples, drops = process_now(kept, lambda row: row.path_id, export)
        steps = sum(len(example.labels) for example in examples)
        counts = {
            "steps": steps,
            "steps wrong": sum(example.labels.count(False) for example in examples),
            "steps wrong, not judged": sum(example.follows.count(True) for example in examples),
            **counts_of(rows[RATIONALES], examples),
        }
        return ShardResult(tuple(examples), tuple(drops), counts)


def _exporter(kit: Kit[StageSettings]) -> ExportStage:
    return ExportStage(kit.run, kit.models, executes=kit.settings.rationalize.execute)


BEFORE = (TREE, LABELS, *VERIFIED)
EXPORT = Stage(
    rows=EXAMPLES,
    role="cpu",
    reads=(PROBLEMS, PATHS, *BEFORE, AGREEMENTS),
    without=BEFORE,
    says="writes the kept paths as conversations that a verifier is trained on",
    passed="kept by consensus",
    drops=tuple(Reason),
    make=_exporter,
)
