"""Stage `score`: every step of a response judged by the verifier.

How a step is judged is the scorer's part (`workflows.stages.scorers`). The N histories of a
response are independent.

Invariant: when the sandbox itself fails, the history is repeated from its start with the same
seeds.
"""

from __future__ import annotations

from dataclasses import dataclass

from actors.engines.contract import Refusal
from actors.engines.served.capabilities import Need
from actors.sandbox.contract import Rejected
from actors.workers.contract import ShardResult, process_items
from actors.workers.yields import Text, note_reply
from storage.errors import ItemError
from storage.rows.kinds import RESPONSES, VERIFICATIONS, ShardRows
from storage.rows.records import Response, Verification
from workflows.formats.verification import VerifySettings
from workflows.stages.kit import TEMPLATE, Kit, KitStage, Stage
from workflows.stages.scorers.contract import Ended, Judging, Scored, score
from workflows.stages.scorers.opening import scorer_of
from workflows.stages.scorers.pruned import score_pruned
from workflows.votes.pruning import Tally
from workflows.votes.rewards import Unscored


@dataclass(slots=True)
class _Spent:
    """The cost of a shard, with that of failed tries."""

    tokens: int = 0
    code_runs: int = 0
    steps: int = 0
    degraded: int = 0
    lost_histories: int = 0
    spared_steps: int = 0
    """Judgements that pruning left out."""
    spared_tokens: int = 0
    """What they would have cost, at the mean of the response's own."""

    def add(self, history: Judging) -> None:
        self.tokens += history.tokens
        self.code_runs += len(history.executions)
        self.steps += len(history.rewards)
        self.degraded += sum(history.degraded)

    def spare(self, made: Scored, steps: int, histories: int) -> None:
        """Count what was left out of a response with `steps` steps."""
        judged = sum(len(row.rewards) for row in made.histories)
        spared = (histories - len(made.lost)) * steps - judged
        self.spared_steps += spared
        self.spared_tokens += round(spared * sum(row.tokens for row in made.histories) / judged)


class Verifier(KitStage[VerifySettings]):
    """Judges responses step by step."""

    def __init__(self, kit: Kit[VerifySettings]) -> None:
        """Raises InputError for a model whose tokenizer has no single tokens for its verdicts."""
        super().__init__(kit)
        self._scorer = scorer_of(kit)

    async def run(self, rows: ShardRows) -> ShardResult[Verification]:
        """Verify the responses of a shard: `histories` rows for each, in their order.

        A history can end without rewards: `too_long` (the conversation fills the context),
        `no_verdict`, `sandbox_lost` (after all tries), `request_rejected`. A response is dropped,
        with the first reason, if all its histories do. Else `lost_histories` counts those that did.
        Raises InfrastructureError.
        """
        spent, asked = _Spent(), self.kit.settings

        async def one(response: Response) -> list[Verification]:
            name = response.response_id

            def ended(history: Judging, error: BaseException | None) -> None:
                spent.add(history)
                if error is None:
                    note_reply([Text(name, history.text, None)])
                elif isinstance(error, ItemError) and history.calls:
                    note_reply([Text(name, history.text, error.reason)])

            made = await self._scored(response, ended)
            spent.lost_histories += len(made.lost)
            if asked.prune != "off":
                spent.spare(made, len(response.steps), asked.histories)
            return made.histories

        written, drops = await process_items(
            rows[RESPONSES], lambda response: response.response_id, one
        )
        return ShardResult(
            tuple(written),
            tuple(drops),
            {
                "tokens": spent.tokens,
                "code_runs": spent.code_runs,
                "steps": spent.steps,
                "degraded": spent.degraded,
                "lost_histories": spent.lost_histories,
            }
            | (
                {"spared_steps": spent.spared_steps, "spared_tokens": spent.spared_tokens}
                if asked.prune != "off"
                else {}
            ),
        )

    async def _scored(self, response: Response, ended: Ended) -> Scored:
        asked, steps = self.kit.settings, response.steps
        problem, name = response.problem, response.response_id
        if asked.prune == "off":
            return await score(self._scorer, problem, steps, name, asked.histories, ended)
        tally = Tally(len(steps), asked.histories, asked.prune, asked.doubt)
        return await score_pruned(self._scorer, problem, steps, name, tally, ended)


SCORE = Stage(
    rows=VERIFICATIONS,
    role="verifier",
    reads=(RESPONSES,),
    runs_code=True,
    needs=(Need.CONTINUES, Need.LOGPROBS),
    remedy=f"the verifier does not answer as one does: {TEMPLATE}, and `verify.mode` with what it "
    "was trained for",
    longest="models.verifier.max_model_len",
    says="lets the verifier judge every step of a response, with code that is run",
    drops=(*Unscored, *Refusal, *Rejected),
    make=Verifier,
)
