"""Stage `search`: a tree of states per problem, grown where a wrong rollout first errs.

The sampled solutions and the completion model's rollouts from the bare problem are rollouts of the
root. OmegaPRM's rule picks a wrong one. Halving finds its first state without a right rollout. What
is halved are the rollout's steps, or its words weighed by their tokens (`search.halve`).
Every state on the way becomes a node, whose own wrong rollouts may be picked later. Every rollout
that was searched stays in the tree as a leaf.

Invariant: a tree is a pure function of (run seed, problem, solutions, settings). A node is a
prefix, and is made once. Its parent is the longest other prefix of it in the tree.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from actors.engines.contract import Refusal
from actors.workers.contract import ShardResult
from actors.workers.yields import Text, note_reply, solution_flaw
from storage.errors import ItemError
from storage.rows.kinds import PATHS, PROBLEMS, ROLLOUTS, TREE, ShardRows
from storage.rows.records import Drop, Path, Problem
from storage.rows.tree_records import TreeNode
from storage.seeds import prefix_name
from workflows.answers import read_answer
from workflows.estimation.omega import Candidate, choose, middle
from workflows.formats import steps
from workflows.formats.solving import next_chat
from workflows.labels.rule import Unlabelled
from workflows.settings import SearchSettings, StageSettings, sampling_of
from workflows.stages.estimate import ROLLOUT_TOKENS, check_rollouts, rolled_anew
from workflows.stages.kit import Kit, KitStage, Stage
from workflows.stages.trees.growing import grown_trees

Steps = tuple[str, ...]
"""The units of a rollout that a search halves: its steps, or its words with the blanks before."""
_WORD = re.compile(r"\s*\S+")
_FIRST = steps.header(1).rstrip()


@dataclass(slots=True)
class _Rollout:
    name: str
    text: str
    steps: Steps
    correct: bool
    start: Steps
    """The prefix that it continues."""


@dataclass(slots=True)
class _Node:
    name: str
    prefix: Steps
    source: str | None
    c: int
    seed: int
    tokens: int
    rollouts: list[_Rollout]
    visits: int = 0


@dataclass(slots=True)
class _Tree:
    problem: Problem
    nodes: dict[Steps, _Node] = field(default_factory=dict)
    leaves: dict[Steps, _Rollout] = field(default_factory=dict)
    open: list[_Rollout] = field(default_factory=list)
    """Wrong rollouts that were not searched yet."""
    made: int = 0


class TreeSearcher(KitStage[StageSettings]):
    """Grows trees with the completion model."""

    def __init__(self, kit: Kit[StageSettings]) -> None:
        super().__init__(kit)
        self._chat = next_chat(kit.settings.sample, kit.texts)
        self._sampling = sampling_of(kit.settings.estimate)
        self._asked = kit.settings.search
        self._by_tokens = self._asked.halve == "tokens"
        spell = kit.spell
        self._tokens: Callable[[str], int] = (
            (lambda word: 1) if spell is None else (lambda word: len(spell(word)))
        )

    async def run(self, rows: ShardRows) -> ShardResult[TreeNode]:
        """Grow a tree for each problem with selected paths.

        Drops all paths of a problem, as `mc_zero_start` if no rollout from the bare problem is
        right, or as `too_long`. Raises InfrastructureError.
        """

        async def grow(problem: Problem, paths: Sequence[Path]) -> list[TreeNode]:
            return self._rows(await self._grown(problem, paths))

        grown, drops = await grown_trees(rows, grow)
        return ShardResult(tuple(grown), tuple(drops), _counts(grown, drops))

    async def _grown(self, problem: Problem, paths: Sequence[Path]) -> _Tree:
        tree = _Tree(problem)
        root = await self._node(tree, (), steps.openings(paths[0].text, paths[0].steps)[0], None)
        if root.c == 0:
            raise ItemError(
                Unlabelled.MC_ZERO_START, f"0 of {self._asked.rollouts} rollouts are right"
            )
        for path in paths:
            units = self._units(path.text) if self._by_tokens else tuple(path.steps)
            seeded = _Rollout(path.path_id, path.text, units, path.correct, ())
            tree.leaves[seeded.steps] = seeded
            if not path.correct:
                tree.open.append(seeded)
        for _ in range(self._asked.searches):
            if not tree.open or tree.made >= self._asked.most_rollouts:
                break
            await self._search(tree)
        return tree

    async def _search(self, tree: _Tree) -> None:
        """Pick a wrong rollout and find its first state without a right one."""
        starts = [tree.nodes[rollout.start] for rollout in tree.open]
        k = self._asked.rollouts
        candidates = [
            Candidate(
                node.c / k, node.visits, _words(self._text(rollout.steps[len(node.prefix) :]))
            )
            for node, rollout in zip(starts, tree.open, strict=True)
        ]
        total = sum(node.visits for node in tree.nodes.values())
        place = choose(candidates, total, self._asked)
        starts[place].visits += 1
        rollout = tree.open.pop(place)
        tree.leaves.setdefault(rollout.steps, rollout)
        live, dead = len(rollout.start), len(rollout.steps)
        lengths = [self._tokens(unit) if self._by_tokens else 1 for unit in rollout.steps]
        least = self._asked.edge if self._by_tokens else 1
        openings = self._openings(rollout)
        while dead - live > 1 and sum(lengths[live:dead]) > least:
            if tree.made >= self._asked.most_rollouts:
                break
            cut = middle(lengths, live, dead)
            node = await self._node(tree, rollout.steps[:cut], openings(cut), rollout.name)
            live, dead = (cut, dead) if node.c else (live, cut)

    def _units(self, text: str) -> Steps:
        if not self._by_tokens:
            return tuple(steps.whole(text))
        return tuple(_WORD.findall(text.removeprefix(_FIRST)))

    def _text(self, units: Steps) -> str:
        return ("" if self._by_tokens else steps.SEPARATOR).join(units)

    def _openings(self, rollout: _Rollout) -> Callable[[int], str]:
        """Cut -> the text that a rollout of the state before it continues."""
        if self._by_tokens:
            return lambda cut: _FIRST + "".join(rollout.steps[:cut])
        return steps.openings(rollout.text, rollout.steps).__getitem__

    async def _node(self, tree: _Tree, prefix: Steps, opening: str, source: str | None) -> _Node:
        """Return the node of a prefix; a new node gets rollouts that continue `opening`."""
        if prefix in tree.nodes:
            return tree.nodes[prefix]
        problem, n = tree.problem, self._asked.rollouts
        seed = self.kit.seed_of(f"{problem.problem_id}\x1f{prefix_name(prefix)}")
        chat = self._chat(problem, opening)
        reply = await self.kit.engine.generate(chat, replace(self._sampling, n=n, seed=seed))
        texts = [done.after(chat.prefill) for done in reply.completions]
        ended = [done.finish_reason == "stop" for done in reply.completions]
        answers = [read_answer(text) if end else None
                   for text, end in zip(texts, ended, strict=True)]  # fmt: skip
        note_reply(
            Text(problem.problem_id, text, solution_flaw(done.finish_reason, answer))
            for done, text, answer in zip(reply.completions, texts, answers, strict=True)
        )
        verdicts = await self.kit.grader.grade(problem.answer, answers)
        name = f"{problem.problem_id}#t{len(tree.nodes)}"
        rollouts = [
            _Rollout(f"{name}r{index}", text, self._units(text),
                     right and answer is not None, prefix)
            for index, (text, answer, right) in enumerate(
                zip(texts, answers, verdicts, strict=True))
        ]  # fmt: skip
        node = tree.nodes[prefix] = _Node(
            name, prefix, source, sum(rollout.correct for rollout in rollouts), seed,
            sum(done.tokens for done in reply.completions), rollouts,
        )  # fmt: skip
        tree.made += len(rollouts)
        if node.c:
            known = {rollout.steps for rollout in tree.open} | tree.leaves.keys()
            for rollout, end in zip(rollouts, ended, strict=True):
                fresh = rollout.steps not in known and len(rollout.steps) > len(prefix)
                if not rollout.correct and end and fresh and rollout.steps[: len(prefix)] == prefix:
                    known.add(rollout.steps)
                    tree.open.append(rollout)
        return node

    def _rows(self, tree: _Tree) -> list[TreeNode]:
        """The rows of a tree: nodes in the order in which they were made, then leaves."""
        k = self._asked.rollouts
        rows = [
            self._row(tree, node.prefix, node.name, node.source, n=k, c=node.c, mc=node.c / k,
                      visits=node.visits, seed=node.seed, tokens=node.tokens)
            for node in tree.nodes.values()
        ]  # fmt: skip
        return rows + [
            self._row(tree, steps, leaf.name, leaf.name, n=0, c=0, mc=float(leaf.correct),
                      visits=0, seed=0, tokens=0, leaf=True)
            for steps, leaf in tree.leaves.items()
        ]  # fmt: skip

    def _row(
        self, tree: _Tree, steps: Steps, name: str, source: str | None, *, leaf: bool = False,
        n: int, c: int, mc: float, visits: int, seed: int, tokens: int,
    ) -> TreeNode:  # fmt: skip
        above = [steps[:size] for size in range(len(steps)) if steps[:size] in tree.nodes]
        parent = tree.nodes[above[-1]] if above else None
        units = steps[len(parent.prefix) :] if parent else steps
        text = self._text(units)
        own = list(units)
        if self._by_tokens:
            own, text = [text] if units else [], text.strip()
        return TreeNode(
            node_id=name, parent_id=parent.name if parent else None,
            problem_id=tree.problem.problem_id, steps=own, text=text, mc=mc, n=n, c=c,
            source_rollout=source, visits=visits, leaf=leaf, model=self.kit.model, seed=seed,
            tokens=tokens,
        )  # fmt: skip


def _words(text: str) -> int:
    return len(text.split())


def _counts(rows: Sequence[TreeNode], drops: Sequence[Drop]) -> dict[str, int]:
    return {
        "tokens": sum(row.tokens for row in rows),
        "rollouts": sum(row.n for row in rows),
        "nodes": sum(not row.leaf for row in rows),
        "leaves": sum(row.leaf for row in rows),
        "problems_dropped": len({drop.item.rpartition("#")[0] for drop in drops}),
    }


SEARCH = Stage(
    rows=TREE,
    role="completer",
    asks=("solve_system", "solve"),
    reads=(PROBLEMS, PATHS),
    solves=True,
    longest=ROLLOUT_TOKENS,
    says="grows a tree of states where wrong rollouts first err",
    settings=SearchSettings,
    also=(ROLLOUTS.stage,),
    check=check_rollouts,
    redone=rolled_anew,
    drops=(Unlabelled.MC_ZERO_START, *Refusal),
    make=TreeSearcher,
)
