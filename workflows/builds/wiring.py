"""The wiring: which collaborators and which meanings make up each stage, role by role.

This is the one place where rules, prompts, graders, engines and sandboxes meet.

Invariant: what is wired here follows from the run's configuration alone, so that a worker on any
node makes the same stages.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial

from actors.engines.contract import Chat, Engine, EngineSettings
from actors.engines.opening import open_engine
from actors.models.identity import model_identity
from actors.sandbox.contract import Sandbox
from actors.workers.contract import Stage
from actors.workers.ray_workers import MakeWorker, Placement
from storage.rows.records import Message, Problem
from storage.runs.run import Run
from workflows.answers import read_answer
from workflows.answers.grading import grader
from workflows.builds import wiring_judges
from workflows.estimation.budgets import budget_of
from workflows.estimation.omega import OmegaPolicy
from workflows.estimation.pilot import stored_chain
from workflows.estimation.posterior import Chain
from workflows.formats import steps
from workflows.formats.conversation import ExportStage
from workflows.formats.rationale import PaperForm
from workflows.formats.worked_examples import rationale_turns, solution_turns
from workflows.runs.configuration import BuildConfig
from workflows.runs.workers import worker_makers
from workflows.runs.workload import Workload
from workflows.sampling.quota import QuotaRule, allocation
from workflows.settings import sampling_of
from workflows.stages.consensus import ConsensusStage
from workflows.stages.estimate import Completer, CompletionChat
from workflows.stages.label import LabelStage
from workflows.stages.rationalize import Budget, RationaleWriter
from workflows.stages.sample import PolicySampler
from workflows.stages.search import TreeSearcher


@dataclass(frozen=True, slots=True)
class StageMaker:
    """Makes the stages of a run from its configuration."""

    config: BuildConfig
    run_name: str
    chain: Chain | None = None
    """What the run's budget and labels need of its pilot; see `workflows.estimation.pilot`."""

    async def stages(self, role: str, sandbox: Sandbox | None) -> Mapping[str, Stage]:
        """Open engines and build the stages of one role.

        Raises UserError for a model that can't be used and InfrastructureError.
        """
        if role == "cpu":
            return self.pure(sandbox)
        engine = await open_engine(self.engine_settings(role), self.config.stages.heal)
        return self.around(role, engine, sandbox)

    def engine_settings(self, role: str) -> EngineSettings:
        """The engine of a model role."""
        return self.config.engine(role)

    def around(self, role: str, engine: Engine, sandbox: Sandbox | None) -> Mapping[str, Stage]:
        """The stages of a model role around an engine that is open already."""
        make: Mapping[str, Callable[[], Stage]] = {
            "sample": lambda: self._sample(engine),
            "estimate": lambda: self._estimate(engine),
            "search": lambda: self._search(engine),
            "prover": lambda: self._estimate(engine, "prover", "prover"),
            "rationalize": lambda: self._rationalize(engine, sandbox),
            "judge": lambda: wiring_judges.judge_stage(self.config, engine),
            "repair": lambda: wiring_judges.repair_stage(self.config, engine),
            "retry": lambda: wiring_judges.retry_stage(self.config, self._estimate(engine)),
        }
        return self._of(role, make)

    def pure(self, sandbox: Sandbox | None = None) -> Mapping[str, Stage]:
        """The stages that need no model; without a sandbox those that run no code."""
        settings = self.config.stages
        make: Mapping[str, Callable[[], Stage]] = {
            "label": lambda: LabelStage(settings.label, self.chain),
            "consensus": lambda: ConsensusStage(
                settings.consensus,
                settings.judge,
                verified=verifies(settings.road),
                executes=settings.rationalize.execute,
            ),
            "export": lambda: ExportStage(
                run=self.run_name,
                models={role: model_identity(of) for role, of in self.config.engines.items()},
                executes=settings.rationalize.execute,
            ),
        }
        if sandbox is None:
            return self._of("cpu", make)
        formalize = {"formalize": lambda: wiring_judges.formal_stage(self.config, sandbox)}
        return self._of("cpu", {**make, **formalize})

    def _of(self, role: str, make: Mapping[str, Callable[[], Stage]]) -> Mapping[str, Stage]:
        """The stages of the road that a role works on, each made by its entry."""
        return {
            stage.name: make[stage.name]()
            for stage in self.config.road
            if stage.role == role and stage.name in make
        }

    def _sample(self, engine: Engine) -> Stage:
        wanted = self.config.stages.sample
        return PolicySampler(
            engine,
            grader(self.config.stages.answers),
            chat=partial(policy_chat, wanted.system, shown=solution_turns(wanted.examples)),
            split=steps.split,
            read_answer=read_answer,
            rule=QuotaRule(wanted),
            allocation=allocation(wanted),
            sampling=sampling_of(wanted),
            seed=self.config.stages.seed,
        )

    def _estimate(
        self, engine: Engine, stage: str = "estimate", role: str = "completer"
    ) -> Completer:
        wanted = self.config.stages.estimate
        return Completer(
            engine,
            grader(self.config.stages.answers),
            chat=self._opened_chat(),
            openings=steps.openings,
            read_answer=read_answer,
            budget=budget_of(wanted, self.config.stages.label, self.chain),
            sampling=sampling_of(wanted),
            model=model_identity(self.engine_settings(role)),
            seed=self.config.stages.seed,
            stage=stage,
            from_policy=stage == "estimate" and wanted.start == "policy",
            wrong_only=wanted.paths == "wrong",
        )

    def _opened_chat(self) -> CompletionChat:
        """The chat that continues a solution, as the policy was asked for it."""
        asked = self.config.stages.sample
        return partial(opened_chat, asked.system, shown=solution_turns(asked.examples))

    def _search(self, engine: Engine) -> Stage:
        wanted = self.config.stages.estimate
        return TreeSearcher(
            engine,
            grader(self.config.stages.answers),
            chat=self._opened_chat(),
            openings=steps.openings,
            split=steps.whole,
            read_answer=read_answer,
            policy=OmegaPolicy(self.config.stages.search),
            sampling=sampling_of(wanted),
            model=model_identity(self.engine_settings("completer")),
            seed=self.config.stages.seed,
        )

    def _rationalize(self, engine: Engine, sandbox: Sandbox | None) -> Stage:
        if sandbox is None:
            raise ValueError("the rationale writer needs a sandbox")
        wanted = self.config.stages.rationalize
        return RationaleWriter(
            engine,
            sandbox,
            form=PaperForm(
                wanted.output_chars,
                wanted.state_verdict,
                wanted.require_code,
                wanted.system,
                rationale_turns(wanted.examples, wanted.state_verdict, wanted.require_code),
            ),
            labelled="label" in wiring_judges.reads_of(self.config, "rationalize"),
            sampling=sampling_of(wanted),
            budget=Budget(
                total_tokens=wanted.total_tokens,
                code_rounds=wanted.code_rounds,
                execute=wanted.execute,
                votes=wanted.votes,
                heard="judge" in self.config.stages.consensus.sources,
                attempts=wanted.attempts,
            ),
            limits=self.config.sandbox.limits,
            model=model_identity(self.engine_settings("rationale")),
            seed=self.config.stages.seed,
        )


