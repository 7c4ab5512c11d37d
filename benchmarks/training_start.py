"""What a worker's start costs, and what grows of it with the number of conversations.

    python -m benchmarks.training_start                  # 23,000 and 2,300,000 conversations
    python -m benchmarks.training_start --counts 23000,230000

Tokens of so many conversations are stored: one shard of random tokens, named again and again, since
equal bytes are stored once. A split of them is made once, as the first training makes it. Then, for
each number, a worker starts in a process of its own: it opens store and tokenizer, reads the index,
draws the order of the first epoch and prepares the first update. Printed are its seconds and its
memory, and what grows between the smallest and the largest number, for each conversation.

What it does not show: the tokenizer at work, a store behind a network, the model.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from actors.training.batches import StepPlan, tensors
from actors.training.conversations import TOKENS, Conversation, table_of, write_arrow
from actors.training.events import Place
from actors.training.settings import LearningSettings
from storage.objects.local import LocalStore
from storage.rows.parquet import write_parquet
from storage.trainings.tokens import TokenSet
from workflows.training.corpus import CorpusSource
from workflows.training.mask import masker_for
from workflows.training.settings import BetweenRuns, DataSettings
from workflows.training.sources import SHARD_ROWS, RunSource
from workflows.training.split import Splitting
from workflows.training.tokenised import COUNTS, ROWS, Making, rows_table

DEMO = Path(__file__).parents[1] / "demo" / "models" / "rationale"
MOST_TOKENS = 2048
BATCH = 64
RUN, DIGEST = "repeated", "0" * 64


@dataclass(frozen=True, slots=True)
class Repeated:
    """A source of which only the number of its shards is asked."""

    name: str
    shards: int


def shard(rows: int) -> list[tuple[bytes, Conversation]]:
    """Conversations of random tokens, two to a problem."""
    draw = np.random.default_rng(0)
    made = []
    for place in range(rows):
        size = int(draw.integers(400, MOST_TOKENS))
        ids = draw.integers(4, 1000, size, dtype=np.int32)
        verdicts = np.arange(40, size, 200, dtype=np.int32)
        problem = f"problem-{place // 2}"
        made.append(
            (
                place.to_bytes(16, "big"),
                Conversation(
                    f"{problem}#{place}", problem, ids, draw.random(size) < 0.6, verdicts,
                    draw.random(len(verdicts)) < 0.7,
                ),
            )
        )  # fmt: skip
    return made


def source_in(store: LocalStore) -> CorpusSource:
    """What a training of the run would send to its workers."""
    data = DataSettings(held_out=0.001)
    return CorpusSource(store.url, RUN, "genprm", data, None, digests=(DIGEST,))


def tokenizer_of(source: CorpusSource) -> Any:
    """The demo models'."""
    from transformers import AutoTokenizer

    return source.tokenizer(AutoTokenizer.from_pretrained(DEMO))


def stored(store: LocalStore, count: int, rows: int) -> float:
    """Store tokens and a split of at least `count` conversations; seconds of the split."""
    source = source_in(store)
    making = Making(masker_for(tokenizer_of(source), False), "genprm", source.data, MOST_TOKENS)
    tokens: TokenSet = making.tokens(store, RunSource(store, RUN, DIGEST))
    shards = -(-count // rows)
    made = shard(rows)
    with tempfile.TemporaryDirectory() as folder:
        write_arrow(table_of([one for _, one in made]), Path(folder, TOKENS))
        table = rows_table(made)
        for number in range(shards):
            names = [f"problem-{number}-{place // 2}" for place in range(rows)]
            held = table.set_column(0, "problem_id", [names])
            Path(folder, ROWS).write_bytes(write_parquet(held))
            notes = {COUNTS: {"read": rows, "cut": 0}, "rows": rows}
            tokens.put_shard(number, Path(folder), notes)
    began = time.perf_counter()
    splitting = Splitting(
        [Repeated(RUN, shards)], [tokens], source.data.held_out, BetweenRuns()  # type: ignore[list-item]
    )  # fmt: skip
    splitting.made()
    return time.perf_counter() - began


def memory() -> dict[str, int]:
    """Bytes of this process: its peak, now, and what of it is no mapped file."""
    found = {}
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name in ("VmHWM", "VmRSS", "RssAnon"):
            found[name] = int(value.split()[0]) * 1024
    return found


def started(url: str) -> dict[str, Any]:
    """A worker's start, in this process."""
    import torch  # noqa: F401  what a worker has loaded before

    store = LocalStore.at(Path(url.removeprefix("file://")))
    source = source_in(store)
    tokenizer = tokenizer_of(source)
    before = memory()
    with tempfile.TemporaryDirectory() as folder:
        began, busy = time.perf_counter(), time.process_time()
        tokens = source.tokens(tokenizer, MOST_TOKENS)
        assert tokens.missing() is None
        corpus = tokens.corpus(Path(folder), Place())
        plan = StepPlan(corpus.train.lengths, LearningSettings(batch=BATCH), 16384)
        share = plan.share(0, 0, 1)
        corpus.train.bring(member for batch in share for member in batch)
        made = [tensors(batch, corpus.train, 0) for batch in share]
        seconds, busy = time.perf_counter() - began, time.process_time() - busy
        after = memory()
    return {
        "conversations": len(corpus.train) + len(corpus.held_out),
        "seconds": seconds, "cpu_seconds": busy,
        "tokens_of_first_update": sum(len(one.ids) for one in made),
        "peak_bytes": after["VmHWM"], "grown_bytes": after["VmRSS"] - before["VmRSS"],
        "grown_anonymous_bytes": after["RssAnon"] - before["RssAnon"],
    }  # fmt: skip


def main(given: Sequence[str] | None = None) -> int:
    """Measure; a line of JSON for each number, then what grows."""
    made = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    made.add_argument("--counts", default="23000,2300000")
    made.add_argument("--repeat", type=int, default=3, help="starts of each; the fastest counts")
    made.add_argument("--shard-rows", type=int, default=SHARD_ROWS)
    made.add_argument("--worker", help=argparse.SUPPRESS)
    asked = made.parse_args(given)
    if asked.worker:
        print(json.dumps(started(asked.worker)))
        return 0
    rows = []
    for count in map(int, asked.counts.split(",")):
        with tempfile.TemporaryDirectory(prefix="stepmill-start-") as folder:
            store = LocalStore.at(Path(folder, "store"))
            split_s = stored(store, count, asked.shard_rows)
            command = [sys.executable, "-m", "benchmarks.training_start", "--worker", store.url]
            starts = [
                json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
                for _ in range(asked.repeat)
            ]
        best = min(starts, key=lambda one: one["seconds"])
        rows.append(best | {"split_seconds": split_s})
        print(json.dumps(rows[-1]), flush=True)
    first, last = rows[0], rows[-1]
    if more := last["conversations"] - first["conversations"]:
        grown = {
            "microseconds": (last["seconds"] - first["seconds"]) / more * 1e6,
            "cpu_microseconds": (last["cpu_seconds"] - first["cpu_seconds"]) / more * 1e6,
            "bytes_at_peak": (last["peak_bytes"] - first["peak_bytes"]) / more,
            "bytes_held": (last["grown_bytes"] - first["grown_bytes"]) / more,
        }
        print(json.dumps(grown))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
