"""What a run may cost, and what its costs are counted in.

Invariant: neither is part of a run's spec. Another ceiling or price is no other run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from storage.bounds import STRICT, Positive

Amount = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Price = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Priced = Literal["policy", "completer", "prover", "rationale", "judge", "verifier", "generator"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceSettings:
    """What a run's work costs, for `plan`, `status` and `limits.money` (docs/plan.md)."""

    __pydantic_config__ = STRICT

    currency: str = "USD"
    """Shown beside amounts of money."""
    gpu_hour: Price | None = None
    """Price of one GPU for one hour."""
    tokens: Mapping[Priced, Price] = field(default_factory=dict)
    """Role -> price of a million generated tokens, for models of servers (`endpoint`, `chat`)."""
    prompt_tokens: Mapping[Priced, Price] = field(default_factory=dict)
    """Role -> price of a million tokens of prompts, for models of servers."""

    @property
    def given(self) -> bool:
        """Whether there is any price."""
        return self.gpu_hour is not None or bool(self.tokens or self.prompt_tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitSettings:
    """A ceiling: the run begins no shard that would go beyond it, and stops (docs/plan.md)."""

    __pydantic_config__ = STRICT

    tokens: Positive | None = None
    """Most generated tokens, of all models together."""
    gpu_hours: Amount | None = None
    """Most GPU-hours of engines at work; an engine on a processor counts as one on a GPU."""
    money: Amount | None = None
    """Most money, by `prices`."""

    @property
    def by_name(self) -> dict[str, float]:
        """Name -> limit, of those that are set."""
        named = {"tokens": self.tokens, "gpu_hours": self.gpu_hours, "money": self.money}
        return {name: limit for name, limit in named.items() if limit is not None}
