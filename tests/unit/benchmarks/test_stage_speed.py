"""The played core of a GPU keeps its own time, and a stage in front of it loses no places."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import stage_speed
from benchmarks.stepped_core import ProcessorLoop, Spoken, SteppedCore
from tests.support.virtual_time import virtually

STEP_S = 0.5


def core_of(places: int) -> SteppedCore:
    def speak(request: Any) -> Spoken:
        return Spoken(request.request_id, [7] * request.length, True, 0)

    core = SteppedCore(places, STEP_S, speak)
    core._encoder = SimpleNamespace(encode=lambda outputs: outputs)  # type: ignore[assignment]
    core._decoder = SimpleNamespace(decode=lambda outputs: outputs)  # type: ignore[assignment]
    return core


async def add(core: SteppedCore, *lengths: int) -> None:
    for number, length in enumerate(lengths):
        request = SimpleNamespace(request_id=f"r{number}", length=length)
        await core.add_request_async(request)


async def ended(core: SteppedCore, requests: int, pause_s: float = 0.0) -> list[str]:
    """Whose last token came, in order; the reader rests between two steps."""
    over: list[str] = []
    while len(over) < requests:
        outputs = await core.get_output_async()
        over += [each.request_id for each in outputs.outputs if each.finish_reason is not None]
        await asyncio.sleep(pause_s)
    return over


@pytest.mark.parametrize(
    ("places", "lengths", "steps"), [(4, (5,), 5), (4, (5, 5, 5, 5), 5), (2, (5, 5, 5, 5), 10)]
)
def test_a_step_costs_the_same_however_full_it_is(
    places: int, lengths: Sequence[int], steps: int
) -> None:
    @virtually
    async def run() -> None:
        core = core_of(places)
        await add(core, *lengths)
        await ended(core, len(lengths))
        assert core.steps.ends == pytest.approx([STEP_S * (at + 1) for at in range(steps)])
        assert sum(core.steps.tokens) == sum(lengths)

    run()


@virtually
async def test_a_reader_that_is_late_does_not_hold_the_core_up() -> None:
    core = core_of(2)
    await add(core, 6, 3)
    assert await ended(core, 2, pause_s=3 * STEP_S) == ["r1", "r0"]
    assert core.steps.ends == pytest.approx([STEP_S * (at + 1) for at in range(6)])
    assert asyncio.get_running_loop().time() > core.steps.ends[-1] + 3 * STEP_S


@virtually
async def test_a_place_that_is_given_back_goes_to_who_waits_with_the_next_step() -> None:
    core = core_of(1)
    await add(core, 100, 2)
    await core.get_output_async()
    await core.abort_requests_async(["r0"])
    assert await ended(core, 1) == ["r1"]
    assert len(core.steps.ends) <= 5


def test_time_is_what_this_thread_works_and_waits_without_what_it_plays() -> None:
    async def run() -> tuple[float, float]:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, ProcessorLoop)

        def work() -> float:
            began, ends = loop.time(), time.thread_time() + 0.02
            while time.thread_time() < ends:
                pass
            return loop.time() - began

        worked = work()
        with loop.play():
            played = work()
        before = loop.time()
        await asyncio.sleep(1000)
        assert 1000 <= loop.time() - before < 1001
        return worked, played

    with asyncio.Runner(loop_factory=ProcessorLoop) as runner:
        began = time.monotonic()
        worked, _ = runner.run(run())
        assert time.monotonic() - began < 100
    assert 0.02 <= worked < 0.1


def share(*arguments: str) -> float:
    """Of an engine with 32 places, a sixteenth of the one that is played otherwise."""
    small = ("--places", "32", "--rate", "1875", "--slots", "4", "--shard-size", "2")
    chosen = stage_speed.parser().parse_args([*small, *arguments])
    return stage_speed.measured(chosen, chosen.stages).share


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "items", "size"),
    [("score", "96", "2"), ("rationalize", "48", "2"), ("sample", "16", "1")],
)
def test_a_stage_keeps_an_engine_full_until_its_queue_is_dry(
    stage: str, items: str, size: str
) -> None:
    given = ("--stages", stage, "--items", items, "--shard-size", size)
    assert share(*given) >= stage_speed.TARGET


@pytest.mark.slow
@pytest.mark.parametrize("few", [("--sessions", "16"), ("--in-flight", "8")])
def test_with_fewer_sessions_or_sequences_than_places_scoring_leaves_places_empty(
    few: tuple[str, str],
) -> None:
    assert share("--stages", "score", "--items", "96", *few) < 0.7
