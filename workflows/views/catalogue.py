"""The shapes in which a run's dataset can be downloaded, by name.

Invariant: a view is a pure function of a run's rows; asking for another one spends no token.
"""

from __future__ import annotations

from collections.abc import Mapping

from storage.datasets.view import GENPRM, View
from storage.errors import ConfigurationError
from workflows.formats.conversation import CODE, COT, DIRECT
from workflows.views.repairs import INTERVENTION, LAST_STEP
from workflows.views.reward_models import COUNTS, DISCRIMINATIVE, ORM, PAIRS

VIEWS: Mapping[str, View] = {
    view.name: view
    for view in (
        GENPRM, COT, CODE, DIRECT, DISCRIMINATIVE, ORM, COUNTS, PAIRS, INTERVENTION, LAST_STEP,
    )
}  # fmt: skip


def view_named(name: str) -> View:
    """The view of a name. Raises ConfigurationError where there is none."""
    if name not in VIEWS:
        raise ConfigurationError(f"view {name!r} is not one of {', '.join(sorted(VIEWS))}")
    return VIEWS[name]
