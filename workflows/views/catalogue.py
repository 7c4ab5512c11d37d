"""The shapes in which a run's dataset can be downloaded, by name.

Invariant: a view is a pure function of a run's rows; asking for another one spends no token.
"""

from __future__ import annotations

from collections.abc import Mapping

from storage.datasets.view import GENPRM, View
from storage.errors import ConfigurationError
from storage.rows.kinds import stage_rows
from storage.runs.run import Run
from workflows.formats.conversation import CODE, COT, DIRECT
from workflows.views.repairs import INTERVENTION, LAST_STEP
from workflows.views.reward_models import COUNTS, DISCRIMINATIVE, ORM, PAIRS

VIEWS: Mapping[str, View] = {
    view.name: view
    for view in (
        GENPRM, COT, CODE, DIRECT, DISCRIMINATIVE, ORM, COUNTS, PAIRS, INTERVENTION, LAST_STEP,
    )
}  # fmt: skip


def view_of(name: str, run: Run) -> View:
    """A view by its name, or the rows of one stage of a run, as they are stored, by its.

    Raises ConfigurationError.
    """
    if name in VIEWS:
        return VIEWS[name]
    if name not in run.spec.stages:
        raise ConfigurationError(
            f"view {name!r} is not one of {', '.join(sorted(VIEWS))}, nor a stage of the run: "
            f"{', '.join(run.spec.stages)}"
        )
    title = f"The rows of stage `{name}`, as they are stored."
    return View(name, title, stage_rows(name).record, list, (name,))
