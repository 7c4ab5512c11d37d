"""Whether a build may take the solutions that it is given.

Invariant: depends only on settings and solutions. Every refusal is a line that says what to change.
"""

from __future__ import annotations

from collections.abc import Sequence

from storage.errors import ConfigurationError
from storage.rows.kinds import GIVEN, REUSED
from storage.rows.records import GivenSolutions, ReusedSolutions
from workflows.settings import StageSettings


def check_handed(
    settings: StageSettings,
    solutions: str | None,
    given: Sequence[GivenSolutions | ReusedSolutions],
) -> None:
    """Refuse a road that does not fit `solutions`, and rollouts that the run would draw again.

    Raises ConfigurationError.
    """
    reuses, road = settings.sample.reuse_rollouts, settings.road
    if reuses and solutions is None:
        raise ConfigurationError(
            "`sample.reuse_rollouts` reads them from `solutions`: name there what `stepmill "
            "download RUN FOLDER --view rollouts` wrote, or leave the setting out"
        )
    kind, other = (REUSED, GIVEN) if reuses else (GIVEN, REUSED)
    if (solutions is None) != (kind.stage not in road) or other.stage in road:
        raise ConfigurationError(
            "`stages.road` has `given` just where `solutions` is set, and `reused` in its place "
            "where `sample.reuse_rollouts` is: correct it, or leave both to the settings"
        )
    for row in given:
        for origin in row.origins if isinstance(row, ReusedSolutions) else ():
            if settings.seed in origin.seeds:
                raise ConfigurationError(
                    f"`stages.seed: {settings.seed}` is a seed of run {origin.run!r}, which made "
                    "the rollouts of `solutions`: this run would draw again what was chosen, and "
                    "count it; set another"
                )
