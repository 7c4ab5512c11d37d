"""Unfolds a search tree into paths: one from the root to each leaf, with the states on the way.

A step of such a path is an edge of the tree: one or more steps of the solution.

Invariant: pure. After stages `search` and `ground` every stage gets these paths as the selected
ones. It also gets the sampled paths, unselected, for what they say of the problem.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from storage.rows.records import AnswerCount, Path, Rationale, StateRollouts
from storage.rows.tree_records import GroundedNode, TreeNode


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


def grounded_chains(tree: Sequence[GroundedNode]) -> dict[str, list[GroundedNode]]:
    """Id of each leaf -> the steps of its solution, in order."""
    nodes = {node.node_id: node for node in tree}
    chains = {}
    for leaf in (node for node in tree if node.leaf):
        chain = [leaf]
        while (above := chain[0].parent_id) is not None:
            chain.insert(0, nodes[above])
        chains[leaf.node_id] = chain
    return chains


def grounded(
    sampled: Sequence[Path], tree: Sequence[GroundedNode]
) -> tuple[list[Path], list[Rationale]]:
    """(sampled paths unselected, then a selected path per leaf; what was written of each)."""
    known = {path.path_id: path for path in sampled}
    paths = [replace(path, selected=False) for path in sampled]
    written = []
    for index, (name, chain) in enumerate(grounded_chains(tree).items()):
        leaf = chain[-1]
        text = "\n\n".join(node.step for node in chain)
        path = known.get(name) or Path(
            path_id=name, problem_id=leaf.problem_id, index=index, round=1, text=text, steps=[],
            finish_reason="stop", answer=None, correct=leaf.correct, valid=True,
            invalid_reason=None, duplicate_of=None, selected=True, tokens=0, seed=leaf.seed,
        )  # fmt: skip
        paths.append(replace(path, steps=[node.step for node in chain], selected=True))
        written.append(_written(chain))
    return paths, written


def _written(chain: list[GroundedNode]) -> Rationale:
    leaf = chain[-1]
    runs = [replace(run, step=at) for at, node in enumerate(chain) for run in node.executions]
    return Rationale(
        path_id=leaf.node_id, problem_id=leaf.problem_id,
        analyses=[node.reason for node in chain],
        verifications=[node.verification for node in chain], executions=runs, votes=[], text="",
        code_rounds=len(runs), finish_reason="stop", model="", seed=leaf.seed,
        tokens=sum(node.tokens for node in chain),
    )  # fmt: skip
