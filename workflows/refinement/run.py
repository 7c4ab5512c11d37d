"""Refinement in turns: score, criticise and ask again, until nothing is judged wrong.

    turn t:  score run of the responses  ->  critiques  ->  refine run  ->  responses of turn t + 1

Each half of a turn is a run of its own: `responses -> score` (`workflows.scoring.run`) and
`critiques -> refine` (here). So committed work is never repeated after a crash. The state between
turns is derived from commits alone.

Invariant: a response in which nothing was judged wrong is accepted: it keeps its solution, and its
last score stands. A response without a new solution keeps its old one and is tried again next turn.
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
    """The configuration of a refine run."""

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
        """The settings of the run's stage."""
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
    """response_id -> its new solution, from the run's commits."""
    rows = (row for commit in run.commits(REFINED.stage) for row in run.rows_of(commit, REFINED))
    return {row.response_id: row for row in rows}


@dataclass(frozen=True, slots=True)
class Standing:
    """The responses between two turns."""

    responses: tuple[Response, ...]
    accepted: frozenset[str] = frozenset()
    """response_ids of the responses in which nothing was judged wrong."""
    turn: int = 0

    @property
    def open(self) -> list[Response]:
        """The responses that are not accepted yet."""
        return [row for row in self.responses if row.response_id not in self.accepted]


def criticised(
    standing: Standing, scores: Iterable[Score], threshold: float = THRESHOLD
) -> tuple[Standing, list[Critique]]:
    """Accept the responses in which nothing is judged wrong, and criticise the others.

    A response without a score (all its histories failed) waits for the next turn.
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
    """The next turn's responses, with the new solutions in place of the old ones."""
    rows = tuple(new.get(row.response_id, row) for row in standing.responses)
    return Standing(rows, standing.accepted, standing.turn + 1)
