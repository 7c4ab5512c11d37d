"""What the commits of a run cost: tokens, GPU-hours and money.

GPU-hours are the time in which an engine had shards at work, times the GPUs that it takes. Loading
a model and waiting for work are not in them, nor are shards that were lost.

Invariant: costs follow from commits, the configuration's engines and its prices alone, so they
survive every restart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from actors.engines.contract import EngineSettings
from storage.errors import ConfigurationError
from storage.runs.commits import Receipt
from storage.runs.plans import Rate
from workflows.road import StageSpec
from workflows.schedule.ceiling import Cost, CostOf
from workflows.settings.spending import LimitSettings, PriceSettings

MILLION = 1e6
HOUR_S = 3600.0


def gpus_of(engine: EngineSettings) -> float:
    """GPUs that one engine takes; 0 for a server's. An engine on a processor counts as on a GPU."""
    return 0.0 if engine.served else engine.tensor_parallel * engine.hundredths / 100


def rates_of(engines: Mapping[str, EngineSettings], prices: PriceSettings) -> dict[str, Rate]:
    """Role -> what its work costs; what has no price costs nothing."""
    tokens: dict[str, float] = {role: price for role, price in prices.tokens.items()}
    prompts: dict[str, float] = {role: price for role, price in prices.prompt_tokens.items()}
    return {
        role: Rate(
            gpus_of(engine),
            0.0 if engine.served else prices.gpu_hour or 0.0,
            tokens.get(role, 0.0),
            prompts.get(role, 0.0),
        )
        for role, engine in engines.items()
    }


def cost_at(rate: Rate, tokens: float, prompt_tokens: float, engine_s: float) -> Cost:
    """What some work of a role costs."""
    gpu_hours = engine_s / HOUR_S * rate.gpus
    asked = tokens * rate.tokens + prompt_tokens * rate.prompt_tokens
    return Cost(tokens, gpu_hours, gpu_hours * rate.gpu_hour + asked / MILLION)


def cost_of(road: Sequence[StageSpec], rates: Mapping[str, Rate]) -> CostOf:
    """Make the function that says what a shard cost."""
    roles = {stage.name: stage.role for stage in road}

    def cost(receipt: Receipt) -> Cost:
        rate = rates.get(roles.get(receipt.stage, "cpu"))
        if rate is None:
            return Cost()
        counts = receipt.counts
        asked = counts.get("prompt_tokens", 0)
        return cost_at(rate, counts.get("tokens", 0), asked, receipt.busy_s)

    return cost


def check_spending(
    limits: LimitSettings, prices: PriceSettings, engines: Mapping[str, EngineSettings]
) -> None:
    """Refuse a limit that nothing counts, and a price that nothing has.

    Raises ConfigurationError.
    """
    if limits.money is not None and not prices.given:
        raise ConfigurationError("`limits.money` needs `prices`: add them, or limit tokens instead")
    local = any(not engine.served for engine in engines.values())
    if limits.gpu_hours is not None and not local:
        raise ConfigurationError(
            "`limits.gpu_hours` counts engines of this cluster, and all models are servers': limit "
            "tokens or money instead"
        )
    for name in ("tokens", "prompt_tokens"):
        for role in getattr(prices, name):
            if role not in engines or not engines[role].served:
                raise ConfigurationError(
                    f"`prices.{name}.{role}`: there is no such model on a server; engines of your "
                    "own are priced by `prices.gpu_hour`"
                )
