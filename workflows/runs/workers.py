"""How a worker of any run starts: it opens its engine and sandbox, and makes its stages with them.

Invariant: a worker is made of the store, the run's name, spec and configuration alone. All can be
pickled, so that a worker on any node makes the same stages.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

from actors.engines.contract import Engine
from actors.engines.opening import open_engine, open_reader
from actors.engines.reading import Reader
from actors.models.identity import model_identity
from actors.sandbox.contract import Sandbox
from actors.sandbox.paced import PacedSandbox
from actors.workers.contract import Processor
from actors.workers.ray_workers import MakeWorker
from actors.workers.worker import ShardWorker
from actors.workers.yields import Floor
from storage.errors import ConfigurationError
from storage.objects.opening import open_store
from storage.runs.pilot_record import PilotRecord
from storage.runs.run import Run
from storage.runs.specs import Spec
from workflows.answers.grading import grader
from workflows.estimation.pilot import chain_of, stored_chain
from workflows.estimation.posterior import Chain
from workflows.road import opened_by, reads_by_stage
from workflows.runs.configuration import RunConfig, needs_of
from workflows.settings import AnswerSettings, StageSettings
from workflows.stages.kit import Kit

NOTHING_BESIDE: Mapping[str, Engine | Reader] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class StageMaker:
    """Makes the stages of a run from its configuration."""

    config: RunConfig
    run_name: str
    chain: Chain | None = None
    """The pilot's chain, where budget or labels need one; see `workflows.estimation.pilot`."""

    async def stages(self, role: str, sandbox: Sandbox | None) -> Mapping[str, Processor]:
        """Open the engine of a role and make the role's stages.

        Raises UserError for a model that can't be used, and InfrastructureError.
        """
        if role == "cpu":
            return self.pure(sandbox)
        opened: dict[str, Engine | Reader] = {}
        try:
            for each in opened_by(self.config.road, role):
                opened[each] = await self._opened(each, heal=self.config.heal and each == role)
        except BaseException:
            for engine in opened.values():
                await engine.close()
            raise
        return self.around(role, opened.pop(role), sandbox, opened)

    async def _opened(self, role: str, heal: bool) -> Engine | Reader:
        try:
            return await opened_for(self.config, role, heal)
        except ConfigurationError as error:
            raise ConfigurationError(f"models.{role}: {error}") from error

    def pure(self, sandbox: Sandbox | None = None) -> Mapping[str, Processor]:
        """Make the stages that need no model; without a sandbox, those that run no code."""
        return self.around("cpu", None, sandbox)

    def around(
        self,
        role: str,
        engine: Engine | Reader | None,
        sandbox: Sandbox | None,
        beside: Mapping[str, Engine | Reader] = NOTHING_BESIDE,
    ) -> Mapping[str, Processor]:
        """Make the stages of a role with an engine that is open already.

        `beside`: role -> engine, for the other models that its stages ask.
        """
        config = self.config
        settings = config.settings
        models = {role: model_identity(of) for role, of in config.engines.items()}
        answers: AnswerSettings | None = getattr(settings, "answers", None)
        graded_by = grader(answers) if answers is not None else None
        return {
            spec.name: stage.make(
                Kit(
                    self.run_name, settings, spec, models, config.sandbox.limits, self.chain,
                    engine, sandbox, graded_by, config.texts, beside,
                )
            )
            for spec, stage in zip(config.road, config.makes, strict=True)
            if spec.role == role and (engine or sandbox or not spec.runs_code)
        }  # fmt: skip


async def opened_for(config: RunConfig, role: str, heal: bool = False) -> Engine | Reader:
    """Open the model of a role, as the run asks it. Raises UserError and InfrastructureError."""
    if config.reads == role:
        return await open_reader(config.engine(role), config.reference)
    return await open_engine(config.engine(role), heal, needs_of(config, role))


def make_worker(
    store: str, spec: Spec, maker: StageMaker, role: str, name: str, sandbox: Sandbox | None
) -> ShardWorker:
    """Make a worker of one role; called inside its Ray actor. The run may not be stored yet."""
    if sandbox is not None and role in maker.config.engines:
        asking = next(spec.coder for spec in maker.config.road if spec.role == role)
        sandbox = PacedSandbox(sandbox, maker.config.engine(asking).in_flight)
    reads = reads_by_stage(maker.config.road)
    opened = Run(open_store(store), maker.run_name, spec)
    stages = partial(maker.stages, role, sandbox)
    return ShardWorker(opened, reads, stages, name, floor_of(maker.config))


def floor_of(config: RunConfig) -> Floor | None:
    """The check that stops a run whose stages can use too few texts; None: off."""
    if config.floor == "off":
        return None
    makes = {stage.name: stage for stage in config.makes}
    return Floor(config.floor, lambda stage, flaw: makes[stage].advice(flaw))


def makers(run: Run, config: RunConfig, record: PilotRecord | None = None) -> dict[str, MakeWorker]:
    """Role -> the function that makes a worker; the function can be pickled.

    `record`: the pilot's record of a run that is not stored yet.
    """
    settings, chain = config.settings, None
    if isinstance(settings, StageSettings) and settings.needs_chain:
        chain = stored_chain(run) if record is None else chain_of(record)
    maker = StageMaker(config, run.name, chain)
    roles = (*config.worker_roles, "cpu")
    return {role: partial(make_worker, run.store.url, run.spec, maker, role) for role in roles}
