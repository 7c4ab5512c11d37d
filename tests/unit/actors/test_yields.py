"""What stages say of the texts that they had written, and how a worker ends where few are good."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Collection
from dataclasses import dataclass, field

import pytest

from actors.engines.contract import Chat, EngineSettings, Sampling
from actors.engines.scripted import ScriptedEngine
from actors.workers.contract import Processor, process_items
from actors.workers.yields import Text, Yield, YieldWatch, note_reply
from storage.errors import BelowFloor, EngineFailed, StoreUnavailable
from storage.rows.kinds import AGREEMENTS, CRITIQUES, PATHS, PROBLEMS, RESPONSES, ShardRows
from storage.rows.records import Agreement, Critique, Path, Problem, Response
from tests.support.kits import kit_of
from workflows.formats.refinement import RefineSettings
from workflows.formats.verification import VERDICT_OPENING, VerifySettings
from workflows.settings import RepairSettings
from workflows.stages.refine import REFINE, Refiner
from workflows.stages.repair import REPAIR, Repairer
from workflows.stages.score import SCORE, Verifier

BAD = Text("p#0", "Hm.", "no_box")
SAMPLING = Sampling(max_tokens=20)
LONG = "word " * 50


@dataclass
class Strict:
    """Too little is none at all of 24 texts."""

    asked: list[Yield] = field(default_factory=list)

    def below(self, seen: Yield) -> bool:
        return seen.usable == 0

    def enough(self, seen: Yield) -> bool:
        self.asked.append(seen)
        return seen.texts >= 24

    def stop(self, run: str, stage: str, seen: Yield) -> BelowFloor:
        return BelowFloor(f"{run}/{stage}: {seen.texts}")


def nothing(but: Collection[int]) -> Yield:
    return Yield()


def watch_of(
    floor: Strict | None = None, committed: int = 0, usable: int = 0, away: int = 0
) -> YieldWatch:
    """A watch over a stage with so many texts committed, in shard 7; `away`: looks that fail."""
    failing = [StoreUnavailable("away")] * away

    def read(but: Collection[int]) -> Yield:
        if failing:
            raise failing.pop()
        found = Yield(committed, committed)
        found.unusable.update({"no_box": committed - usable})
        return Yield() if 7 in but else found

    return YieldWatch(floor or Strict(), "r", "sample", read)


async def write(texts: int, good: int = 0) -> str:
    """Note so many texts, and give the worker time to look."""
    for number in range(texts):
        note_reply([BAD if number >= good else BAD._replace(flaw=None)])
        for _ in range(3):
            await asyncio.sleep(0)
    return "made"


async def through(watch: YieldWatch, texts: int, good: int = 0, shard: int = 0) -> str:
    """Make a shard of so many texts as a worker does."""
    watch.enter(shard)
    try:
        made = await watch.unless_below(write(texts, good))
    finally:
        watch.leave(shard)
    await watch.settled()
    return made


@pytest.mark.parametrize(
    ("watch", "texts", "good", "stopped"),
    [
        pytest.param({}, 30, 0, "r/sample: ", id="nothing of use"),
        pytest.param({}, 23, 0, None, id="too few to say"),
        pytest.param({}, 200, 1, None, id="something of use"),
        pytest.param({"committed": 20}, 12, 0, "r/sample: 32", id="nothing before either"),
        pytest.param({"committed": 20, "usable": 1}, 200, 0, None, id="something before"),
        pytest.param({"away": 1}, 60, 0, "r/sample: ", id="a store that is away for a moment"),
        pytest.param({"away": 99}, 200, 0, None, id="a store that is away for ever"),
    ],
)
async def test_a_stage_ends_where_nothing_of_enough_texts_is_of_use(
    watch: dict[str, int], texts: int, good: int, stopped: str | None
) -> None:
    under = watch_of(**watch)
    if stopped is None:
        assert await through(under, texts, good) == "made"
        return
    with pytest.raises(BelowFloor, match=stopped):
        await through(under, texts, good)


async def test_texts_of_several_shards_count_together_and_all_are_withdrawn() -> None:
    watch = watch_of()
    ended = await asyncio.gather(
        *(asyncio.create_task(through(watch, 500, 0, shard)) for shard in range(3)),
        return_exceptions=True,
    )
    assert [type(one) for one in ended] == [BelowFloor] * 3
    with pytest.raises(BelowFloor):
        await through(watch, 1, 0, 9)


async def test_what_is_in_flight_is_not_counted_among_what_is_committed() -> None:
    floor = Strict()
    watch = watch_of(floor, committed=20)
    assert await through(watch, 12, 0, shard=7) == "made"
    assert [seen.texts for seen in floor.asked] == [12]


async def test_a_finished_shard_is_made_and_only_then_the_worker_stops() -> None:
    watch = watch_of()
    watch.enter(0)

    async def at_once() -> str:
        for _ in range(30):
            note_reply([BAD])
        return "made"

    assert await watch.unless_below(at_once()) == "made"
    with pytest.raises(BelowFloor):
        await watch.settled()


async def test_texts_of_another_shard_that_come_while_commits_are_read_are_asked_about() -> None:
    reading, read = threading.Event(), threading.Event()

    def slowly(but: Collection[int]) -> Yield:
        reading.set()
        assert read.wait(60)
        return Yield()

    watch = YieldWatch(Strict(), "r", "sample", slowly)

    async def both() -> str:
        note_reply([BAD] * 12)
        await asyncio.to_thread(reading.wait, 60)
        watch.enter(1)
        note_reply([BAD] * 12)
        read.set()
        return "made"

    watch.enter(0)
    with pytest.raises(BelowFloor, match="r/sample: 24"):
        await watch.unless_below(both())
        await watch.settled()


async def test_without_a_floor_texts_are_counted_and_nobody_stops() -> None:
    watch = YieldWatch(None, "r", "sample", nothing)
    here = watch.enter(0)
    assert await watch.unless_below(write(100)) == "made"
    await watch.settled()
    assert here.counts == {"replies": 100, "texts": 100, "unusable (no_box)": 100}


async def test_errors_and_cancelling_pass_through() -> None:
    watch = watch_of()
    watch.enter(0)

    async def failing() -> None:
        raise EngineFailed("dead")

    with pytest.raises(EngineFailed):
        await watch.unless_below(failing())
    withdrawn = asyncio.Event()

    async def waiting() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            withdrawn.set()

    task = asyncio.create_task(watch.unless_below(waiting()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert withdrawn.is_set()


async def test_items_that_are_withdrawn_are_no_drops() -> None:
    watch = watch_of()
    watch.enter(0)

    async def one(item: int) -> list[Path]:
        await write(5)
        return []

    with pytest.raises(BelowFloor):
        await watch.unless_below(process_items(range(50), str, one))


def engine(*said: str) -> ScriptedEngine:
    """Says one text after the other, the last one again and again."""
    texts = list(said)
    return ScriptedEngine(
        lambda chat, seed: texts.pop(0) if len(texts) > 1 else texts[0],
        EngineSettings(kind="scripted"),
    )


def refiner(said: str) -> tuple[Processor, ShardRows]:
    critique = Critique("r", "p", "2 + 3?", ["a", "b"], "", 1, "wrong", 0)
    asked = RefineSettings(max_tokens=SAMPLING.max_tokens)
    stage = Refiner(kit_of(REFINE, engine(said), settings=asked))
    return stage, ShardRows({CRITIQUES: (critique,)})


def repairer(said: str) -> tuple[Processor, ShardRows]:
    steps = ["first", "second"]
    path = Path(
        "p#0", "p", 0, 0, "", steps, "stop", "5", False, True, None, None, True, 1, 0,
    )  # fmt: skip
    agreed = Agreement("p#0", "p", True, None, 1, 1, "all_steps", [True, False], [])
    asked = RepairSettings(sees="none", max_tokens=SAMPLING.max_tokens)
    stage = Repairer(kit_of(REPAIR, engine(said), repair=asked))
    problem = Problem("p", "2 + 3?", "5")
    return stage, ShardRows({PROBLEMS: (problem,), PATHS: (path,), AGREEMENTS: (agreed,)})


def scorer(said: str) -> tuple[Processor, ShardRows]:
    def script(chat: Chat, seed: int) -> str:
        return said if chat.prefill.endswith(VERDICT_OPENING) else "fine\n</analyze>\n"

    engine = ScriptedEngine(script, EngineSettings(kind="scripted"))
    stage = Verifier(kit_of(SCORE, engine, settings=VerifySettings(mode="cot", histories=2)))
    return stage, ShardRows({RESPONSES: (Response("r", "p", "2 + 3?", ["5"], ""),)})


@pytest.mark.parametrize(
    ("made", "replies", "unusable"),
    [
        (refiner("It is.\n\nStep 2: so \\boxed{5}."), 1, {}),
        (refiner("It is.\n\nStep 3: so \\boxed{5}."), 1, {"step_gap": 1}),
        (refiner(LONG), 1, {"truncated": 1}),
        (repairer("a step"), 1, {}),
        (repairer("second"), 1, {}),
        (repairer(""), 1, {"empty_step": 1}),
        (repairer("one\n\ntwo"), 1, {"not_one_step": 1}),
        (repairer(LONG), 1, {"truncated": 1}),
        (scorer("No"), 2, {}),
        (scorer("Perhaps"), 2, {"no_verdict": 2}),
    ],
)
async def test_what_a_stage_says_of_its_texts(
    made: tuple[Processor, ShardRows], replies: int, unusable: dict[str, int]
) -> None:
    stage, rows = made
    watch = YieldWatch(None, "r", "s", nothing)
    here = watch.enter(0)
    await watch.unless_below(stage.run(rows))
    assert (here.replies, here.texts, dict(here.unusable)) == (replies, replies, unusable)
