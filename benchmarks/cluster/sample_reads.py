"""What a later stage reads of a shard's samples: all of them, or what it needs.

    python -m benchmarks.sample_reads [--problems 16] [--samples 296 2048]

Samples have the lengths of real responses (`benchmarks.response_lengths`) and steps of some forty
words, drawn from 4,000 made-up words as often as words are; eight of each problem are selected,
the first 16 are its first round. Parquet is decoded without the interpreter's lock, rows become
records with it.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable
from typing import Any

from benchmarks.counting_store import CountingStore
from benchmarks.response_lengths import RESPONSE_CHARACTERS
from storage.objects.memory import MemoryStore
from storage.rows import schemas
from storage.rows.kinds import PATHS
from storage.rows.parquet import read_parquet
from storage.rows.records import Path
from storage.runs.run import Run
from storage.runs.specs import ShardPlan, Spec

TIMES = 5
SELECTED, FIRST = 8, 16


def words_of(chance: random.Random) -> tuple[list[str], list[float]]:
    """Made-up words, and how often each comes (Zipf)."""
    letters = "etaoinshrdlu"
    words = ["".join(chance.choices(letters, k=chance.randint(2, 9))) for _ in range(4_000)]
    return words, [1 / (place + 3) for place in range(len(words))]


def samples(problem: int, count: int, chance: random.Random) -> list[Path]:
    """The samples of a problem."""
    words, often = words_of(random.Random(1))
    made = []
    for index in range(count):
        length = RESPONSE_CHARACTERS[problem % 50][index % 8]
        text = " ".join(chance.choices(words, often, k=length // 6))
        steps = [text[start : start + 240] for start in range(0, len(text), 240)]
        made.append(
            Path(
                f"p/{problem}#{index}", f"p/{problem}", index, 0 if index < FIRST else 1, text,
                steps, "stop", str(index % 7), index % 3 == 0, True, None, None, index < SELECTED,
                length // 4, index,
            )
        )  # fmt: skip
    return made


def median_ms(work: Callable[[], Any]) -> float:
    """Milliseconds of a call, the median of some."""
    took = []
    for _ in range(TIMES):
        started = time.perf_counter()
        work()
        took.append(time.perf_counter() - started)
    return 1e3 * statistics.median(took)


def measure(problems: int, count: int) -> None:
    """Publish a shard, read it both ways, and print."""
    chance = random.Random(7)
    store = CountingStore(MemoryStore())
    spec = Spec({}, "0" * 64, ShardPlan(problems, problems), stages=("problems", "sample"))
    run = Run(store, "reads", spec)
    rows = [row for problem in range(problems) for row in samples(problem, count, chance)]
    started = time.perf_counter()
    run.publish(PATHS, 0, rows)
    wrote = time.perf_counter() - started
    commit = run.commit("sample", 0)
    data = run.data_of(commit)
    table = read_parquet(Path, data, key="")
    print(f"{problems} problems, {count:,} samples each: {1e3 * wrote:.0f} ms to store")
    for name, read in (("all", run.read_rows), ("what is needed", run.read_needed)):
        store.read.clear()
        rows = read(PATHS, 0)
        print(
            f"  {name:14} {sum(store.read.values()) / 1e6:8.2f} MB  {len(rows):6,} records "
            f"{median_ms(lambda read=read: read(PATHS, 0)):8.1f} ms"
        )
    print(
        f"  of all: Parquet {median_ms(lambda: read_parquet(Path, data, key='')):.1f} ms, records "
        f"(which hold the lock) {median_ms(lambda: schemas.from_table(Path, table)):.1f} ms"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--problems", type=int, default=16)
    parser.add_argument("--samples", type=int, nargs="*", default=[296, 2_048])
    arguments = parser.parse_args()
    for count in arguments.samples:
        measure(arguments.problems, count)


if __name__ == "__main__":
    main()
