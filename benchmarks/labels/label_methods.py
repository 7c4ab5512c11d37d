"""The strategies and budgets that the label laboratory measures, by name.

Invariant: settings only, the ones that a configuration could name; K is the paper's unless the
name says otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from workflows.settings import EstimateSettings, LabelSettings


@dataclass(frozen=True, slots=True)
class Method:
    """One strategy under one budget."""

    name: str
    rule: str
    """Methods of one rule make the same kind of labels, and are compared with one another."""
    estimate: EstimateSettings
    label: LabelSettings
    same_luck: bool = True
    """False: with other seeds, to see how far two runs of one method differ."""


def scaled(settings: EstimateSettings, by: float) -> EstimateSettings:
    """Another K."""
    k = [max(1, round(n * by)) for n in (settings.k_hard, settings.k_medium, settings.k_easy)]
    probe = max(1, round(settings.probe * by))
    return replace(settings, k_hard=k[0], k_medium=k[1], k_easy=k[2], probe=probe)


RATIO = LabelSettings()
BELIEVED = LabelSettings(estimate="posterior")
HARD = LabelSettings(form="hard", threshold=0)
EXACT = EstimateSettings(mc_budget="exact")
STOP = EstimateSettings()
EIGHT = replace(STOP, k_hard=8, k_medium=8, k_easy=8, probe=8)
TWO_ROUND = EstimateSettings(mc_budget="two_round", pilot="pilot")
ADAPTIVE = EstimateSettings(mc_budget="adaptive", pilot="pilot")
SCAN = LabelSettings(
    form="start_ratio", threshold=0.5, tolerance=2, after_first_zero="drop", unseen_zero="drop"
)
METHODS: Sequence[Method] = (
    Method("exact", "ratio", EXACT, RATIO),
    Method("exact, rerun", "ratio", EXACT, RATIO, same_luck=False),
    Method("exact_zero_stop (genprm)", "ratio", STOP, RATIO),
    Method("exact_zero_stop, K/2", "ratio", scaled(STOP, 0.5), RATIO),
    Method("exact_zero_stop, K/4", "ratio", scaled(STOP, 0.25), RATIO),
    Method("exact_zero_stop, K/8", "ratio", scaled(STOP, 0.125), RATIO),
    Method("exact_zero_stop, posterior", "ratio", STOP, BELIEVED),
    Method("two_round", "ratio", TWO_ROUND, BELIEVED),
    Method("adaptive", "ratio", ADAPTIVE, BELIEVED),
    Method("adaptive, delta 0.05", "ratio", replace(ADAPTIVE, delta=0.05), BELIEVED),
    Method("adaptive, delta 0.2", "ratio", replace(ADAPTIVE, delta=0.2), BELIEVED),
    Method("adaptive, 0.2, batches of 4", "ratio", replace(ADAPTIVE, delta=0.2, batch=4), BELIEVED),
    Method("hard, exact K", "hard", EXACT, HARD),
    Method("hard, exact K, rerun", "hard", EXACT, HARD, same_luck=False),
    Method("hard, first_success", "hard", replace(STOP, mc_budget="first_success"), HARD),
    Method("hard, binary_search", "hard", replace(STOP, mc_budget="binary_search"), HARD),
    Method("math_shepherd_hard, K = 8", "hard",
           replace(EIGHT, mc_budget="first_success", batch=2), HARD),
    Method("omegaprm_binary, K = 8", "hard",
           replace(EIGHT, mc_budget="binary_search", batch=2), HARD),
    Method("math_shepherd_soft, K = 8", "soft", EIGHT, LabelSettings(form="soft", threshold=0.5)),
    Method("scan, K = 8", "scan", replace(EIGHT, paths="wrong"), SCAN),
    Method("pav, best of 4, K = 16", "pav",
           replace(EXACT, k_hard=16, k_medium=16, k_easy=16, probe=16),
           LabelSettings(form="difference", threshold=-0.25, prover="best_of",
                         after_first_zero="keep")),
)  # fmt: skip


def known(name: str) -> Method:
    """The method of that name. Raises StopIteration: there is none."""
    return next(method for method in METHODS if method.name == name)
