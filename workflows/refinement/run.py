"""Refinement in turns: score, criticise, ask again, until nothing is judged wrong.

    turn t:  score run of the responses  ->  critiques  ->  refine run  ->  responses of turn t + 1

Each half of a turn is a run of its own (`critiques -> refine` here, `responses -> score` in
`workflows.scoring.run`), so that whatever was committed before a crash is not asked for again, and
the state between turns is derived from commits alone.

Invariant: a response in which nothing was judged wrong passes through unchanged and is not scored
again; one whose new solution could not be had keeps the old one and is tried again next turn.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

from actors.engines.contract import EngineSettings
from actors.models.identity import bound
from storage.bounds import STRICT
from storage.rows.kinds import CRITIQUES, REFINED, Rows
from storage.rows.records import Critique, Response, Score
from storage.runs.run import Run
from workflows.formats.refinement import RefineSettings, critique_of
from workflows.road import StageSpec
from workflows.runs.configuration import RunConfig
from workflows.stages.kit import Stage
from workflows.stages.refine import REFINE
from workflows.votes.rewards import THRESHOLD


@dataclass(frozen=True, slots=True, kw_only=True)
class RefineModels:
    """The model of a refine run."""

    __pydantic_config__ = STRICT

    generator: EngineSettings
    """Writes the new solutions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RefineConfig(RunConfig):
    """Everything that one turn of asking again needs."""

    __pydantic_config__ = STRICT
    takes: ClassVar[Rows[Critique]] = CRITIQUES

    models: RefineModels
    refine: RefineSettings = field(default_factory=RefineSettings)

    @property
    def road(self) -> tuple[StageSpec, ...]:
        """The one stage of the run."""
        return (REFINE.spec,)

    @property
    def makes(self) -> tuple[Stage, ...]:
        """That stage."""
        return (REFINE,)

    @property
    def settings(self) -> RefineSettings:
        """What its stage is told."""
        return self.refine

    @property
    def heal(self) -> bool:
        """`refine.heal`."""
        return self.refine.heal

    @property
    def binding(self) -> dict[str, Any]:
        """The settings that the new solutions depend on, as plain values."""
        return {
            "refine": asdict(self.refine),
            "engines": {"generator": bound(self.models.generator)},
        }


def refined_of(run: Run) -> dict[str, Response]:
    """response_id -> its new solution, from commits."""
    rows = (row for commit in run.commits(REFINED.stage) for row in run.rows_of(commit, REFINED))
    return {row.response_id: row for row in rows}


@dataclass(frozen=True, slots=True)
class Standing:
    """The responses between two turns."""

    responses: tuple[Response, ...]
    accepted: frozenset[str] = frozenset()
    """response_ids in which nothing was judged wrong: they are done."""
    turn: int = 0

    @property
    def open(self) -> list[Response]:
        """What is still to be looked at."""
        return [row for row in self.responses if row.response_id not in self.accepted]


def criticised(
    standing: Standing, scores: Iterable[Score], threshold: float = THRESHOLD
) -> tuple[Standing, list[Critique]]:
    """Accept what nothing is judged wrong in, and criticise the rest.

    A response without a score (every history came to nothing) is neither: it waits.
    """
    by_id = {row.response_id: row for row in standing.responses}
    accepted, critiques = set(standing.accepted), []
    for score in scores:
        critique = critique_of(by_id[score.response_id], score, standing.turn, threshold)
        if critique is None:
            accepted.add(score.response_id)
        else:
            critiques.append(critique)
    return Standing(standing.responses, frozenset(accepted), standing.turn), critiques


def refined(standing: Standing, new: Mapping[str, Response]) -> Standing:
    """The next turn's responses: new solutions where there are, old ones elsewhere."""
    rows = tuple(new.get(row.response_id, row) for row in standing.responses)
    return Standing(rows, standing.accepted, standing.turn + 1)
