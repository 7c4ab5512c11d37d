"""Stage `refine`: the generator's new solution for every critique of a shard.

Invariant: one request per critique, with a seed of its own; a new solution that was cut at its
limit, or whose steps are not whole, is a counted drop, and whoever reads the run keeps the old one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from actors.engines.contract import Chat, Engine, Refusal, Sampling
from actors.workers.contract import ReadAnswer, ShardResult, process_items
from actors.workers.yields import note_reading
from storage.errors import ItemError
from storage.rows.kinds import CRITIQUES, REFINED, ShardRows
from storage.rows.records import Critique, Response
from storage.seeds import request_seed
from workflows.answers import read_answer
from workflows.formats.refinement import RefineSettings, refine_chat, refined_steps
from workflows.formats.steps import Flaw
from workflows.settings import sampling_of
from workflows.stages.kit import Kit, Stage

Ask = Callable[[Critique], Chat]
ReadSteps = Callable[[str], Sequence[str]]
"""The assistant's whole text -> steps of the new solution, none of them empty, or ItemError."""


class Refiner:
    """Asks the generator again."""

    def __init__(
        self,
        engine: Engine,
        *,
        ask: Ask,
        read_steps: ReadSteps,
        read_answer: ReadAnswer,
        sampling: Sampling,
        model: str,
        seed: int,
    ) -> None:
        """`sampling` gives temperature, top_p, top_k and max_tokens; its n and seed are ignored."""
        self._engine = engine
        self._ask = ask
        self._read_steps = read_steps
        self._read_answer = read_answer
        self._sampling = sampling
        self._model = model
        self._seed = seed

    async def run(self, rows: ShardRows) -> ShardResult[Response]:
        """A response per critique, under the same id. Drops: `truncated`, `too_long`, and what
        `read_steps` raises. Raises InfrastructureError.
        """
        tokens = 0

        async def one(critique: Critique) -> list[Response]:
            nonlocal tokens
            chat = self._ask(critique)
            seed = request_seed(self._seed, REFINED.stage, critique.response_id, critique.turn)
            reply = await self._engine.generate(chat, replace(self._sampling, n=1, seed=seed))
            (written,) = reply.completions
            tokens += written.tokens
            text = written.after(chat.prefill)
            with note_reading(critique.response_id, text):
                if written.finish_reason != "stop":
                    raise ItemError(Flaw.TRUNCATED, f"{written.tokens} tokens")
                steps = list(self._read_steps(text))
                if not steps:
                    raise ItemError(Flaw.EMPTY_STEP)
            return [
                Response(
                    response_id=critique.response_id,
                    problem_id=critique.problem_id,
                    problem=critique.problem,
                    steps=steps,
                    subset=critique.subset,
                    answer=self._read_answer("\n\n".join(steps)),
                    generator=self._model,
                )
            ]

        made, drops = await process_items(rows[CRITIQUES], lambda row: row.response_id, one)
        return ShardResult(tuple(made), tuple(drops), {"tokens": tokens})

    async def close(self) -> None:
        """Stop the engine."""
        await self._engine.close()


def _refiner(kit: Kit[RefineSettings]) -> Refiner:
    return Refiner(
        kit.engine,
        ask=partial(refine_chat, settings=kit.settings),
        read_steps=refined_steps,
        read_answer=read_answer,
        sampling=sampling_of(kit.settings),
        model=kit.model,
        seed=kit.seed,
    )


REFINE = Stage(
    rows=REFINED,
    role="generator",
    reads=(CRITIQUES,),
    says="asks the generator for a new solution after every critique",
    drops=(Flaw.TRUNCATED, Flaw.STEP_GAP, Flaw.EMPTY_STEP, *Refusal),
    make=_refiner,
)
