"""A world for searches that is small enough to be enumerated: steps and rewards by hashing."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from workflows.searching.methods import FALLING
from workflows.searching.tree import ANSWERED, Ended, Node
from workflows.votes.rewards import Aggregate, solution_score

Prefix = tuple[str, ...]


@dataclass
class Toy:
    """Moves over a tree in which each prefix has `branches` next steps and ends at `depth`."""

    seed: int
    branches: int = 3
    depth: int = 3
    answers: int = 4
    dead: float = 0.0
    """Share of prefixes that are dead ends."""
    short: float = 0.0
    """Share of prefixes that are whole solutions before `depth`."""
    most: int = 10**9
    """Samples after which nothing more may be asked for."""
    levels: int = 0
    """Rewards are multiples of 1 / levels; 0: any."""
    sampled: int = 0
    judged: int = 0
    """Steps that were judged."""
    root: Node = field(default_factory=Node)

    def __post_init__(self) -> None:
        self._drawn: dict[Prefix, int] = {}
        self._known: dict[Prefix, Node] = {}
        self._rewards: dict[Prefix, float] = {}

    def chance(self, *of: object) -> float:
        """A number in [0, 1) that depends on `of` alone."""
        digest = hashlib.sha256(repr((self.seed, of)).encode()).digest()
        return int.from_bytes(digest[:6], "big") / (1 << 48)

    def reward(self, prefix: Prefix) -> float:
        """Of the last step of a prefix."""
        chance = self.chance("reward", prefix)
        return round(chance * self.levels) / self.levels if self.levels else chance

    def score(self, prefix: Prefix, aggregate: Aggregate) -> float:
        """Of a whole prefix."""
        rewards = [self.reward(prefix[: size + 1]) for size in range(len(prefix))]
        return solution_score(rewards, aggregate)

    def draw(self, prefix: Prefix, index: int) -> Prefix:
        """The prefix that sample `index` of a prefix leads to."""
        branch = int(self.chance("step", prefix, index) * self.branches)
        return (*prefix, f"s{branch}")

    def whole(self, prefix: Prefix) -> bool:
        """Whether a prefix is a whole solution."""
        return len(prefix) == self.depth or (
            len(prefix) > 1 and self.chance("short", prefix) < self.short
        )

    def node(self, prefix: Prefix, parent: Node | None, samples: int) -> Node:
        """The node of a prefix."""
        end = None
        if self.chance("dead", prefix) < self.dead:
            end = "no_box"
        elif self.whole(prefix):
            end = ANSWERED
        answer = (
            f"a{int(self.chance('answer', prefix) * self.answers)}" if end == ANSWERED else None
        )
        return Node(prefix, " ".join(prefix), parent, samples, answer, end, samples)

    async def next_steps(self, node: Node, n: int) -> list[Node]:
        start = self._drawn.get(node.steps, 0)
        self._drawn[node.steps] = start + n
        self.sampled += n
        drawn = [self.draw(node.steps, start + index) for index in range(n)]
        return [self.node(each, node, drawn.count(each)) for each in dict.fromkeys(drawn)]

    async def solutions(self, n: int) -> list[Node]:
        start = self._drawn.get((), 0)
        self._drawn[()] = start + n
        self.sampled += n
        fresh = []
        for index in range(start, start + n):
            prefix: Prefix = ()
            while not self.whole(prefix):
                prefix = self.draw(prefix, index)
            if prefix in self._known:
                self._known[prefix].copies += 1
            else:
                self._known[prefix] = self.node(prefix, None, 1)
                fresh.append(self._known[prefix])
        return fresh

    async def judge(
        self, nodes: Sequence[Node], aggregate: Aggregate, bound: float | None = None
    ) -> None:
        for node in nodes:
            for size in range(1, len(node.steps) + 1):
                prefix = node.steps[:size]
                self.judged += prefix not in self._rewards
                self._rewards[prefix] = self.reward(prefix)
                node.rewards = tuple(self._rewards[prefix[:at]] for at in range(1, size + 1))
                low = bound is not None and solution_score(node.rewards, aggregate) <= bound
                if low and aggregate in FALLING:
                    break

    async def spelled(self, answers: Sequence[str]) -> Mapping[str, str]:
        return {answer: answer for answer in answers}

    def over(self) -> Ended | None:
        return Ended.NODES if self.sampled >= self.most else None
