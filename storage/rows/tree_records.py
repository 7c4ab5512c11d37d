"""The rows of a search tree (stage `search`); `storage.rows.records` says what all rows share.

Invariant: a node's state is its parent's state and its own `steps`; the root has none.
"""

from __future__ import annotations

from dataclasses import dataclass


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
