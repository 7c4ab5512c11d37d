"""A verifier that is asked outside of a run: by a server, by a search.

Invariant: it gives the rewards that a score run of the same configuration gives to the same problem
and steps under the same name.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from actors.models.identity import model_identity
from actors.sandbox.contract import Sandbox
from actors.sandbox.opening import open_sandbox
from workflows.formats.verification import VerifySettings
from workflows.runs.workers import opened_for
from workflows.scoring.settings import ScoreConfig
from workflows.stages.kit import Kit
from workflows.stages.scorers.contract import Scorer
from workflows.stages.scorers.opening import scorer_of


@asynccontextmanager
async def open_kit(
    config: ScoreConfig, sandbox: Sandbox | None = None
) -> AsyncIterator[Kit[VerifySettings]]:
    """Open the engine of the configuration's verifier, and close it at the end.

    `sandbox`: where its code runs, which stays open; None: one of its own, in modes that run code.
    Raises UserError and InfrastructureError.
    """
    async with AsyncExitStack() as held:
        engine = await opened_for(config, "verifier", config.heal)
        held.push_async_callback(engine.close)
        if sandbox is None and config.runs_code:
            sandbox = open_sandbox(config.sandbox)
            held.push_async_callback(sandbox.close)
        (spec,) = config.road
        models = {"verifier": model_identity(config.engine("verifier"))}
        yield Kit(
            config.run, config.settings, spec, models, config.sandbox.limits,
            opened=engine, box=sandbox,
        )  # fmt: skip


@asynccontextmanager
async def open_scorer(config: ScoreConfig, sandbox: Sandbox | None = None) -> AsyncIterator[Scorer]:
    """Open the configuration's verifier as `open_kit` does.

    `workflows.stages.scorers.contract.score` judges a whole solution, `Scorer.begin` one that
    grows. Raises UserError and InfrastructureError.
    """
    async with open_kit(config, sandbox) as kit:
        yield scorer_of(kit)
