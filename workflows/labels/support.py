"""Which form of label which rollouts support. A form that they don't support is refused.

A budget that stops at the first success knows only whether MC > 0. Budgets that add rollouts to
uncertain labels leave too few elsewhere for counts alone. A chain stays at 0 once it is there, so
it can't tell what follows a MC of 0.

Invariant: depends only on stop rules and settings. Every refusal is a line that says what to
change.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from storage.errors import ConfigurationError
from storage.rows.kinds import PROVED
from workflows.settings import LabelSettings

RIGHT_ANSWER = "right_answer"
"""Stop rule of a path without rollouts of its own, because its answer is right."""
OF_COUNTS = frozenset({"ratio", "difference", "hard", "soft", "start_ratio", "effective"})
OF_BELIEFS = frozenset({"ratio", "difference", "hard", "soft"})
PERMITTED_FORMS: Mapping[str, Mapping[str, frozenset[str]]] = {
    "counts": {
        "exact": OF_COUNTS,
        "exact_zero_stop": OF_COUNTS,
        "first_success": frozenset({"hard"}),
        "binary_search": frozenset({"hard"}),
        RIGHT_ANSWER: OF_COUNTS,
    },
    "posterior": {
        "exact": OF_BELIEFS,
        "exact_zero_stop": OF_BELIEFS,
        "two_round": OF_BELIEFS,
        "adaptive": OF_BELIEFS,
    },
}
"""estimate -> stop_rule -> forms of label that such rows support."""

BOUNDS: Mapping[str, tuple[float, float]] = {
    "ratio": (0, 1),
    "difference": (-1, 1),
    "hard": (0, 1),
    "soft": (0, 1),
    "start_ratio": (0, 1),
}
"""Form -> least and greatest threshold that tells right steps from wrong ones."""
STOPS_AT_ZERO = frozenset({"exact_zero_stop", "first_success"})
_KNOWS_SUCCESS = frozenset({"first_success", "binary_search"})


def refuse_unsupported(stop_rules: Iterable[str], settings: LabelSettings) -> None:
    """Raise ConfigurationError if rollouts with these stop rules don't support the settings."""
    for rule in sorted(stop_rules):
        if settings.form not in PERMITTED_FORMS[settings.estimate].get(rule, frozenset()):
            raise ConfigurationError(
                f"labels of form {settings.form!r} can't be made by {settings.estimate} from "
                f"rollouts that were stopped by {rule!r}: choose another form or `estimate`, or "
                "estimate with `mc_budget: exact`"
            )
        if rule in _KNOWS_SUCCESS and settings.threshold != 0:
            stopped = "at the first success" if rule == "first_success" else f"by {rule!r}"
            raise ConfigurationError(
                f"rollouts that were stopped {stopped} know only whether MC > 0: "
                f"`threshold` can't be {settings.threshold}, only 0"
            )
        if settings.after_first_zero == "keep" and rule in STOPS_AT_ZERO | _KNOWS_SUCCESS:
            raise ConfigurationError(
                f"`after_first_zero: keep` needs every state's rollouts, and {rule!r} makes none "
                "after the first MC = 0: estimate with `mc_budget: exact`"
            )
    check_labels(settings)


def check_labels(settings: LabelSettings, road: Sequence[str] | None = None) -> None:
    """Raise ConfigurationError for settings that contradict each other, or the road's stages."""
    if road is not None and (settings.prover == "model") != (PROVED.stage in road):
        raise ConfigurationError(
            "`label.prover: model` and stage `prover` belong together: have both or neither"
        )
    least, most = BOUNDS.get(settings.form, (-math.inf, math.inf))
    if not least <= settings.threshold <= most:
        raise ConfigurationError(
            f"`label.threshold: {settings.threshold:g}` under `form: {settings.form}`: set it "
            f"between {least:g} and {most:g}"
        )
    if settings.estimate == "posterior":
        if settings.after_first_zero == "keep":
            raise ConfigurationError(
                "`after_first_zero: keep` asks what follows a MC of 0, and a posterior's chain "
                "never leaves 0: label with `estimate: counts`"
            )
        if settings.form not in OF_BELIEFS or settings.prover != "none":
            raise ConfigurationError(
                f"`label.form: {settings.form}` with `prover: {settings.prover}` is made from "
                "counts: label with `estimate: counts`"
            )
        if settings.tolerance is not None or settings.unseen_zero == "drop":
            raise ConfigurationError(
                "`label.tolerance` and `label.unseen_zero` ask where MC = 0 was measured: label "
                "with `estimate: counts`"
            )
    elif settings.prover != "none" and settings.form not in ("difference", "effective"):
        raise ConfigurationError(
            f"`label.prover` speaks of differences: set `label.form` to difference or effective, "
            f"not {settings.form}"
        )
