"""Which of several solutions gives the answer, and when that is decided.

Invariant: all functions are pure, and ties go to the first in order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from workflows.searching.tree import Node
from workflows.votes.rewards import Aggregate


def best(nodes: Sequence[Node], aggregate: Aggregate) -> Node:
    """The node with the highest score. Raises ValueError for no nodes."""
    return max(nodes, key=lambda node: node.score(aggregate))


def votes(
    nodes: Sequence[Node], spelled: Mapping[str, str], aggregate: Aggregate | None
) -> dict[str, float]:
    """Answer -> sum of its votes, in the order in which answers first came.

    A solution has as many votes as copies, each of its score, or of 1 where `aggregate` is None.
    """
    sums: dict[str, float] = {}
    for node in nodes:
        assert node.answer is not None, "only whole solutions have a vote"
        answer = spelled[node.answer]
        weight = 1.0 if aggregate is None else max(0.0, node.score(aggregate))
        sums[answer] = sums.get(answer, 0.0) + node.copies * weight
    return sums


def elected(sums: Mapping[str, float]) -> str:
    """The answer with the most votes. Raises ValueError for none."""
    return max(sums, key=lambda answer: sums[answer])


def is_elected(sums: Mapping[str, float], left: int) -> bool:
    """Whether `left` further votes of at most 1 each can't change which answer is elected."""
    if not sums:
        return left == 0
    names = list(sums)
    first = elected(sums)
    rivals = [
        (sums[name], names.index(name) < names.index(first)) for name in names if name != first
    ]
    rivals.append((0.0, False))  # an answer that nobody gave yet comes behind in a tie
    lead = sums[first]
    return all(votes + left < lead if ahead else votes + left <= lead for votes, ahead in rivals)
