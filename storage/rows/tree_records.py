"""The rows of search trees (stages `search` and `ground`); see `storage.rows.records`.

Invariant: a node's state is its parent's state and its own `steps`; the root has none.
"""

from __future__ import annotations

from dataclasses import dataclass

from storage.rows.records.verdicts import CodeRun


@dataclass(frozen=True, slots=True)
class TreeNode:
    """One node of a problem's tree (stage `search`): a state, or the end of a whole solution."""

    node_id: str
    """`{problem_id}#t{number}`; a leaf has the id of its path or rollout."""
    parent_id: str | None
    """The node whose state this one continues; None for the root, the bare problem."""
    problem_id: str
    steps: list[str]
    """Steps between the parent's state and this one; where tokens are halved, their text as one."""
    text: str
    """The steps as one text, without blanks around it."""
    mc: float
    """c / n; for a leaf 1 if its answer is right, else 0."""
    n: int
    """Rollouts made from here; 0 for a leaf."""
    c: int
    source_rollout: str | None
    """The path or rollout (`{node_id}r{index}`) that the node is part of; None for the root."""
    visits: int
    """How often the search chose this node to continue from."""
    leaf: bool
    model: str
    seed: int
    tokens: int


@dataclass(frozen=True, slots=True)
class GroundedNode:
    """One step in a problem's tree of checked steps (stage `ground`).

    The root, the bare problem, has no row. A leaf is the last step of a whole solution.
    """

    node_id: str
    """`{problem_id}#g{number}`, in the order in which they were made; a sampled solution's last
    step has the id of its path."""
    parent_id: str | None
    """The step before it; None for a first step."""
    problem_id: str
    step: str
    query: str
    """The code that asks the tool about the step; "" where the model wrote none."""
    executions: list[CodeRun]
    """Its run: what the tool answered. Empty without a query."""
    verification: str
    """The query and the tool's answer, as an example shows them."""
    reason: str
    """Why the model judges so, given the tool's answer."""
    verdict: bool | None
    """True if the step is right; None: no try could be read."""
    tries: int
    """Texts that the model wrote until a verdict could be read."""
    simulated: bool
    """Whether it is part of a simulation; the search chooses only among the others."""
    created: int
    """The round that made it."""
    rounds: list[int]
    """The rounds that backed a value up to it, in order; as many as it has visits."""
    backed: list[float]
    """The values."""
    leaf: bool
    correct: bool
    """For a leaf: whether its answer is right."""
    tokens: int
    """Of the step, its query and its verdict."""
    seed: int

    @property
    def value(self) -> float | None:
        """Its mean value, by which the search chooses; None before its first visit."""
        return sum(self.backed) / len(self.backed) if self.backed else None
