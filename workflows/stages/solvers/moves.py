"""The moves of a search with real models: a policy that writes steps, a scorer that judges them.

Invariant: what is sampled from a beginning follows from (seed, problem, beginning, how many were
sampled from it before), and a beginning's rewards from (seed, problem, beginning). Each beginning
is judged once; its histories go on from those of its parent, in every continuation anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import partial
from statistics import fmean

from actors.engines.admission import together
from actors.engines.contract import Chat, Engine, Sampling
from actors.grading.pool import Grader
from actors.sandbox.session import retried_item
from actors.workers.yields import Text, note_reply
from storage.errors import ItemError
from storage.rows.records import Problem
from workflows.answers import read_answer
from workflows.answers.grading import spelled
from workflows.formats import steps
from workflows.formats.step_by_step import next_opening, step_stops, written_step
from workflows.formats.steps import Flaw, flaw
from workflows.searching.methods import FALLING
from workflows.searching.tree import ANSWERED, Ended, Node
from workflows.settings.solving import SolveSettings
from workflows.stages.scorers.contract import Judging, Scorer
from workflows.votes.rewards import Aggregate, solution_score

Prefix = tuple[str, ...]


@dataclass(slots=True)
class Judged:
    """What the verifier said of a beginning."""

    reward: float | None
    """Of its last step; None: no history could judge it."""
    histories: Mapping[int, Judging]
    """Those that can go on."""
    reason: str = ""
    """Why there is no reward."""


@dataclass(slots=True)
class Cost:
    """What a search has cost so far."""

    samples: int = 0
    judged: int = 0
    policy_tokens: int = 0
    verifier_tokens: int = 0
    code_runs: int = 0
    duplicates: int = 0
    dead_ends: int = 0

    @property
    def tokens(self) -> int:
        """Of both models."""
        return self.policy_tokens + self.verifier_tokens

    @property
    def counts(self) -> dict[str, int]:
        """For a commit."""
        return {"tokens": self.tokens, **asdict(self)}

    def add(self, other: Cost) -> None:
        """Add what another search cost."""
        for part in fields(self):
            total = getattr(self, part.name) + getattr(other, part.name)
            setattr(self, part.name, total)


@dataclass(slots=True)
class ModelMoves:
    """The moves of one problem's search (`workflows.searching.tree.Moves`)."""

    problem: Problem
    asked: SolveSettings
    policy: Engine
    chat: Callable[[Problem, str], Chat]
    sampling: Sampling
    seed_of: Callable[[str, int], int]
    grader: Grader
    scorer: Scorer | None = None
    """None: nothing is judged."""
    histories: int = 1
    cost: Cost = field(default_factory=Cost)
    root: Node = field(default_factory=Node)
    nodes: list[Node] = field(default_factory=list)
    """Every node that was made, in order."""
    _known: dict[Prefix, Node] = field(default_factory=dict)
    """Steps of a solution that was sampled whole -> its node."""
    _drawn: dict[Prefix, int] = field(default_factory=dict)
    _judged: dict[Prefix, Judged] = field(default_factory=dict)

    async def next_steps(self, node: Node, n: int) -> list[Node]:
        """See `Moves.next_steps`. Raises ItemError where the bare problem can't be asked about."""
        room = min(self.asked.step_tokens, self.asked.max_tokens - _tokens_of(node))
        if room < 1:
            return self._dead(node, Flaw.TRUNCATED)
        start = self._draw(node.steps, n)
        chat = self.chat(self.problem, next_opening(node.text, len(node.steps)))
        sampling = replace(
            self.sampling,
            n=n,
            max_tokens=room,
            stop=step_stops(len(node.steps)),
            seed=self.seed_of(_name(self.problem, node.steps), start),
        )
        try:
            reply = await self.policy.generate(chat, sampling)
        except ItemError as error:
            if node is self.root:
                raise
            return self._dead(node, error.reason)
        fresh: dict[tuple[Prefix, str | None], Node] = {}
        texts = []
        for done in reply.completions:
            written = written_step(done, chat.prefill, node.steps)
            end = written.flaw or (ANSWERED if written.ends else None)
            prefix = (*node.steps, written.step)
            self.cost.policy_tokens += done.tokens
            texts.append(Text(self.problem.problem_id, done.after(chat.prefill), written.flaw))
            if twin := fresh.get((prefix, end)):
                self.cost.duplicates += 1
                twin.copies += 1
                continue
            fresh[prefix, end] = Node(prefix, written.text, node, done.tokens, written.answer, end)
        note_reply(texts)
        self.nodes += fresh.values()
        return list(fresh.values())

    async def solutions(self, n: int) -> list[Node]:
        """See `Moves.solutions`. Raises ItemError where the problem can't be asked about."""
        start = self._draw((), n)
        chat = self.chat(self.problem, steps.opening(()))
        seed = self.seed_of(f"{self.problem.problem_id}\x1fwhole", start)
        sampling = replace(self.sampling, n=n, max_tokens=self.asked.max_tokens, seed=seed)
        reply = await self.policy.generate(chat, sampling)
        fresh, texts = [], []
        for done in reply.completions:
            text = done.after(chat.prefill)
            answer = read_answer(text)
            wrong = flaw(done.finish_reason, text, answer)
            wrong = None if wrong == Flaw.ONE_STEP else wrong
            self.cost.policy_tokens += done.tokens
            texts.append(Text(self.problem.problem_id, text, wrong))
            prefix = steps.split(text)
            if wrong is None and (twin := self._known.get(prefix)):
                self.cost.duplicates += 1
                twin.copies += 1
                continue
            node = Node(prefix, text, None, done.tokens, answer, wrong or ANSWERED)
            if wrong is None:
                self._known[prefix] = node
            fresh.append(node)
        note_reply(texts)
        self.nodes += fresh
        return fresh

    async def judge(
        self, nodes: Sequence[Node], aggregate: Aggregate, bound: float | None = None
    ) -> None:
        """See `Moves.judge`."""
        going, size = list(nodes), 0
        while going:
            size += 1
            going = [node for node in going if len(node.steps) >= size]
            wanted = dict.fromkeys(node.steps[:size] for node in going)
            await together(*(self._ensure(prefix) for prefix in wanted))
            ahead = []
            for node in going:
                judged = self._judged[node.steps[:size]]
                if judged.reward is None:
                    self._dead(node, judged.reason)
                    continue
                node.rewards = (*node.rewards[: size - 1], judged.reward)
                low = bound is not None and solution_score(node.rewards, aggregate) <= bound
                if not (low and aggregate in FALLING):
                    ahead.append(node)
            going = ahead

    def reward(self, prefix: Prefix) -> float | None:
        """The reward of the last step of a beginning; None: not judged."""
        judged = self._judged.get(prefix)
        return judged.reward if judged else None

    async def spelled(self, answers: Sequence[str]) -> Mapping[str, str]:
        """See `Moves.spelled`."""
        return await spelled(answers, self.grader)

    def over(self) -> Ended | None:
        """See `Moves.over`."""
        if self.asked.budget is not None and self.cost.tokens >= self.asked.budget:
            return Ended.BUDGET
        return Ended.NODES if self.cost.samples >= self.asked.nodes else None

    def _draw(self, prefix: Prefix, n: int) -> int:
        """Take the next n samples of a beginning; return the index of the first."""
        start = self._drawn.get(prefix, 0)
        self._drawn[prefix] = start + n
        self.cost.samples += n
        return start

    def _dead(self, node: Node, reason: str) -> list[Node]:
        node.end = reason
        self.cost.dead_ends += 1
        return []

    async def _ensure(self, prefix: Prefix) -> None:
        """Judge the last step of a beginning, if it is not judged yet."""
        if prefix in self._judged:
            return
        if self.scorer is None:
            raise ValueError("a search that judges needs a scorer")
        before = self._before(prefix[:-1])
        made = await together(
            *(self._settled(number, judging, prefix[-1]) for number, judging in before.items())
        )
        alive = {
            number: judging
            for number, judging in zip(before, made, strict=True)
            if isinstance(judging, Judging)
        }
        lost = [error for error in made if isinstance(error, ItemError)]
        reward = fmean(judging.rewards[-1] for judging in alive.values()) if alive else None
        self._judged[prefix] = Judged(reward, alive, lost[0].reason if lost else "")

    def _before(self, prefix: Prefix) -> Mapping[int, Judging]:
        if not prefix and prefix not in self._judged:
            assert self.scorer is not None
            name = self.problem.problem_id
            begun = {
                number: self.scorer.begin(self.problem.problem, name, number)
                for number in range(self.histories)
            }
            self._judged[prefix] = Judged(None, begun)
        return self._judged[prefix].histories

    async def _settled(self, number: int, judging: Judging, step: str) -> Judging | ItemError:
        try:
            return await retried_item(partial(self._judge, judging, step))
        except ItemError as error:
            return error

    async def _judge(self, before: Judging, step: str) -> Judging:
        judging, name = before.fork(), self.problem.problem_id
        try:
            await judging.judge(step)
            note_reply([Text(name, judging.text, None)])
        except ItemError as error:
            note_reply([Text(name, judging.text, error.reason)])
            raise
        finally:
            self.cost.judged += 1
            self.cost.verifier_tokens += judging.tokens - before.tokens
            self.cost.code_runs += len(judging.executions) - len(before.executions)
            await judging.close()
        return judging


def _name(problem: Problem, prefix: Prefix) -> str:
    state = hashlib.sha256("\x1f".join(prefix).encode()).hexdigest()
    return f"{problem.problem_id}\x1f{state}"


def _tokens_of(node: Node) -> int:
    """Generated tokens of a beginning, of all its steps."""
    return node.tokens + (_tokens_of(node.parent) if node.parent else 0)
