"""The row of a search: its tree of steps, its solutions, and the answer that it led to.

Invariant: a step is stored once, behind the one that it continues.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from storage.rows.records import Candidate, SearchedStep, Solved
from workflows.formats.steps import Flaw
from workflows.searching.choosing import best, elected, votes
from workflows.searching.methods import Searched
from workflows.searching.tree import ANSWERED, Node
from workflows.settings.solving import SolveSettings
from workflows.stages.solvers.moves import ModelMoves, Prefix


@dataclass(slots=True)
class _Steps:
    """The steps of a search, by their beginnings and ends."""

    moves: ModelMoves
    rows: list[SearchedStep] = field(default_factory=list)
    _at: dict[tuple[Prefix, str], int] = field(default_factory=dict)

    def add(self, node: Node) -> None:
        """Add a node, and those before it where it was sampled as a whole solution."""
        if node.parent is None:
            for size in range(1, len(node.steps)):
                self._count(node.steps[:size], _OPEN, None, node.copies)
        self._count(node.steps, _kind(node), node.end, node.copies)

    def of(self, node: Node) -> int:
        """Index of a node's last step."""
        return self._at[node.steps, _kind(node)]

    def _count(self, prefix: Prefix, kind: str, end: str | None, copies: int) -> None:
        if (prefix, kind) in self._at:
            at = self._at[prefix, kind]
            self.rows[at] = replace(self.rows[at], copies=self.rows[at].copies + copies)
            return
        self._at[prefix, kind] = len(self.rows)
        parent = self._at.get((prefix[:-1], _OPEN), -1)
        text = prefix[-1] if prefix else ""
        self.rows.append(SearchedStep(parent, text, self.moves.reward(prefix), copies, end))


_OPEN = "open"


def _kind(node: Node) -> str:
    """What tells nodes of the same steps apart: whole, without an answer, or to be continued."""
    if node.answer is not None:
        return ANSWERED
    return "flawed" if node.end in tuple(Flaw) else _OPEN


async def row_of(
    moves: ModelMoves,
    found: Searched,
    asked: SolveSettings,
    models: tuple[str, str | None],
    seed: int,
) -> Solved:
    """The row of a search; `models`: identities of policy and verifier."""
    steps = _Steps(moves)
    for node in moves.nodes:
        steps.add(node)
    solutions, answer = found.solutions, moves.problem.answer
    answers = [node.answer or "" for node in solutions]
    verdicts: Sequence[bool | None] = [None] * len(answers)
    if answer:
        verdicts = await moves.grader.grade(answer, answers)
    candidates = [
        Candidate(
            steps.of(node), text, node.score(asked.aggregate) if node.rewards else None,
            node.copies, right,
        )
        for node, text, right in zip(solutions, answers, verdicts, strict=True)
    ]  # fmt: skip
    chosen = await _chosen(moves, solutions, asked) if solutions else -1
    cost = moves.cost
    return Solved(
        problem_id=moves.problem.problem_id,
        method=asked.method,
        answer=answers[chosen] if solutions else None,
        correct=verdicts[chosen] if solutions else (False if answer else None),
        chosen=chosen,
        candidates=candidates,
        steps=steps.rows,
        ended=str(found.ended),
        rounds=found.rounds,
        samples=cost.samples,
        judged=cost.judged,
        policy_tokens=cost.policy_tokens,
        verifier_tokens=cost.verifier_tokens,
        policy=models[0],
        verifier=models[1],
        seed=seed,
    )


async def _chosen(moves: ModelMoves, solutions: Sequence[Node], asked: SolveSettings) -> int:
    """Index of the solution whose answer is taken."""
    unweighed = asked.method == "majority"
    if asked.choose == "best" and not unweighed:
        return solutions.index(best(solutions, asked.aggregate))
    spelled = await moves.spelled([node.answer or "" for node in solutions])
    name = elected(votes(solutions, spelled, None if unweighed else asked.aggregate))
    voters = [node for node in solutions if spelled[node.answer or ""] == name]
    return solutions.index(voters[0] if unweighed else best(voters, asked.aggregate))
