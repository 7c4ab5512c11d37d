"""The moves of a search with real models: a policy that writes steps, a scorer that judges them.

Invariant: what is sampled from a beginning follows from (seed, problem, beginning, how many were
sampled from it before), and a beginning's rewards from (seed, problem, beginning). Each beginning
is judged once; its histories go on from those of its parent, in every continuation by themselves.
Whoever waits for another's judgement holds no code session.
"""

from __future__ import annotations

import asyncio
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
from storage.seeds import prefix_name
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
Said = Judging | ItemError
"""A history right behind a step, to be forked, or why it ended there."""
Low = Callable[[Sequence[float]], bool]
"""Rewards of the first steps -> whether later ones need not be judged."""


@dataclass(slots=True)
class Cost:
    """What a search has cost so far."""

    samples: int = 0
    judged: int = 0
    policy_tokens: int = 0
    verifier_tokens: int = 0
    code_runs: int = 0
    duplicates: int = 0
    """Samples that came out as an earlier one."""
    dead_ends: int = 0
    """Samples that can't be used, and beginnings that can't go on."""

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
    _begins: dict[int, Judging] = field(default_factory=dict)
    _said: dict[tuple[Prefix, int], asyncio.Future[Said]] = field(default_factory=dict)

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
            self.cost.dead_ends += written.flaw is not None
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
            self.cost.dead_ends += wrong is not None
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

        def low(rewards: Sequence[float]) -> bool:
            assert bound is not None
            return aggregate in FALLING and solution_score(rewards, aggregate) <= bound

        await together(*(self._judge(node, None if bound is None else low) for node in nodes))

    async def _judge(self, node: Node, low: Low | None) -> None:
        """Judge a node's steps, until `low` says of their rewards that it is far enough."""
        numbers, end = range(self.histories), len(node.steps)
        if low is None or self.histories == 1:
            await together(*(self._history(node, number, end, low) for number in numbers))
            self._read(node)
            return
        for size in range(1, end + 1):
            await together(*(self._history(node, number, size, None) for number in numbers))
            self._read(node)
            if not node.alive or low(node.rewards):
                return

    async def _history(self, node: Node, number: int, end: int, low: Low | None) -> None:
        """One history over the first `end` steps of a node, where nobody has judged them yet."""
        at, live = self._begun(number), None
        try:
            for size in range(1, end + 1):
                key = node.steps[:size], number
                if (said := self._said.get(key)) is None:
                    said = self._said[key] = asyncio.get_running_loop().create_future()
                    live = await self._say(said, live, at, node.steps[size - 1])
                elif live is not None:  # another is ahead; nobody waits with a session open
                    await live.close()
                    live = None
                found = await asyncio.shield(said)
                if isinstance(found, ItemError):
                    return
                at = found
                if low is not None and low(at.rewards):
                    return
        finally:
            if live is not None:
                await live.close()

    async def _say(
        self, said: asyncio.Future[Said], live: Judging | None, at: Judging, step: str
    ) -> Judging | None:
        """Judge a step and tell others; return the history that goes on, if it does."""
        try:
            live = await retried_item(partial(self._step, [live], at, step))
            said.set_result(live.fork())
        except ItemError as error:
            live = None
            said.set_result(error)
        except BaseException:
            said.cancel()
            raise
        return live

    async def _step(self, live: list[Judging | None], at: Judging, step: str) -> Judging:
        """Judge a step with the history in `live`, once, or with a fork of `at`."""
        judging = (live.pop() if live else None) or at.fork()
        name, tokens, runs = self.problem.problem_id, judging.tokens, len(judging.executions)
        try:
            await judging.judge(step)
            note_reply([Text(name, judging.text, None)])
        except BaseException as error:
            if isinstance(error, ItemError):
                note_reply([Text(name, judging.text, error.reason)])
            await judging.close()
            raise
        finally:
            self.cost.judged += 1
            self.cost.verifier_tokens += judging.tokens - tokens
            self.cost.code_runs += len(judging.executions) - runs
        return judging

    def _begun(self, number: int) -> Judging:
        """A history before its first step; all others are forks of it."""
        if number not in self._begins:
            if self.scorer is None:
                raise ValueError("a search that judges needs a scorer")
            name = self.problem.problem_id
            self._begins[number] = self.scorer.begin(self.problem.problem, name, number)
        return self._begins[number]

    def _read(self, node: Node) -> None:
        """Give a node the rewards of its steps as far as they were judged, or its end."""
        rewards = []
        for size in range(1, len(node.steps) + 1):
            prefix = node.steps[:size]
            reward = self.reward(prefix)
            if reward is None:
                if lost := [each for each in self._told(prefix) if isinstance(each, ItemError)]:
                    self._dead(node, lost[0].reason)
                break
            rewards.append(reward)
        node.rewards = tuple(rewards)

    def _told(self, prefix: Prefix) -> list[Said]:
        """What the histories say of a beginning so far."""
        said = (self._said.get((prefix, number)) for number in range(self.histories))
        return [each.result() for each in said if each is not None and each.done()]

    def reward(self, prefix: Prefix) -> float | None:
        """The reward of the last step of a beginning; None: no history judged it."""
        judged = [each for each in self._told(prefix) if isinstance(each, Judging)]
        return fmean(each.rewards[-1] for each in judged) if judged else None

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


def _name(problem: Problem, prefix: Prefix) -> str:
    return f"{problem.problem_id}\x1f{prefix_name(prefix)}"


def _tokens_of(node: Node) -> int:
    """Generated tokens of a beginning, of all its steps."""
    return node.tokens + (_tokens_of(node.parent) if node.parent else 0)
