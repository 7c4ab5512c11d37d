"""Unfolds a search tree into paths: one from the root to each leaf, with the states on the way.

A step of such a path is an edge of the tree: one or more steps of the solution.

Invariant: pure. After stage `search` every stage gets these paths as the selected ones. It also
gets the sampled paths, unselected, for what they say of the problem.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from storage.rows.records import AnswerCount, Path, StateRollouts
from storage.rows.tree_records import TreeNode


def unfolded(
    sampled: Sequence[Path], tree: Sequence[TreeNode]
) -> tuple[list[Path], list[StateRollouts]]:
    """(sampled paths unselected, then a selected path per leaf; rollouts of the tree's states)."""
    nodes = {node.node_id: node for node in tree}
    paths = [replace(path, selected=False) for path in sampled]
    rollouts: list[StateRollouts] = []
    paid: set[str] = set()
    for index, leaf in enumerate(node for node in tree if node.leaf):
        chain = [leaf]
        while (above := chain[0].parent_id) is not None:
            chain.insert(0, nodes[above])
        paths.append(_path(leaf, chain, index))
        for state, node in enumerate(chain[:-1]):
            rollouts.append(_row(leaf, node, state, node.node_id in paid))
            paid.add(node.node_id)
    return paths, rollouts


def _path(leaf: TreeNode, chain: list[TreeNode], index: int) -> Path:
    return Path(
        path_id=leaf.node_id, problem_id=leaf.problem_id, index=index, round=1,
        text="\n\n".join(node.text for node in chain[1:]),
        steps=[node.text for node in chain[1:]], finish_reason="stop", answer=None,
        correct=leaf.mc == 1, valid=True, invalid_reason=None, duplicate_of=None, selected=True,
        tokens=0, seed=leaf.seed,
    )  # fmt: skip


def _row(leaf: TreeNode, node: TreeNode, state: int, shared: bool) -> StateRollouts:
    answers = [AnswerCount(None, node.c, True), AnswerCount(None, node.n - node.c, False)]
    return StateRollouts(
        path_id=leaf.node_id, problem_id=leaf.problem_id, state=state, round=0, n=node.n, c=node.c,
        answers=answers, truncated=0, stop_rule="exact", shared=shared, model=node.model,
        seed=node.seed, tokens=0 if shared else node.tokens,
    )  # fmt: skip
