"""A beginning of a solution, and what a search can do with it.

Invariant: a node is a prefix of steps. What is sampled from it, and its rewards, depend on the
problem and the prefix alone, so that a search is a pure function of its settings and seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from workflows.votes.rewards import Aggregate, solution_score

ANSWERED = "answered"
"""End of a node that is a whole solution with an answer."""


class Ended(StrEnum):
    """Why a search ended; closed. Behind all but the first two there may be no answer."""

    DONE = "done"
    """It came to its end."""
    ENOUGH = "enough"
    """Nothing more could change the answer, or a score was high enough."""
    DEAD_END = "dead_end"
    """Every beginning ended without an answer, or could not be judged."""
    DEPTH = "depth"
    """All solutions are longer than `solve.depth` steps."""
    BUDGET = "budget"
    """`solve.budget` was spent before a solution was whole."""
    NODES = "nodes"
    """`solve.nodes` samples were drawn before a solution was whole."""


@dataclass(slots=True, eq=False)
class Node:
    """The first steps of a solution, or all of them."""

    steps: tuple[str, ...] = ()
    text: str = ""
    """As the policy wrote it, with the headers of its steps."""
    parent: Node | None = None
    tokens: int = 0
    """That the policy generated for it, beside its parent's."""
    answer: str | None = None
    end: str | None = None
    """`ANSWERED`, or why nothing goes on from here; None: it can go on."""
    copies: int = 1
    """Samples that came out as this node."""
    rewards: tuple[float, ...] = ()
    """Of its steps, as far as they were judged."""

    @property
    def alive(self) -> bool:
        """Whether it is a whole solution, or may become one."""
        return self.end in (None, ANSWERED)

    def score(self, aggregate: Aggregate) -> float:
        """Its rewards as one number; -1 where nothing was judged."""
        return solution_score(self.rewards, aggregate) if self.rewards else -1.0


class Moves(Protocol):
    """What a search asks for; each call counts what it costs."""

    @property
    def root(self) -> Node:
        """The bare problem."""
        ...

    async def next_steps(self, node: Node, n: int) -> list[Node]:
        """Sample n next steps; equal ones are one node. A later call for the node draws others."""
        ...

    async def solutions(self, n: int) -> list[Node]:
        """Sample n whole solutions; those that an earlier call returned too are counted there."""
        ...

    async def judge(
        self, nodes: Sequence[Node], aggregate: Aggregate, bound: float | None = None
    ) -> None:
        """Give nodes their rewards; one that can't be judged gets an end.

        `bound`: a node is judged only until its score is at most that, where later steps can't
        raise it.
        """
        ...

    async def spelled(self, answers: Sequence[str]) -> Mapping[str, str]:
        """Answer -> the first of the answers that it equals."""
        ...

    def over(self) -> Ended | None:
        """Why nothing more may be asked for: `BUDGET`, `NODES`; None: it may."""
        ...
