"""All views, by name. A view is a shape in which a run's dataset can be downloaded.

Invariant: a view depends only on a run's rows, so downloading another view costs no tokens.
"""

from __future__ import annotations

from collections.abc import Mapping

from storage.datasets.view import GENPRM, View
from storage.errors import ConfigurationError
from storage.rows.kinds import stage_rows
from storage.runs.run import Run
from workflows.formats.conversation import CODE, COT, DIRECT
from workflows.views import rollouts
from workflows.views.chains import VERIFICATIONS
from workflows.views.repairs import INTERVENTION, LAST_STEP
from workflows.views.reward_models import COUNTS, DISCRIMINATIVE, ORM, PAIRS
from workflows.views.trainers import TRAINERS

VIEWS: Mapping[str, View] = {
    view.name: view
    for view in (
        GENPRM, COT, CODE, DIRECT, DISCRIMINATIVE, ORM, COUNTS, PAIRS, INTERVENTION, LAST_STEP,
        VERIFICATIONS, *TRAINERS,
    )
}  # fmt: skip


def view_of(name: str, run: Run) -> View:
    """The view of this name, or the stored rows of the run's stage of this name.

    Raises ConfigurationError for any other name, and for a view that the run lacks.
    """
    if name == rollouts.NAME:
        return rollouts.rollouts_of(run)
    if name in VIEWS:
        return VIEWS[name]
    if name not in run.spec.stages:
        raise ConfigurationError(
            f"view {name!r} is not one of {', '.join(sorted([*VIEWS, rollouts.NAME]))}, nor a "
            f"stage of the run: {', '.join(run.spec.stages)}"
        )
    title = f"The rows of stage `{name}`, as they are stored."
    return View(name, title, stage_rows(name).record, list, (name,))
