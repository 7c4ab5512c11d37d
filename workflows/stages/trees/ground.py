"""Stage `ground`: GroundedPRM's tree per problem, whose steps a tool checks before they are used.

The sampled solutions are the tree's first simulations. In every later round the search goes down
from the bare problem by UCT. A step that was visited and has none behind it is expanded: the policy
samples a few next steps, and the tool checks each before any of them is chosen. The chosen step is
simulated: the policy writes the solution to its end, and the tool checks the steps behind it. Their
verdicts and the outcome give a value (`workflows.judging.tools.rollout_value`), which is backed up
to every step before them, less by a factor a step.

Invariant: a tree is a pure function of (run seed, problem, solutions, settings). Each row says
which rounds backed which value up to it, so that every choice can be made again from the rows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated

from pydantic import Field

from actors.engines.contract import Refusal
from actors.engines.reading import Reader
from actors.sandbox.contract import Rejected
from actors.workers.contract import ShardResult
from actors.workers.yields import Text, note_reply, solution_flaw
from storage.bounds import STRICT, Positive, Share, Temperature
from storage.rows.kinds import GROUNDED, PATHS, PROBLEMS, ShardRows
from storage.rows.records import Path, Problem
from storage.rows.tree_records import GroundedNode
from workflows.answers import read_answer
from workflows.estimation.grounded import chosen
from workflows.formats import steps as stepped
from workflows.formats.paper_form import PaperForm
from workflows.formats.solving import next_chat
from workflows.formats.step_by_step import next_opening, step_stops, written_step
from workflows.settings import StageSettings, sampling_of
from workflows.stages.kit import TEMPLATE, Kit, KitStage, Stage
from workflows.stages.trees.grounded import (
    Node,
    Tree,
    Written,
    choice_of,
    lines_of,
    name_of,
    row_of,
)
from workflows.stages.trees.growing import grown_trees
from workflows.stages.writing.tool import ToolUser

TOOL_USER = "rationale"
"""Role of the model that asks the tool and reads its answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroundSettings:
    """Stage `ground`: the tree of checked steps. Numbers of the tree are GroundedPRM's."""

    __pydantic_config__ = STRICT

    children: Positive = 3
    """Next steps of a step that is expanded."""
    rounds: Positive = 10
    """Simulations of a problem, its sampled solutions among them."""
    positives: Positive = 3
    """Right solutions wanted; once they are there the search seeks wrong ones."""
    negatives: Positive = 3
    """Wrong solutions wanted; with both the search ends before its `rounds`."""
    exploration: Annotated[float, Field(ge=0)] = 1.414
    """c of UCT = Q + c * sqrt(ln(visits of the step before) / visits)."""
    discount: Share = 0.9
    """What a value is worth one step earlier."""
    depth: Positive = 9
    """Most steps of a simulation; a longer one counts as wrong and is no solution."""
    temperature: Temperature = 1.0
    top_p: Share = 1.0
    top_k: int = -1
    max_tokens: Positive = 2048
    """Generated tokens of one simulation, or of one next step."""
    tries: Positive = 5
    """Texts of the tool's user until one has a verdict."""
    tool_temperature: Temperature = 0.6
    tool_tokens: Positive = 2048
    """Generated tokens of one query or verdict."""


