"""Counts the usable texts of a stage, and stops the stage if hardly any is usable.

A stage notes for each reply which of its texts are usable. The worker sums this up per stage. If
the sum is below the floor, the worker adds what all commits say and checks again. A readable text
counts as usable, right or wrong. So hard problems, disputed labels and drops by rules never come
near the floor. A model that can't answer in the requested form does.

Invariant: the sums are part of the commits, so a resumed run goes on counting. Only the worker
keeps texts: three for each reason, shortened.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

from pydantic import BeforeValidator

from storage.bounds import Share
from storage.errors import BelowFloor, InfrastructureError, ItemError

TEXTS = 48
"""Least texts of a stage before the floor applies."""
REPLIES = 16
"""Least requests they must come from, because the samples of a hard problem fail together."""
SHOWN = 3
HEAD, TAIL = 160, 100
"""Characters shown of a text: of its beginning and of its end."""
_UNUSABLE = re.compile(r"unusable \((\w+)\)")
"""Name of the count of one reason."""

Made = TypeVar("Made")


class Text(NamedTuple):
    """One text that a model wrote."""

    item: str
    """Id of the item that it was written for."""
    text: str
    flaw: str | None
    """Why the text is unusable; None: usable, right or wrong."""


@dataclass(slots=True)
class Yield:
    """How many of some texts are usable, and why the others are not."""

    replies: int = 0
    """Requests that the texts came from."""
    texts: int = 0
    unusable: Counter[str] = field(default_factory=Counter)
    """Reason -> texts."""
    shown: dict[str, list[Text]] = field(default_factory=dict)
    """Reason -> its first unusable texts, one per reply, shortened."""

    @property
    def usable(self) -> int:
        """Number of usable texts."""
        return self.texts - self.unusable.total()

    def note(self, reply: Iterable[Text]) -> None:
        """Count the texts of one reply."""
        self.replies += 1
        first: dict[str, Text] = {}
        for text in reply:
            self.texts += 1
            if text.flaw is not None:
                self.unusable[text.flaw] += 1
                first.setdefault(text.flaw, text)
        for flaw, text in first.items():
            shown = self.shown.setdefault(flaw, [])
            if len(shown) < SHOWN:
                shown.append(text._replace(text=shortened(text.text)))

    def add(self, other: Yield) -> None:
        """Add the counts of another yield."""
        self.replies += other.replies
        self.texts += other.texts
        self.unusable.update(other.unusable)

    @property
    def counts(self) -> dict[str, int]:
        """The sums, as a commit holds them; empty without texts."""
        if not self.replies:
            return {}
        reasons = {f"unusable ({reason})": number for reason, number in self.unusable.items()}
        return {"replies": self.replies, "texts": self.texts} | reasons

    @classmethod
    def of(cls, counts: Mapping[str, int]) -> Yield:
        """Read the sums from a commit's counts."""
        reasons = {
            match[1]: number
            for name, number in counts.items()
            if (match := _UNUSABLE.fullmatch(name))
        }
        return cls(counts.get("replies", 0), counts.get("texts", 0), Counter(reasons))


def shortened(text: str) -> str:
    """A text on one line, without its middle and without control characters."""
    if len(text) > HEAD + TAIL:
        text = f"{text[:HEAD]} [...] {text[-TAIL:]}"
    return "".join(c if c.isprintable() else "?" for c in text.replace("\n", "\\n"))


_note: ContextVar[Callable[[list[Text]], None] | None] = ContextVar("note_of_texts", default=None)
"""Function that counts a reply for the current task's shard."""


def note_reply(texts: Iterable[Text]) -> None:
    """Note which texts of one reply are usable."""
    if (note := _note.get()) is not None:
        note(list(texts))


@contextmanager
def note_reading(item: str, text: str) -> Iterator[None]:
    """Wrap the reading of a reply of one text: an ItemError within is its flaw."""
    try:
        yield
    except ItemError as error:
        note_reply([Text(item, text, error.reason)])
        raise
    note_reply([Text(item, text, None)])


def solution_flaw(finish_reason: str, answer: str | None) -> str | None:
    """Why a rollout is unusable; None: it says something of the state that it starts from."""
    if finish_reason != "stop":
        return "truncated"
    return "no_box" if answer is None else None


def _off(value: Any) -> Any:
    """Accept False, as which YAML reads `off`."""
    return "off" if value is False else value


