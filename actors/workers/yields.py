"""What became of the texts that a stage had written, and when it stops since hardly any is of use.

A stage says of each reply what its texts are good for. The worker sums that up, stage by stage;
where the floor calls it too little, it reads what is committed and asks again of all together.
Texts that say something count as usable, however wrong: problems that are too hard, labels that
nobody agrees with and all that the rules drop never come near the floor. What comes near it is a
model that is asked in a form that it can't answer in.

Invariant: sums travel in the commits, so that whoever continues a run counts on; of the texts
themselves a worker keeps three of each reason, shortened, and nobody else any.
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
"""Texts of a stage before its yield means anything."""
REPLIES = 16
"""Requests that they must have come from: a hard problem's samples all fail together."""
SHOWN = 3
HEAD, TAIL = 160, 100
"""Characters of a text that is shown: of its beginning and of its end."""
_UNUSABLE = re.compile(r"unusable \((\w+)\)")
"""The name of the sum of one reason."""

Made = TypeVar("Made")


class Text(NamedTuple):
    """One text that a model wrote."""

    item: str
    """What it was written for."""
    text: str
    flaw: str | None
    """Why nothing can be done with it; None where something can, be it right or wrong."""


@dataclass(slots=True)
class Yield:
    """What became of some texts."""

    replies: int = 0
    """Requests that they came from: the texts of one have much in common."""
    texts: int = 0
    unusable: Counter[str] = field(default_factory=Counter)
    """Reason -> texts."""
    shown: dict[str, list[Text]] = field(default_factory=dict)
    """Reason -> the first texts that are lost by it, one of a reply, shortened."""

    @property
    def usable(self) -> int:
        """Texts that something could be done with."""
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
        """Count what was counted elsewhere."""
        self.replies += other.replies
        self.texts += other.texts
        self.unusable.update(other.unusable)

    @property
    def counts(self) -> dict[str, int]:
        """The sums, as a commit holds them; none where nothing was written."""
        if not self.replies:
            return {}
        reasons = {f"unusable ({reason})": number for reason, number in self.unusable.items()}
        return {"replies": self.replies, "texts": self.texts} | reasons

    @classmethod
    def of(cls, counts: Mapping[str, int]) -> Yield:
        """The sums of a commit."""
        reasons = {
            match[1]: number
            for name, number in counts.items()
            if (match := _UNUSABLE.fullmatch(name))
        }
        return cls(counts.get("replies", 0), counts.get("texts", 0), Counter(reasons))


def shortened(text: str) -> str:
    """A text on one line, without its middle, and without what a terminal would obey."""
    if len(text) > HEAD + TAIL:
        text = f"{text[:HEAD]} [...] {text[-TAIL:]}"
    return "".join(c if c.isprintable() else "?" for c in text.replace("\n", "\\n"))


_note: ContextVar[Callable[[list[Text]], None] | None] = ContextVar("note_of_texts", default=None)
"""Counts a reply for the shard that the current task works on."""


def note_reply(texts: Iterable[Text]) -> None:
    """Say what the texts of one reply are good for."""
    if (note := _note.get()) is not None:
        note(list(texts))


@contextmanager
def note_reading(item: str, text: str) -> Iterator[None]:
    """Around the reading of a reply of one text: an ItemError is its flaw."""
    try:
        yield
    except ItemError as error:
        note_reply([Text(item, text, error.reason)])
        raise
    note_reply([Text(item, text, None)])


def solution_flaw(finish_reason: str, answer: str | None) -> str | None:
    """Why a rollout says nothing of the state that it starts from; None where it does."""
    if finish_reason != "stop":
        return "truncated"
    return "no_box" if answer is None else None


def _off(value: Any) -> Any:
    """What YAML reads in `off`."""
    return "off" if value is False else value


FloorSetting = Annotated[Literal["off"] | Share, BeforeValidator(_off)]


@dataclass(frozen=True, slots=True)
class Floor:
    """Stops a stage of which too small a share is usable."""

    share: float
    advice: Callable[[str, str], str]
    """(stage, flaw that most texts have) -> what a person is to change."""

    def below(self, seen: Yield) -> bool:
        """Whether less is usable."""
        return seen.usable < self.share * seen.texts

    def enough(self, seen: Yield) -> bool:
        """Whether it is more than an accident."""
        return seen.texts >= TEXTS and seen.replies >= REPLIES

    def stop(self, run: str, stage: str, seen: Yield) -> BelowFloor:
        """The reason, what to change, and what the model wrote."""
        lost = seen.unusable.most_common()
        reasons = ", ".join(f"{reason} {number:,}" for reason, number in lost)
        advice = self.advice(stage, lost[0][0])
        said = (
            f"run {run} stopped in stage {stage}: of {seen.texts:,} texts "
            f"{seen.unusable.total():,} are of no use ({reasons}), so that fewer than the floor of "
            f"{self.share:.0%} are left. {advice[0].upper()}{advice[1:]}; `floor: off` in the "
            f"configuration goes on all the same."
        )
        texts = [text for reason, _ in lost for text in seen.shown.get(reason, [])]
        shown = [f"  {of.item} ({of.flaw}): {of.text or '(empty)'}" for of in texts[:SHOWN]]
        return BelowFloor("\n".join([said, *shown]))


class YieldWatch:
    """One stage of one worker."""

    EVERY = 12
    """Texts after which it is asked again, where they were not enough to say."""

    def __init__(
        self,
        floor: Floor | None,
        run: str,
        stage: str,
        committed: Callable[[Collection[int]], Yield],
    ) -> None:
        """`committed` reads the sums of the stage's commits, but for those of some shards."""
        self._floor = floor
        self._run = run
        self._stage = stage
        self._committed = committed
        self._seen = Yield()
        """All that this worker saw of the stage."""
        self._in_flight: dict[int, Yield] = {}
        self._asks_at = self.EVERY
        self._asking: asyncio.Task[None] | None = None
        self._below: asyncio.Future[BelowFloor] = asyncio.get_running_loop().create_future()

    def enter(self, shard: int) -> Yield:
        """Count what the current task, and those that it starts, note for a shard."""
        here = self._in_flight[shard] = Yield()

        def note(reply: list[Text]) -> None:
            here.note(reply)
            self._seen.note(reply)
            if self._due() and (self._asking is None or self._asking.done()):
                self._asking = asyncio.create_task(self._ask())

        _note.set(note)
        return here

    def leave(self, shard: int) -> None:
        """The shard is committed, or given up."""
        self._in_flight.pop(shard, None)

    async def unless_below(self, making: Awaitable[Made]) -> Made:
        """What is made, unless it is withdrawn: raises BelowFloor."""
        made = asyncio.ensure_future(making)
        try:
            either: set[asyncio.Future[Any]] = {made, self._below}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not made.done():
                raise self._below.result()
            return made.result()
        finally:
            made.cancel()
            await asyncio.gather(made, return_exceptions=True)

    async def settled(self) -> None:
        """Wait for the answer where it is being asked for. Raises BelowFloor."""
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
        """Ask of all that is known of the stage, until there is nothing new to ask of."""
        while self._due() and self._floor is not None:
            seen = self._seen.texts
            here = dict(self._in_flight)
            try:
                known = await asyncio.to_thread(self._committed, here.keys())
            except InfrastructureError:  # it is asked again later
                self._asks_at = 2 * seen
                continue
            for part in here.values():
                known.add(part)
            enough = self._floor.enough(known)
            self._asks_at = 2 * seen if enough else seen + self.EVERY
            if enough and self._floor.below(known):
                known.shown = self._seen.shown
                self._below.set_result(self._floor.stop(self._run, self._stage, known))