class Grounder(KitStage[StageSettings]):
    """Grows trees of checked steps."""

    def __init__(self, kit: Kit[StageSettings]) -> None:
        super().__init__(kit)
        self._asked: GroundSettings = kit.own
        self._chat = next_chat(kit.settings.sample, kit.texts)
        self._sampling = sampling_of(self._asked)
        engine = kit.beside[TOOL_USER]
        assert not isinstance(engine, Reader)
        tool = replace(
            self._sampling,
            temperature=self._asked.tool_temperature,
            max_tokens=self._asked.tool_tokens,
        )
        form = PaperForm(kit.settings.rationalize.output_chars)
        self._tool = ToolUser(
            engine, kit.sandbox, kit.limits, tool, self._asked.tries, form, kit.texts, kit.seed_of
        )

    async def run(self, rows: ShardRows) -> ShardResult[GroundedNode]:
        """Grow a tree for each problem with selected paths.

        Drops all paths of a problem for a refusal of an engine or of the sandbox. Raises
        InfrastructureError.
        """

        async def grow(problem: Problem, paths: Sequence[Path]) -> list[GroundedNode]:
            tree = await self._grown(problem, paths)
            return [row_of(tree, node) for node in tree.nodes]

        grown, drops = await grown_trees(rows, grow)
        return ShardResult(
            tuple(grown),
            tuple(drops),
            {
                "tokens": sum(row.tokens for row in grown),
                "nodes": len(grown),
                "leaves": sum(row.leaf for row in grown),
                "code_runs": sum(len(row.executions) for row in grown),
                "no_verdict": sum(row.verdict is None for row in grown),
            },
        )

    async def _grown(self, problem: Problem, paths: Sequence[Path]) -> Tree:
        tree, asked = Tree(problem), self._asked
        for path in paths:
            await self._sampled(tree, path)
        while tree.round < asked.rounds:
            if tree.right >= asked.positives and tree.wrong >= asked.negatives:
                break
            await self._round(tree)
        return tree

    async def _sampled(self, tree: Tree, path: Path) -> None:
        """Hang a sampled solution into the tree, as the simulation of its first step."""
        texts = [
            text.removesuffix(stepped.header(at + 1)).rstrip()
            for at, text in enumerate(stepped.openings(path.text, path.steps))
        ]
        texts = [*texts[1:], path.text]
        written = [Written(step, text, None) for step, text in zip(path.steps, texts, strict=True)]
        written[-1] = replace(written[-1], correct=path.correct)
        first = next((child for child in tree.children if child.steps == (path.steps[0],)), None)
        known = [] if first is None or len(written) == 1 else [first]
        made = await self._checked(tree, known[0] if known else None, written[len(known) :])
        made[-1].name = path.path_id
        line = [*known, *made]
        if not known:
            line[0].simulated = False
            tree.children.append(line[0])
        tree.back_up(line[0], line[1:], path.correct, self._asked.discount)

    async def _round(self, tree: Tree) -> None:
        """Go down to a step, expand it where it has to be, and simulate the one that is chosen."""
        asked, node = self._asked, None
        sign = -1 if tree.right >= asked.positives else 1
        while node is None or (node.rounds and node.correct is None):
            if not (tree if node is None else node).full:
                await self._expand(tree, node)
            children = tree.children if node is None else node.children
            if not children:
                break
            choices = [choice_of(child) for child in children]
            visits = tree.round if node is None else len(node.rounds)
            node = children[chosen(choices, visits, asked.exploration, sign)]
        if node is None:
            tree.round += 1  # the policy wrote no step that can be read
        elif node.correct is not None or node.full:
            tree.back_up(node, [], bool(node.correct), asked.discount, again=bool(node.rounds))
        else:
            await self._simulate(tree, node)

    async def _expand(self, tree: Tree, node: Node | None) -> None:
        """Sample the next steps of a node, and have each checked."""
        before = node.steps if node else ()
        children = tree.children if node is None else node.children
        count = self._asked.children - len(children)
        (tree if node is None else node).full = True
        if count <= 0:
            return
        chat = self._chat(tree.problem, next_opening(node.text if node else "", len(before)))
        sampling = replace(
            self._sampling, n=count, stop=step_stops(len(before)),
            seed=self.kit.seed_of(f"{name_of(tree, before)}\x1fexpand"),
        )  # fmt: skip
        reply = await self.kit.engine.generate(chat, sampling)
        read = [written_step(done, chat.prefill, before) for done in reply.completions]
        note_reply(
            Text(tree.problem.problem_id, done.after(chat.prefill), written.flaw)
            for done, written in zip(reply.completions, read, strict=True)
        )
        known = {child.steps[-1] for child in children}
        fresh: dict[str, Written] = {}
        for done, written in zip(reply.completions, read, strict=True):
            if written.flaw is None and written.step not in known:
                right = await self._graded(tree, written.answer)
                found = Written(written.step, written.text, right, done.tokens)
                fresh.setdefault(written.step, found)
        made = await self._checked(tree, node, [*fresh.values()], side_by_side=True)
        for child in made:
            child.simulated = False
        children.extend(made)

    async def _simulate(self, tree: Tree, node: Node) -> None:
        """Write the solution behind a step to its end, and have its steps checked."""
        chat = self._chat(tree.problem, next_opening(node.text, len(node.steps)))
        seed = self.kit.seed_of(f"{name_of(tree, node.steps)}\x1fsimulate")
        reply = await self.kit.engine.generate(chat, replace(self._sampling, n=1, seed=seed))
        (done,) = reply.completions
        text = done.after(chat.prefill)
        whole, done_before = stepped.whole(text), len(node.steps)
        answer = read_answer(text) if done.finish_reason == "stop" else None
        flaw = solution_flaw(done.finish_reason, answer)
        note_reply([Text(tree.problem.problem_id, text, flaw)])
        behind = whole[done_before:] if whole[:done_before] == node.steps else ()
        ends = flaw is None and 0 < len(behind) <= self._asked.depth
        right = bool(await self._graded(tree, answer)) if ends else False
        written = lines_of(node, behind[: self._asked.depth], right if ends else None, done)
        made = await self._checked(tree, node, written)
        tree.back_up(node, made, right, self._asked.discount)

    async def _checked(
        self, tree: Tree, above: Node | None, written: Sequence[Written], side_by_side: bool = False
    ) -> list[Node]:
        """Make nodes of the steps of a line, or of next steps, once the tool has checked each."""
        before = above.steps if above else ()
        texts = [each.step for each in written]
        behind = [before if side_by_side else (*before, *texts[:at]) for at in range(len(texts))]
        start = len(tree.nodes)
        checks = await asyncio.gather(
            *(
                self._tool.check(
                    tree.problem.problem, steps, text,
                    f"{name_of(tree, (*steps, text))}\x1f{start + at}",
                )
                for at, (steps, text) in enumerate(zip(behind, texts, strict=True))
            )
        )  # fmt: skip
        made: list[Node] = []
        for each, steps, checked in zip(written, behind, checks, strict=True):
            made.append(
                Node(
                    f"{tree.problem.problem_id}#g{start + len(made)}",
                    made[-1] if made and not side_by_side else above,
                    (*steps, each.step), each.text, checked, tree.round,
                    each.tokens + checked.tokens, True, each.correct,
                )
            )  # fmt: skip
        tree.nodes += made
        return made

    async def _graded(self, tree: Tree, answer: str | None) -> bool | None:
        if answer is None:
            return None
        (right,) = await self.kit.grader.grade(tree.problem.answer, [answer])
        return right


GROUND = Stage(
    rows=GROUNDED,
    role="policy",
    beside={"rationale": ()},
    asks=("solve_system", "solve", "tool_system", "tool_query", "tool_verdict"),
    reads=(PROBLEMS, PATHS),
    runs_code=True,
    verifies=True,
    solves=True,
    remedy=f"the tool's user writes no verdict in the form that it is asked for: {TEMPLATE}, or "
    "take a stronger one",
    says="grows a tree of steps that a tool checks before they are used",
    settings=GroundSettings,
    caveat="""\
- Verdicts are a model's, by the output of code that it wrote itself. Every output is real
  (the code was run), but the model may have asked about something other than the step.
""",
    drops=(*Refusal, *Rejected),
    make=Grounder,
)
