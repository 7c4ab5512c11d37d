"""Stage `refine`: the generator's new solution for every critique of a shard.

Invariant: one request per critique, with a seed of its own. A new solution that was cut at its
limit, or whose steps are not whole, is a counted drop; its reader keeps the old solution.
"""

from __future__ import annotations

from dataclasses import replace

from actors.engines.contract import Refusal
from actors.workers.contract import ShardResult, process_items
from actors.workers.yields import note_reading
from storage.errors import ItemError
from storage.rows.kinds import CRITIQUES, REFINED, ShardRows
from storage.rows.records import Critique, Response
from workflows.answers import read_answer
from workflows.formats.refinement import RefineSettings, refine_chat, refined_steps
from workflows.formats.steps import Flaw
from workflows.settings import sampling_of
from workflows.stages.kit import TEMPLATE, KitStage, Stage


class Refiner(KitStage[RefineSettings]):
    """Asks the generator for a new solution."""

    async def run(self, rows: ShardRows) -> ShardResult[Response]:
        """Make a response of each critique, with the same id.

        Drops: `truncated`, `too_long`, and what `refined_steps` raises. Raises InfrastructureError.
        """
        sampling, tokens = sampling_of(self.kit.settings), 0

        async def one(critique: Critique) -> list[Response]:
            nonlocal tokens
            chat = refine_chat(critique, self.kit.settings)
            seed = self.kit.seed_of(critique.response_id, critique.turn)
            reply = await self.kit.engine.generate(chat, replace(sampling, n=1, seed=seed))
            (written,) = reply.completions
            tokens += written.tokens
            text = written.after(chat.prefill)
            with note_reading(critique.response_id, text):
                if written.finish_reason != "stop":
                    raise ItemError(Flaw.TRUNCATED, f"{written.tokens} tokens")
                steps = list(refined_steps(text))
                if not steps:
                    raise ItemError(Flaw.EMPTY_STEP)
            return [
                Response(
                    response_id=critique.response_id,
                    problem_id=critique.problem_id,
                    problem=critique.problem,
                    steps=steps,
                    subset=critique.subset,
                    answer=read_answer("\n\n".join(steps)),
                    generator=self.kit.model,
                )
            ]

        refined, drops = await process_items(rows[CRITIQUES], lambda row: row.response_id, one)
        return ShardResult(tuple(refined), tuple(drops), {"tokens": tokens})


REFINE = Stage(
    rows=REFINED,
    role="generator",
    reads=(CRITIQUES,),
    remedy=f"the generator does not write a solution in steps: {TEMPLATE}, or take another one",
    longest="refine.max_tokens",
    says="asks the generator for a new solution after every critique",
    drops=(Flaw.TRUNCATED, Flaw.STEP_GAP, Flaw.EMPTY_STEP, *Refusal),
    make=Refiner,
)
