"""The summary of a block: what the commits of 1,000 shards of a stage say, in one object.

    runs/{run}/{stage}/summaries/{block}.json     create-only, once every shard of it is committed

A commit never changes, so a block's summary is a pure function of its commits: whoever writes it
writes the same bytes. Readers take it instead of the commits that it sums up; without it they read
these. Runs of a single block have none.

Invariant: a summary is only written for a block of which every shard is committed. It says of each
what the shard's receipt says.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

from storage.errors import ObjectCorrupt
from storage.runs import layout
from storage.runs.commits import Commit, Receipt, signed, unsigned
from storage.summaries.shards import shards_in

Column = list[int | None]


class Named(NamedTuple):
    """What `_SUCCESS.json` and summaries repeat of a commit."""

    data_key: str
    sha256: str
    rows: int
    bytes: int
    attempt: str


def named_by(commit: Commit) -> Named:
    """What is repeated of a commit."""
    return Named(commit.data_key, commit.sha256, commit.rows, commit.bytes, commit.attempt)


@dataclass(frozen=True, slots=True)
class Summary:
    """The receipts of a block's shards, in columns: one value per shard, in their order."""

    stage: str
    block: int
    spec: str
    """Fingerprint of the run's spec."""
    sha256: list[str]
    rows: list[int]
    bytes: list[int]
    attempt: list[str]
    seconds: list[float]
    share_s: list[float]
    taken_over: list[bool]
    counts: dict[str, Column]
    """Name -> the count of each shard; None: the commit has none."""
    drops: dict[str, Column]
    """Reason -> the number of each shard's dropped items."""

    def receipts(self) -> Iterator[Receipt]:
        """The receipts, by shard."""
        first = shards_in(self.block)[0]
        counts, drops = _rows(self.counts, len(self.rows)), _rows(self.drops, len(self.rows))
        for place, (rows, size, digest, attempt, seconds, share, taken) in enumerate(
            zip(
                self.rows, self.bytes, self.sha256, self.attempt, self.seconds, self.share_s,
                self.taken_over, strict=True,
            )
        ):  # fmt: skip
            yield Receipt(
                self.stage, first + place, rows, size, digest, attempt, True,
                next(drops), next(counts), seconds, share, taken,
            )  # fmt: skip

    def named(self, run: str) -> list[Named]:
        """What the block's commits name, for a run of this name."""
        first = shards_in(self.block)[0]
        columns = zip(self.sha256, self.rows, self.bytes, self.attempt, strict=True)
        return [
            Named(layout.data_key(run, self.stage, shard, row[0]), *row)
            for shard, row in enumerate(columns, start=first)
        ]


def summary_of(stage: str, block: int, spec: str, receipts: Sequence[Receipt]) -> Summary:
    """Sum up a block; `receipts`: those of all of its shards, in any order."""
    whole = sorted(receipts, key=lambda receipt: receipt.shard)
    return Summary(
        stage=stage,
        block=block,
        spec=spec,
        sha256=[receipt.sha256 for receipt in whole],
        rows=[receipt.rows for receipt in whole],
        bytes=[receipt.bytes for receipt in whole],
        attempt=[receipt.attempt for receipt in whole],
        seconds=[receipt.seconds for receipt in whole],
        share_s=[receipt.share_s for receipt in whole],
        taken_over=[receipt.taken_over for receipt in whole],
        counts=_columns([receipt.counts for receipt in whole]),
        drops=_columns([receipt.drops for receipt in whole]),
    )


def summary_bytes(summary: Summary) -> bytes:
    """Canonical JSON of a summary, with its own digest."""
    return signed(asdict(summary))


def summary_from(key: str, data: bytes, stage: str, block: int, shards: int) -> Summary:
    """Read what `summary_bytes` wrote of a block of so many shards. Raises ObjectCorrupt."""
    summary = unsigned(Summary, key, data)
    columns: list[Sequence[object]] = [
        summary.sha256, summary.rows, summary.bytes, summary.attempt, summary.seconds,
        summary.share_s, summary.taken_over, *summary.counts.values(), *summary.drops.values(),
    ]  # fmt: skip
    if (summary.stage, summary.block) != (stage, block) or {*map(len, columns)} != {shards}:
        raise ObjectCorrupt(f"{key} sums up another block than the {shards} shards of its name")
    return summary


def _columns(values: Sequence[dict[str, int]]) -> dict[str, Column]:
    names = sorted({name for value in values for name in value})
    return {name: [value.get(name) for value in values] for name in names}


def _rows(columns: dict[str, Column], count: int) -> Iterator[dict[str, int]]:
    """The dictionaries that `_columns` was given, in order."""
    cells: Iterable[tuple[int | None, ...]] = zip(*columns.values(), strict=True)
    for row in cells if columns else [()] * count:
        yield {name: cell for name, cell in zip(columns, row, strict=True) if cell is not None}
