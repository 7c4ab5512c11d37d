"""The tree of stage `ground` while it is grown: its steps, and the values backed up to them.

Invariant: a value goes up from a simulated step to every step before it, once a round.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from actors.engines.contract import Completion
from storage.rows.records import Problem
from storage.rows.tree_records import GroundedNode
from storage.seeds import prefix_name
from workflows.estimation.grounded import Choice
from workflows.formats.step_by_step import next_opening
from workflows.judging.tools import rollout_value
from workflows.stages.writing.tool import Checked


@dataclass(slots=True, eq=False)
class Node:
    """One step."""

    name: str
    above: Node | None
    steps: tuple[str, ...]
    """From the first one on."""
    text: str
    """The policy's text up to the end of this step."""
    checked: Checked
    created: int
    tokens: int = 0
    simulated: bool = False
    correct: bool | None = None
    """Whether the answer is right; None where the solution goes on."""
    children: list[Node] = field(default_factory=list)
    full: bool = False
    """Whether it was expanded."""
    rounds: list[int] = field(default_factory=list)
    backed: list[float] = field(default_factory=list)


@dataclass(slots=True)
class Tree:
    """The steps of one problem."""

    problem: Problem
    nodes: list[Node] = field(default_factory=list)
    """All but the root, in the order in which they were made."""
    children: list[Node] = field(default_factory=list)
    full: bool = False
    round: int = 0
    right: int = 0
    wrong: int = 0
    """Whole solutions."""

    def back_up(
        self,
        node: Node,
        behind: Sequence[Node],
        right: bool,
        discount: float,
        again: bool = False,
    ) -> None:
        """Give a simulation's value to its step and, less by `discount` a step, to those before it.

        The steps `behind` it have the value of what is behind each. `again`: the end of a solution
        that was reached before, which is not counted twice.
        """
        verdicts = [each.checked.verdict for each in behind]
        value = rollout_value(verdicts, right)
        each_above: Node | None = node
        while each_above is not None:
            each_above.rounds.append(self.round)
            each_above.backed.append(value)
            each_above, value = each_above.above, value * discount
        for at, each in enumerate(behind):
            each.rounds.append(self.round)
            each.backed.append(rollout_value(verdicts[at + 1 :], right))
        last = behind[-1] if behind else node
        if last.correct is not None and not again:
            self.right += last.correct
            self.wrong += not last.correct
        self.round += 1


@dataclass(frozen=True, slots=True)
class Written:
    """One step that was sampled and not checked yet."""

    step: str
    text: str
    correct: bool | None
    tokens: int = 0


def choice_of(node: Node) -> Choice:
    """What the tree policy reads of a step."""
    visits = len(node.backed)
    value = sum(node.backed) / visits if visits else None
    return Choice(value, visits, node.checked.verdict)


def lines_of(
    node: Node, behind: Sequence[str], right: bool | None, done: Completion
) -> list[Written]:
    """The steps of a simulation; the whole text's tokens are the first one's."""
    text, lines = node.text, []
    for at, step in enumerate(behind):
        text = next_opening(text, len(node.steps) + at) + step
        lines.append(Written(step, text, None, done.tokens if at == 0 else 0))
    if lines:
        lines[-1] = replace(lines[-1], correct=right)
    return lines


def name_of(tree: Tree, steps: Sequence[str]) -> str:
    """The name of a prefix among the requests of a run."""
    return f"{tree.problem.problem_id}\x1f{prefix_name(steps)}"


def row_of(tree: Tree, node: Node) -> GroundedNode:
    """The row of a step."""
    checked = node.checked
    return GroundedNode(
        node_id=node.name, parent_id=node.above.name if node.above else None,
        problem_id=tree.problem.problem_id, step=node.steps[-1], query=checked.query,
        executions=list(checked.runs), verification=checked.verification, reason=checked.reason,
        verdict=checked.verdict, tries=checked.tries, simulated=node.simulated,
        created=node.created, rounds=node.rounds, backed=node.backed,
        leaf=node.correct is not None and bool(node.rounds), correct=bool(node.correct),
        tokens=node.tokens, seed=checked.seed,
    )  # fmt: skip