FloorSetting = Annotated[Literal["off"] | Share, BeforeValidator(_off)]


@dataclass(frozen=True, slots=True)
class Floor:
    """Stops a stage if too small a share of its texts is usable."""

    share: float
    advice: Callable[[str, str], str]
    """(stage, most frequent flaw) -> what the user should change."""

    def below(self, seen: Yield) -> bool:
        """Whether the usable share is below the floor."""
        return seen.usable < self.share * seen.texts

    def enough(self, seen: Yield) -> bool:
        """Whether there are enough texts and replies for the floor to apply."""
        return seen.texts >= TEXTS and seen.replies >= REPLIES

    def stop(self, run: str, stage: str, seen: Yield) -> BelowFloor:
        """The error: reasons with counts, what to change, and some texts of the model."""
        lost = seen.unusable.most_common()
        reasons = ", ".join(f"{reason} {number:,}" for reason, number in lost)
        advice = self.advice(stage, lost[0][0])
        headline = (
            f"run {run} stopped in stage {stage}: of {seen.texts:,} texts "
            f"{seen.unusable.total():,} are of no use ({reasons}), so that fewer than the floor of "
            f"{self.share:.0%} are left. {advice[0].upper()}{advice[1:]}; `floor: off` in the "
            f"configuration goes on all the same."
        )
        texts = [text for reason, _ in lost for text in seen.shown.get(reason, [])]
        shown = [f"  {of.item} ({of.flaw}): {of.text or '(empty)'}" for of in texts[:SHOWN]]
        return BelowFloor("\n".join([headline, *shown]))


class YieldWatch:
    """Watches the yield of one stage of one worker."""

    EVERY = 12
    """New texts after which the worker checks again."""

    def __init__(
        self,
        floor: Floor | None,
        run: str,
        stage: str,
        committed: Callable[[Collection[int]], Yield],
    ) -> None:
        """`committed` reads the sums of the stage's commits, without those of given shards."""
        self._floor = floor
        self._run = run
        self._stage = stage
        self._committed = committed
        self._seen = Yield()
        """Sums of all texts that this worker saw of the stage."""
        self._in_flight: dict[int, Yield] = {}
        self._asks_at = self.EVERY
        self._asking: asyncio.Task[None] | None = None
        self._below: asyncio.Future[BelowFloor] = asyncio.get_running_loop().create_future()

    def enter(self, shard: int) -> Yield:
        """Begin to count for a shard what the current task, and tasks that it starts, note."""
        here = self._in_flight[shard] = Yield()

        def note(reply: list[Text]) -> None:
            here.note(reply)
            self._seen.note(reply)
            if self._due() and (self._asking is None or self._asking.done()):
                self._asking = asyncio.create_task(self._ask())

        _note.set(note)
        return here

    def leave(self, shard: int) -> None:
        """End the counting for a shard that is committed or given up."""
        self._in_flight.pop(shard, None)

    async def unless_below(self, making: Awaitable[Made]) -> Made:
        """Await `making` and return its result; cancel it and raise BelowFloor below the floor."""
        work = asyncio.ensure_future(making)
        try:
            either: set[asyncio.Future[Any]] = {work, self._below}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                raise self._below.result()
            return work.result()
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)

    async def settled(self) -> None:
        """Wait for a check that is under way. Raises BelowFloor."""
        if self._asking is not None:
            await self._asking
        if self._below.done():
            raise self._below.result()

    def _due(self) -> bool:
        return (
            self._floor is not None
            and self._seen.texts >= self._asks_at
            and not self._below.done()
            and self._floor.below(self._seen)
        )

    async def _ask(self) -> None:
        """Check the sums of the worker and of all commits, until no new texts have come."""
        while self._due() and self._floor is not None:
            seen = self._seen.texts
            here = dict(self._in_flight)
            try:
                known = await asyncio.to_thread(self._committed, here.keys())
            except InfrastructureError:  # a later check tries again
                self._asks_at = 2 * seen
                continue
            for part in here.values():
                known.add(part)
            enough = self._floor.enough(known)
            self._asks_at = 2 * seen if enough else seen + self.EVERY
            if enough and self._floor.below(known):
                known.shown = self._seen.shown
                self._below.set_result(self._floor.stop(self._run, self._stage, known))
