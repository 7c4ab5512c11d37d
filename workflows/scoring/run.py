"""Scoring: responses in, a verifier's rewards out, as a run with a short road of its own.

    responses ─► score        (verifier model, and the sandbox in the modes that run code)

Invariant: a score run is a run like any other: its spec holds all that the rewards depend on, its
shards are committed once, and whatever is not committed is made by whoever continues it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from actors.engines.contract import Engine, EngineSettings, Sampling
from actors.engines.healing import Spell
from actors.engines.opening import open_engine
from actors.engines.rendering import ChatRenderer
from actors.models.identity import model_identity
from actors.sandbox.contract import Sandbox
from actors.workers.contract import Processor
from actors.workers.ray_workers import MakeWorker
from storage.objects.store import ObjectStore
from storage.rows.kinds import RESPONSES, VERIFICATIONS
from storage.rows.records import Response, Score, Verification
from storage.runs.layout import SCORING
from storage.runs.run import Run
from workflows.runs.starting import begin_with_rows
from workflows.runs.workers import worker_makers
from workflows.scoring.form import TrainingForm, check_verdicts
from workflows.scoring.settings import ScoreConfig, binding
from workflows.stages.score import Effort, Verifier
from workflows.votes.rewards import averaged, first_error_index


@dataclass(frozen=True, slots=True)
class VerifierMaker:
    """Makes the stage of a score run from its configuration, inside a worker."""

    config: ScoreConfig

    async def stages(self, role: str, sandbox: Sandbox | None) -> Mapping[str, Processor]:
        """Open the engine and build the stage.

        Raises UserError for a model that can't be used as a verifier, and InfrastructureError.
        """
        settings = self.config.models.verifier
        spell = await asyncio.to_thread(speller, settings)
        engine = await open_engine(settings)
        return {"score": self.around(engine, sandbox, spell)}

    def around(self, engine: Engine, sandbox: Sandbox | None, spell: Spell | None) -> Verifier:
        """The stage around an engine that is open already."""
        wanted = self.config.verify
        return Verifier(
            engine,
            sandbox,
            form=TrainingForm(wanted.mode, wanted.output_chars, spell),
            sampling=Sampling(
                temperature=wanted.temperature, top_p=wanted.top_p, top_k=wanted.top_k
            ),
            effort=Effort(
                histories=wanted.histories,
                rounds=wanted.rounds,
                step_tokens=wanted.max_tokens,
                logprobs=wanted.logprobs,
            ),
            limits=self.config.sandbox.limits,
            model=model_identity(self.config.models.verifier),
            seed=wanted.seed,
        )


def speller(settings: EngineSettings) -> Spell | None:
    """The tokenizer of a verifier, checked for verdicts; None for an engine that has none.

    Raises InputError where it can't be loaded, or Yes or No is no single token in a verdict.
    """
    if settings.kind == "scripted":
        return None
    renderer = ChatRenderer.load(settings)
    renderer.close()  # only its tokenizer is wanted
    check_verdicts(renderer.spell, settings.tokenizer or settings.model)
    return renderer.spell


def makers(run: Run, config: ScoreConfig) -> dict[str, MakeWorker]:
    """How a worker of each role is made, wherever it runs."""
    return worker_makers(run, VerifierMaker(config), config.engines)


def start_scoring(
    config: ScoreConfig,
    responses: Sequence[Response],
    store: ObjectStore,
    image_digest: str | None,
) -> Run:
    """Create the run of `config`, or open it where it exists with the same spec.

    Raises SpecMismatch with the fields that differ.
    """
    return begin_with_rows(config, binding(config), SCORING, responses, store, image_digest)


def scored_shards(run: Run) -> Iterator[tuple[list[Response], list[Verification]]]:
    """The responses and histories of each committed shard, in order, one shard in memory."""
    for commit in run.commits("score"):
        yield (
            run.read_rows(RESPONSES, commit.shard),
            run.rows_of(commit, VERIFICATIONS),
        )


def scores_of(run: Run) -> Iterator[Score]:
    """Maj@N of every response that has a history; dropped ones are left out."""
    for responses, verifications in scored_shards(run):
        known = {response.response_id: response for response in responses}
        for name, rows in groupby(verifications, key=lambda row: row.response_id):
            yield score_of(known[name], list(rows))


def score_of(response: Response, histories: list[Verification]) -> Score:
    """The mean over the histories of one response, and its first error (equations 5 and 6)."""
    rewards = averaged([history.rewards for history in histories])
    return Score(
        response_id=response.response_id,
        problem_id=response.problem_id,
        subset=response.subset,
        rewards=rewards,
        first_error=first_error_index(rewards),
        label=response.label,
        correct=response.correct,
        histories=histories,
    )
