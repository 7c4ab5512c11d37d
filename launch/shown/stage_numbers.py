"""What the display of a build knows of each stage, its rate, and the time that the build has left.

    seconds left = passed * sum(left_s * seconds_s) / sum(made_s * seconds_s)

`seconds_s` is the mean time of a worker that a shard of stage s took, as its commits say; `left_s`
and `made_s` are shards, those in flight by their shares.

Invariant: only commits (exact) and meters (shards in flight) count. A build of any size needs a few
numbers per stage.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from actors.workers.worker import ShardProgress
from storage.runs.commits import Receipt

WINDOW_S = 60.0
"""Seconds at work over which a rate is taken."""


@dataclass(slots=True)
class StageNumbers:
    """One stage of a build."""

    name: str
    shards: int
    before: int = 0
    """Shards that were committed before this process started."""
    made: int = 0
    """Shards that were committed since."""
    rows: int = 0
    drops: Counter[str] = field(default_factory=Counter)
    begun: bool = False
    """Whether a shard was started in this process."""
    _tokens: int = 0
    _own_tokens: int = 0
    _seconds: float = 0.0
    _timed: int = 0
    """Commits that were read, whose seconds and tokens are summed."""
    _running: dict[int, float] = field(default_factory=dict)
    """Shard in flight -> the share of it that is done."""
    _seen_at: float = 0.0
    _busy_s: float = 0.0
    """Seconds in which a shard was in flight."""
    _samples: deque[tuple[float, float]] = field(default_factory=deque)
    """(seconds at work, shards made by then), over the last WINDOW_S."""

    @property
    def done(self) -> int:
        """Committed shards."""
        return self.before + self.made

    @property
    def at_work(self) -> bool:
        """Whether a shard is in flight."""
        return bool(self._running)

    @property
    def share(self) -> float:
        """The share of the stage that is done, shards in flight included."""
        return min(1.0, (self.done + self._under_way) / max(1, self.shards))

    @property
    def seconds(self) -> float | None:
        """Mean seconds of a worker that a shard took, as the commits say; None: none was read."""
        return self._seconds / self._timed if self._timed else None

    @property
    def made_by_now(self) -> float:
        """Shards of this process, those in flight by their shares."""
        return self.made + self._under_way

    @property
    def _under_way(self) -> float:
        return min(sum(self._running.values()), self.shards - self.done)

    def seen(self) -> StageNumbers:
        """A copy, for a thread that draws it."""
        return replace(
            self, drops=self.drops.copy(), _running=dict(self._running),
            _samples=deque((self._samples[0], self._samples[-1]) if self._samples else ()),
        )  # fmt: skip

    def earlier(self, receipt: Receipt) -> None:
        """Count a commit of before this process, whose shard is counted already."""
        self._count(receipt)

    def started(self, shard: int, now: float) -> None:
        """Note that a shard is in flight."""
        self._pass(now)
        self.begun = True
        self._running.setdefault(shard, 0.0)

    def ended(self, shard: int, now: float) -> None:
        """Note that a shard is in flight no more."""
        self._pass(now)
        self._running.pop(shard, None)

    def committed(self, receipt: Receipt, now: float) -> None:
        """Count a commit."""
        self.ended(receipt.shard, now)
        self.made += 1
        self._own_tokens += receipt.counts.get("tokens", 0)
        self._count(receipt)

    def meters(self, parts: Iterable[ShardProgress], now: float) -> None:
        """Note how far each shard in flight is."""
        self._pass(now)
        self._running = {part.shard: part.done / max(1, part.total) for part in parts}
        if self._running:
            self._samples.append((self._busy_s, self.made_by_now))
            while self._busy_s - self._samples[0][0] > WINDOW_S:
                self._samples.popleft()

    def rate(self) -> float | None:
        """Tokens a second: of the last WINDOW_S at work; the mean so far where nothing is.

        Tokens of shards in flight are taken to be as many as of those that are committed.
        """
        if not self._tokens or not self._busy_s:
            return None
        if self.at_work and len(self._samples) > 1:
            (first_s, first), (last_s, last) = self._samples[0], self._samples[-1]
            made, seconds = max(0.0, last - first), last_s - first_s
            return self._tokens / self._timed * made / seconds if seconds else None
        return self._own_tokens / self._busy_s if self._own_tokens else None

    def _count(self, receipt: Receipt) -> None:
        self.rows += receipt.rows
        self.drops.update(receipt.drops)
        self._tokens += receipt.counts.get("tokens", 0)
        self._seconds += receipt.busy_s
        self._timed += 1

    def _pass(self, now: float) -> None:
        if self._running:
            self._busy_s += now - self._seen_at
        self._seen_at = now


@dataclass(frozen=True, slots=True)
class Left:
    """How long a build will take."""

    seconds: float | None
    """Of the stages that are timed; None: nothing is known."""
    untimed: tuple[str, ...] = ()
    """Unfinished stages of which no shard is committed."""


def left_of(stages: Sequence[StageNumbers], passed: float) -> Left:
    """The time left, at the pace of the `passed` seconds since work began."""
    unfinished = [stage for stage in stages if stage.done < stage.shards]
    untimed = tuple(stage.name for stage in unfinished if stage.seconds is None)
    done = sum((stage.seconds or 0.0) * stage.made_by_now for stage in stages)
    if done <= 0 or passed <= 0 or len(untimed) == len(unfinished):
        return Left(None if unfinished else 0.0, untimed)
    left = sum(
        (stage.seconds or 0.0) * (stage.shards - stage.before - stage.made_by_now)
        for stage in unfinished
    )
    return Left(passed * left / done, untimed)