def verifies(road: Collection[str]) -> bool:
    """Whether a stage of the road writes verifications, without which consensus has labels only."""
    return not {"rationalize", "formalize", "judge"}.isdisjoint(road)


def policy_chat(system: str, problem: Problem, shown: tuple[Message, ...] = ()) -> Chat:
    """The chat that forces the first step header; `shown`: turns before the problem."""
    return opened_chat(system, problem, steps.opening(()), shown)


def opened_chat(
    system: str, problem: Problem, opening: str, shown: tuple[Message, ...] = ()
) -> Chat:
    """The chat that continues a solution after `opening`, which ends with a step's header."""
    asked = (Message("system", system), *shown, Message("user", problem.problem))
    return Chat(asked, opening)


def makers(run: Run, config: BuildConfig) -> dict[str, MakeWorker]:
    """How a worker of each role is made, wherever it runs."""
    maker = StageMaker(config, run.name, stored_chain(run, config.stages))
    return worker_makers(run, maker, (*config.engines, "cpu"))


def placements(config: Workload, on_gpus: bool, kept: Collection[str] = ()) -> dict[str, Placement]:
    """What a worker of each role takes of a node: GPUs, or a processor, and on the nodes that are
    `kept` for its role where there are such."""

    def place(role: str) -> Placement:
        settings = config.engine(role)
        size: float = settings.tensor_parallel if settings.kind == "vllm" else 0
        if on_gpus:
            size *= settings.hundredths / 100
        return Placement(
            gpus=size if on_gpus else 0,
            resources={role: size} if role in kept and size else {},
            needs_sandbox=any(stage.runs_code for stage in config.road if stage.role == role),
        )

    placed: dict[str, Placement] = {role: place(role) for role in config.engines}
    runs_code = any(stage.runs_code for stage in config.road if stage.role == "cpu")
    return placed | {"cpu": Placement(needs_sandbox=runs_code)}
