"""Labels and agreements of a run under other settings, from its stored rows alone.

    relabel(run, LabelSettings(form="soft", threshold=0.5))
    relabel(run, LabelSettings(estimate="posterior"), ConsensusSettings(rule="first_error"))

Invariant: the stages that made the run's labels make these; no model is asked, no token is spent
and nothing is written. Settings that the stored rollouts can't answer are refused.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

from actors.stage import ShardRows
from storage.layout import KINDS
from storage.records import Agreement, Drop, Path, PathLabels, StateRollouts
from storage.runs import Run
from workflows.chain_fit import fit
from workflows.consensus import ConsensusStage
from workflows.labels import LabelStage
from workflows.pilot import chain_in, pilot_paths
from workflows.posterior import Chain
from workflows.settings import ConsensusSettings, JudgeSettings, LabelSettings


@dataclass(frozen=True, slots=True)
class Relabelled:
    """What a run's rows say under other settings, in the order of its shards."""

    labels: tuple[PathLabels, ...]
    agreements: tuple[Agreement, ...]
    """Empty where no consensus was asked for; only paths with a stored rationale have one."""
    drops: tuple[Drop, ...]
    """Paths without labels, rationales without labels, and paths that are not kept."""

    @property
    def reasons(self) -> dict[str, int]:
        """Drops by reason."""
        return dict(Counter(drop.reason for drop in self.drops))


async def relabel(
    run: Run,
    settings: LabelSettings,
    consensus: ConsensusSettings | None = None,
    *,
    judge: JudgeSettings | None = None,
    chain: Chain | None = None,
) -> Relabelled:
    """Labels of every path whose estimate is committed, and with `consensus` their agreements.

    `chain` is what `estimate: posterior` uses; None: the run's own (see `own_chain`). Reads shard
    by shard, holds labels and agreements. Raises ConfigurationError for labels that the stored
    rollouts can't give.
    """
    if settings.estimate == "posterior" and chain is None:
        chain = own_chain(run)
    label = LabelStage(settings, chain)
    labels: list[PathLabels] = []
    agreements: list[Agreement] = []
    drops: list[Drop] = []
    verifier = "judge" if "judge" in run.spec.stages else "rationalize"
    judged = run.shards_of(verifier) if consensus else set()
    for shard in sorted(run.shards_of("estimate")):
        rows = ShardRows(
            paths=tuple(run.read_rows("sample", shard, Path)),
            rollouts=tuple(run.read_rows("estimate", shard, StateRollouts)),
        )
        made = await label.run(rows)
        labels += made.rows
        drops += made.drops
        if consensus is not None and shard in judged:
            said = tuple(run.read_rows(verifier, shard, KINDS[verifier]))
            field = {"judge": "judgements", "rationalize": "rationales"}[verifier]
            agreed = await ConsensusStage(consensus, judge).run(
                replace(rows, rollouts=(), labels=made.rows, **{field: said})
            )
            agreements += agreed.rows
            drops += agreed.drops
    return Relabelled(tuple(labels), tuple(agreements), tuple(drops))


def own_chain(run: Run, most: int = 300) -> Chain:
    """The chain that the run was started with; of an exact run, one fitted to its own rollouts.

    Raises ConfigurationError where the run has neither.
    """
    return chain_in(run) or fit(pilot_paths(run, most))
