"""Which roads and budgets can read rollouts that were cut as something else than wrong.

Invariant: depends only on the settings. Every refusal is a line that says what to change.
"""

from __future__ import annotations

from collections.abc import Sequence

from storage.errors import ConfigurationError
from storage.rows.kinds import PITS, RETRIED, TREE
from workflows.settings import EstimateSettings

COUNTED = ("exact", "exact_zero_stop")
"""Budgets that ask for a state's rollouts once. Others would ask again for those that were cut."""
AS_WRONG = frozenset({PITS.stage, TREE.stage, RETRIED.stage})
"""Stages whose rows have no place for what cut rollouts count as."""


def check_cut(settings: EstimateSettings, road: Sequence[str]) -> None:
    """Raise ConfigurationError where `estimate.cut` can't be had."""
    if settings.cut == "wrong":
        return
    said = f"`estimate.cut: {settings.cut}`"
    if settings.cut == "censored" and settings.mc_budget not in COUNTED:
        raise ConfigurationError(
            f"{said} leaves states with fewer rollouts, and `mc_budget: {settings.mc_budget}` "
            "would ask for them again: set `estimate.mc_budget: exact_zero_stop`"
        )
    if settings.start == "policy":
        raise ConfigurationError(
            f"{said} reads rollouts, and `estimate.start: policy` takes samples whose cut texts "
            "are gone: set `estimate.start: completer`"
        )
    if others := sorted(AS_WRONG & set(road)):
        raise ConfigurationError(
            f"{said}: stage `{others[0]}` takes cut rollouts for wrong: take it off the road, or "
            "set `estimate.cut: wrong`"
        )
