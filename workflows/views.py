"""The shapes in which a run's dataset can be downloaded, by name.

Invariant: a view is a pure function of a run's rows; asking for another one spends no token.
"""

from __future__ import annotations

from collections.abc import Mapping

from storage.views import GENPRM, View
from workflows.exports import CODE, COT, DIRECT
from workflows.judge_views import INTERVENTION, LAST_STEP
from workflows.reward_views import COUNTS, DISCRIMINATIVE, ORM, PAIRS

VIEWS: Mapping[str, View] = {
    view.name: view
    for view in (
        GENPRM, COT, CODE, DIRECT, DISCRIMINATIVE, ORM, COUNTS, PAIRS, INTERVENTION, LAST_STEP,
    )
}  # fmt: skip
