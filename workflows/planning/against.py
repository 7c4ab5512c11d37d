"""A run's plan against what its commits say.

Invariant: what a plan does not name is not compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from storage.runs.plans import Plan
from workflows.planning.costs import cost_at
from workflows.planning.measured import TEXTS


@dataclass(frozen=True, slots=True)
class Done:
    """What the commits of one stage say."""

    role: str
    rows: int
    bytes: int
    counts: Mapping[str, int]
    engine_s: float


@dataclass(frozen=True, slots=True)
class Compared:
    """One figure of a plan beside what it came to."""

    role: str
    """Empty: of the whole run."""
    name: str
    low: float
    high: float | None
    likely: float | None
    actual: float
    within: bool | None
    """Whether it lies in the range; None: the run is not finished, and not beyond it yet."""


def compared(plan: Plan, stages: Iterable[Done], finished: bool) -> list[Compared]:
    """Every figure of the plan that commits speak of; `stages` in the order of the road."""
    actual: dict[tuple[str, str], float] = {}

    def add(role: str, name: str, value: float) -> None:
        actual[role, name] = actual.get((role, name), 0.0) + value

    for stage in stages:
        add("", "bytes", stage.bytes)
        actual["", "kept"] = stage.rows
        if (rate := plan.rates.get(stage.role)) is None:
            continue
        tokens, asked = stage.counts.get("tokens", 0), stage.counts.get("prompt_tokens", 0)
        cost = cost_at(rate, tokens, asked, stage.engine_s)
        add(stage.role, TEXTS.get(stage.role, "texts"), stage.counts.get("texts", 0))
        add(stage.role, "tokens", tokens)
        add(stage.role, "prompt_tokens", asked)
        add(stage.role, "gpu_hours", cost.gpu_hours)
        for role in (stage.role, ""):
            add(role, "money", cost.money)
        add("", "tokens", tokens)
        add("", "gpu_hours", cost.gpu_hours)
    return [
        Compared(
            figure.role, figure.name, figure.low, figure.high, figure.likely, value,
            _within(figure.low, figure.high, value, finished),
        )
        for figure in plan.figures
        if (value := actual.get((figure.role, figure.name))) is not None
    ]  # fmt: skip


def _within(low: float, high: float | None, actual: float, finished: bool) -> bool | None:
    beyond = high is not None and actual > high
    return (low <= actual and not beyond) if finished or beyond else None
