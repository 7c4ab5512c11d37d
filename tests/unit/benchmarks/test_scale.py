"""Virtual time, and the paper's build in small: what `benchmarks.scale` measures with."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import pytest

from actors.engines.contract import Chat
from benchmarks import paper_world, scale, scale_by_shard
from benchmarks.counting_store import CountingStore
from benchmarks.virtual_time import MeteredClock, Seconds
from storage.objects.memory import MemoryStore
from storage.rows.records import Message
from tests.support.virtual_time import run_virtually
from workflows.answers import read_answer
from workflows.formats import steps


def test_virtual_time_passes_only_where_everything_waits() -> None:
    async def main() -> tuple[float, float, float]:
        now = asyncio.get_running_loop().time
        await asyncio.gather(asyncio.sleep(3600), asyncio.sleep(1800))
        slept = now()
        await asyncio.to_thread(time.sleep, 0.01)
        threaded = now()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(60):
                await asyncio.sleep(3600)
        return slept, threaded, now()

    began = time.monotonic()
    assert run_virtually(main()) == pytest.approx((3600, 3600, 3660))
    assert time.monotonic() - began < 60


def test_a_loop_in_which_nothing_can_happen_raises() -> None:
    async def main() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(RuntimeError, match="nothing can happen"):
        run_virtually(main())


def test_an_engines_clock_counts_the_places_that_hold_a_sequence() -> None:
    async def main() -> tuple[Seconds, Seconds]:
        clock = MeteredClock(gpus=4, places=2)
        await asyncio.sleep(10)
        both = asyncio.gather(clock.sleep(5, 1), clock.sleep(2, 1))
        await asyncio.sleep(1)
        inside = clock.seconds()
        await both
        await asyncio.sleep(3)
        return inside, clock.seconds()

    inside, after = run_virtually(main())
    assert (inside.loaded, inside.busy) == pytest.approx((4 * 11.0, 4 * 2 / 2))
    assert (after.loaded, after.busy) == pytest.approx((4 * 18.0, 4 * 7 / 2))
    assert after.at_work == pytest.approx(7 / 36)


def test_the_small_words_split_grade_and_slip_as_a_models() -> None:
    text = "What is 3 + 4?"
    chat = Chat((Message("system", "s"), Message("user", text)), steps.header(1))
    written = [chat.prefill + paper_world.policy(chat, seed) for seed in range(2_000)]
    assert len(set(written)) == len(written)
    right = [read_answer(one) == paper_world.answer_of(text) for one in written]
    assert sum(right) / len(right) == pytest.approx(paper_world.right_of(text), abs=0.05)
    for one, is_right in zip(written, right, strict=True):
        found = steps.split(one)
        assert 3 <= len(found) <= paper_world.MOST_STEPS
        assert ("slip" in one) != is_right
        assert is_right or "slip" in found[-1]


def test_a_small_build_in_virtual_time_is_whole_and_keeps_its_engines_busy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = scale.texts_of(None, 24)
    costs = tmp_path / "costs.json"
    scale.virtual(scale.configuration(tmp_path, texts, shard_size=4, parallel=4), 4, costs)
    said = capsys.readouterr().out
    assert "of 24 problems in 6 shards" in said
    assert "0 twins" in said
    kept = json.loads(costs.read_text())
    assert {len(shards) for shards in kept["took"].values()} == {6}
    assert kept["asked"]["PUT"] >= 12, "rows and commit of each stage behind the input"
    assert kept["read"]["estimate"] < kept["read"]["export"]

    drawn = scale_by_shard.Drawn(kept["took"], latency_s=0.01)
    assert drawn.of("sample", 3) == drawn.of("sample", 3)
    line = scale_by_shard.by_shard(drawn, times=1, gpus=8, asked=57.0, problems=48)
    columns = [column.strip() for column in line.split("|")]
    assert columns[2:6] == ["48", "3", "18", "8"]
    assert float(columns[6]) > 0

    monkeypatch.setattr("storage.summaries.shards.BLOCK", 5)
    monkeypatch.setattr("storage.summaries.folding.MOST_HELD", 7)
    more = scale_by_shard.by_shard(drawn, times=1, gpus=8, asked=57.0, problems=200)
    assert more.split("|")[4].strip() == "78", "it ends where receipts were too many to hold"


def test_a_listing_counts_once_for_each_thousand_keys() -> None:
    store = CountingStore(MemoryStore())
    for number in range(2_001):
        store.inner.put_new(f"a/{number:06d}", b"")
    for wanted, after in ((3, ""), (2, "a/000000"), (1, "a/001000"), (1, "a/002000")):
        store.asked.clear()
        assert len(list(store.list("a/", after))) == 2_001 - (int(after[2:]) + 1 if after else 0)
        assert store.asked["LIST"] == wanted


@pytest.mark.parametrize(
    "words",
    ["virtual --server ceph", "virtual --rows-of demo", "receipts --free", "receipts --gpus 8"],
)
def test_an_option_of_the_build_that_is_left_out_is_refused(
    words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    only, option, *_ = words.split()
    with pytest.raises(SystemExit):
        scale.asked(["--only", *words.split()])
    assert f"{option} is of " in capsys.readouterr().err
    assert scale.asked(words.split()[1:]).only is None, f"without --only {only} it is taken"
