"""The rollouts of a shard: which were requested, which paths use them, and which path pays.

Invariant: a range of rollouts of a prefix is made once, however many paths request it. Its tokens
are counted for the first of these paths in input order.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from actors.engines.contract import Refusal
from storage.errors import ItemError
from storage.rows.records import AnswerCount, KeptRollout, Path, Problem
from workflows.estimation.contract import Count, RolloutBudget
from workflows.labels.rule import Unlabelled


class Rollouts(NamedTuple):
    """The outcome of a request for rollouts."""

    n: int
    c: int
    answers: tuple[AnswerCount, ...]
    truncated: int
    tokens: int
    seed: int
    cut_right: int | None = None
    """Cut rollouts that count as right; None where none can."""
    censored: bool = False
    """Whether cut rollouts are no rollouts of the state."""
    room: int | None = None
    """Tokens that the context left, where it cut one before the limit."""
    kept: tuple[KeptRollout, ...] = ()
    """Those whose texts are kept."""

    @property
    def counted(self) -> Count:
        """What budgets read of it."""
        return Count(self.n - self.truncated if self.censored else self.n, self.c)


class State(NamedTuple):
    """The steps after which rollouts start."""

    steps: tuple[str, ...]
    opening: str
    """The text of those steps as it was written, and the next header."""


Key = tuple[str, State, int, int]
"""problem_id, state, index of the first rollout, number of rollouts."""


class Entry(NamedTuple):
    """The rollouts of one state and round of a path."""

    path: Path
    state: int
    round: int
    parts: Sequence[Rollouts]
    shared: bool
    """Whether an earlier entry has paid for these rollouts."""


Roll = Callable[[Problem, State, int, int], Awaitable[Rollouts]]
"""(problem, state, index of the first rollout, how many) -> those rollouts."""


class Ledger:
    """Requests the rollouts of a shard, each (prefix, range) once, and keeps who used them."""

    def __init__(
        self,
        roll: Roll,
        states: Callable[[Path], list[State]],
        spares: Callable[[Path], bool],
        budget: RolloutBudget,
        problems: Mapping[str, Problem],
        length: Callable[[Path, int], int],
    ) -> None:
        """`states`: the states of a path that may get rollouts; `spares`: whether it gets none;
        `length`: the tokens that a path itself has from a state on.
        """
        self._roll = roll
        self._states_of = states
        self._spares = spares
        self._budget = budget
        self._problems = problems
        self._length = length
        self._made: dict[Key, asyncio.Future[Rollouts]] = {}
        self._used: dict[str, list[tuple[int, int, list[Key]]]] = {}
        """path_id -> (state, round, requests) of every entry of the path."""
        self._states: dict[str, list[State]] = {}
        """path_id -> the path's states."""
        self._given: dict[str, tuple[Key, Rollouts]] = {}
        """problem_id -> rollouts of state 0 that stage `sample` made and paid for."""

    def start_from(self, given: Mapping[str, Rollouts]) -> None:
        """Use samples made elsewhere as the rollouts of each problem's state 0."""
        for problem, rollouts in given.items():
            self._given[problem] = (problem, State((), ""), 0, rollouts.n), rollouts

    async def estimate(self, path: Path) -> list[Entry]:
        """Request rollouts until the budget asks for no more. `entries` lists them afterwards.

        Raises ItemError `mc_zero_start` if no rollout of the bare problem is right, `all_cut` if
        no rollout of another state counts, `too_long` if the context cuts a rollout where the path
        itself goes on.
        """
        used = self._used[path.path_id] = []
        self._states[path.path_id] = self._states_of(path)
        k, first = await self._first_state(path, used)
        if first.c == 0:
            raise ItemError(Unlabelled.MC_ZERO_START, f"0 of {first.n} rollouts are right")
        if self._spares(path):
            return []
        counts = {0: first}
        made = Counter({0: first.n})
        rounds = {0: 1}
        while wants := self._budget.wants(len(path.steps), k, counts, path.correct):
            for want in wants:  # submitted before any is awaited, left to right
                self._start(path, want.state, made[want.state], want.n)
            for want in wants:
                before = counts.get(want.state, Count(0, 0))
                start, number = made[want.state], rounds.get(want.state, 0)
                whole = await self._ask(path, want.state, start, want.n)
                used.append((want.state, number, [self._key(path, want.state, start, want.n)]))
                self._check_room(path, want.state, whole)
                got = whole.counted
                counts[want.state] = Count(before.n + got.n, before.c + got.c)
                made[want.state] += want.n
                rounds[want.state] = number + 1
            if unknown := [want.state for want in wants if not counts[want.state].n]:
                raise ItemError(Unlabelled.ALL_CUT, f"state {unknown[0]} of {len(path.steps)}")
        return []

    async def further(self, path: Path, wants: Sequence[tuple[int, int]], n: int) -> None:
        """Request `n` rollouts of some (state, round). `entries` lists them afterwards."""
        self._states[path.path_id] = self._states_of(path)
        keys = [self._key(path, state, 0, n) for state, _ in wants]
        self._used[path.path_id] = [
            (state, number, [key]) for (state, number), key in zip(wants, keys, strict=True)
        ]
        for state, _ in wants:  # submitted before any is awaited
            self._start(path, state, 0, n)
        for state, _ in wants:
            await self._ask(path, state, 0, n)

    async def _first_state(
        self, path: Path, used: list[tuple[int, int, list[Key]]]
    ) -> tuple[int, Count]:
        """(K, counts of state 0), from the probe filled up to K, or from the given samples."""
        budget = self._budget
        if path.problem_id in self._given:
            key, given = self._given[path.problem_id]
            used.append((0, 0, [key]))
            return budget.per_state(given.counted), given.counted
        probed = await self._ask(path, 0, 0, budget.probe)
        keys = [self._key(path, 0, 0, budget.probe)]
        k, first = budget.per_state(probed.counted), probed.counted
        used.append((0, 0, keys))
        if k > probed.n:
            more = await self._ask(path, 0, probed.n, k - probed.n)
            keys.append(self._key(path, 0, probed.n, k - probed.n))
            first = Count(first.n + more.counted.n, first.c + more.c)
            self._check_room(path, 0, more)
        self._check_room(path, 0, probed)
        return k, first

    def _check_room(self, path: Path, state: int, made: Rollouts) -> None:
        """Raise ItemError `too_long` if the context holds rollouts of a state, and the path not."""
        if made.room is not None and (own := self._length(path, state)) > made.room:
            raise ItemError(
                Refusal.TOO_LONG,
                f"{own} tokens from state {state} on, and room for {made.room} in the context",
            )

    def entries(self, paths: Sequence[Path]) -> Iterator[Entry]:
        """The entries of all paths, by path, state and round. The first user of a request pays."""
        given = dict(self._given.values())
        paid: set[Key] = set(given)
        for path in paths:
            for state, number, keys in sorted(self._used.get(path.path_id, []), key=_order):
                parts = [given[key] if key in given else self._made[key].result() for key in keys]
                yield Entry(path, state, number, parts, keys[0] in paid)
                paid.update(keys)

    async def close(self) -> None:
        """Cancel the requests that are still running, and wait for them."""
        for task in self._made.values():
            task.cancel()
        await asyncio.gather(*self._made.values(), return_exceptions=True)

    def _key(self, path: Path, state: int, start: int, n: int) -> Key:
        return path.problem_id, self._states[path.path_id][state], start, n

    def _start(self, path: Path, state: int, start: int, n: int) -> asyncio.Future[Rollouts]:
        key = self._key(path, state, start, n)
        if key not in self._made:
            problem = self._problems[path.problem_id]
            self._made[key] = asyncio.ensure_future(self._roll(problem, key[1], start, n))
        return self._made[key]

    async def _ask(self, path: Path, state: int, start: int, n: int) -> Rollouts:
        # Shielded: cancelling a path must not cancel rollouts that its siblings wait for.
        return await asyncio.shield(self._start(path, state, start, n))


def first_rounds(paths: Sequence[Path]) -> dict[str, Rollouts]:
    """The first round of samples of every problem, as rollouts of its state 0."""
    samples: dict[str, list[Path]] = {}
    for path in paths:
        if path.round == 0:
            samples.setdefault(path.problem_id, []).append(path)
    return {
        problem: Rollouts(
            n=len(drawn),
            c=sum(path.correct for path in drawn),
            answers=tuple(
                AnswerCount(answer, count, correct)
                for (answer, correct), count in Counter(
                    (path.answer, path.correct) for path in drawn
                ).items()
            ),
            truncated=sum(path.finish_reason != "stop" for path in drawn),
            tokens=0,
            seed=drawn[0].seed,
        )
        for problem, drawn in samples.items()
    }


def _order(used: tuple[int, int, list[Key]]) -> tuple[int, int]:
    return used[0], used[1]
