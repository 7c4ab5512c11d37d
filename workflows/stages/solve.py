"""Stage `solve`: a policy's solution of every problem, searched with a verifier's rewards.

Invariant: a problem's search is a pure function of (seed, problem, settings). Neither policy nor
verifier sees the answer; it is compared when the search is over. A problem without a solution is a
counted drop, and its row keeps what was paid for.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from actors.engines.contract import Refusal
from actors.engines.served.capabilities import Need
from actors.sandbox.contract import Rejected
from actors.workers.contract import ShardResult, process_items
from storage.errors import ItemError
from storage.rows.kinds import PROBLEMS, SOLVED, ShardRows
from storage.rows.records import Problem, Solved
from workflows.formats.solving import next_chat
from workflows.formats.verification import VerifySettings
from workflows.searching.methods import search
from workflows.searching.tree import Ended
from workflows.settings import AnswerSettings
from workflows.settings.sampling import sampling_of
from workflows.settings.solving import SolveSettings
from workflows.stages.kit import Kit, KitStage, Stage
from workflows.stages.scorers.contract import Scorer
from workflows.stages.scorers.opening import scorer_of
from workflows.stages.solvers.moves import Cost, ModelMoves
from workflows.stages.solvers.rows import row_of
from workflows.votes.rewards import Unscored

VERIFIER = "verifier"


@dataclass(frozen=True, slots=True, kw_only=True)
class SolvingSettings:
    """What the stage reads."""

    solve: SolveSettings = field(default_factory=SolveSettings)
    verify: VerifySettings = field(default_factory=VerifySettings)
    answers: AnswerSettings = field(default_factory=AnswerSettings)

    @property
    def seed(self) -> int:
        """`solve.seed`."""
        return self.solve.seed


class Solver(KitStage[SolvingSettings]):
    """Searches for solutions."""

    def __init__(self, kit: Kit[SolvingSettings]) -> None:
        """Raises InputError for a verifier whose tokenizer has no single tokens for verdicts."""
        super().__init__(kit)
        self._asked = kit.settings.solve
        self._chat = next_chat(self._asked, kit.texts)
        self._sampling = sampling_of(self._asked)
        self._scorer = _scorer(kit) if VERIFIER in kit.beside else None

    async def run(self, rows: ShardRows) -> ShardResult[Solved]:
        """Search for a solution of each problem of a shard.

        Drops: why a search ended without an answer (`Ended`), or why the policy can't be asked.
        Raises InfrastructureError.
        """
        spent = Cost()
        solved: dict[str, Solved] = {}

        async def one(problem: Problem) -> list[Solved]:
            moves = self._moves(problem)
            try:
                found = await search(moves, self._asked)
            finally:
                spent.add(moves.cost)
            models = self.kit.model, self.kit.models[VERIFIER] if self._scorer else None
            row = await row_of(moves, found, self._asked, models, self.kit.seed)
            solved[problem.problem_id] = row
            if row.answer is None:
                raise ItemError(found.ended, f"{moves.cost.samples} samples")
            return [row]

        _, drops = await process_items(rows[PROBLEMS], lambda problem: problem.problem_id, one)
        made = [solved[each.problem_id] for each in rows[PROBLEMS] if each.problem_id in solved]
        counts = spent.counts | {
            "solutions": sum(len(row.candidates) for row in made),
            "correct": sum(bool(row.correct) for row in made),
        }
        return ShardResult(tuple(made), tuple(drops), counts)

    def _moves(self, problem: Problem) -> ModelMoves:
        kit = self.kit
        return ModelMoves(
            problem=problem,
            asked=self._asked,
            policy=kit.engine,
            chat=self._chat,
            sampling=self._sampling,
            seed_of=kit.seed_of,
            grader=kit.grader,
            scorer=self._scorer,
            histories=kit.settings.verify.histories,
        )


def _scorer(kit: Kit[SolvingSettings]) -> Scorer:
    """The scorer that a score run with the same verifier has."""
    beside: Kit[VerifySettings] = Kit(
        kit.run,
        kit.settings.verify,
        replace(kit.spec, role="verifier", beside=()),
        kit.models,
        kit.limits,
        opened=kit.beside[VERIFIER],
        box=kit.box,
    )
    return scorer_of(beside)


SOLVE = Stage(
    rows=SOLVED,
    role="policy",
    beside={"verifier": (Need.CONTINUES, Need.LOGPROBS)},
    asks=("solve_system", "solve"),
    reads=(PROBLEMS,),
    runs_code=True,
    solves=True,
    longest="solve.max_tokens",
    says="searches for a solution of every problem with a verifier's rewards",
    drops=(
        *(Ended.DEAD_END, Ended.DEPTH, Ended.BUDGET, Ended.NODES),
        *(*Unscored, *Refusal, *Rejected),
    ),
    make=Solver,
)
