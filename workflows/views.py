"""The shapes in which a run's dataset can be downloaded, by name.

Invariant: a view is a pure function of examples; asking for another one spends no token.
"""

from __future__ import annotations

from collections.abc import Mapping

from storage.views import GENPRM, View
from workflows.exports import CODE, COT, DIRECT

VIEWS: Mapping[str, View] = {view.name: view for view in (GENPRM, COT, CODE, DIRECT)}
