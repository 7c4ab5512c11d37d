"""Which stored conversations are trained on and which are held out, decided once and stored.

The held-out problems are those whose name has the smallest digests: the split depends on the set of
problems alone, not on shards, order or seed. Of several runs: `workflows.training.mixture`. What a
worker reads of it is an index of a few bytes a conversation, which it maps.

Invariant: no problem has conversations on both sides; every conversation of a set is trained on,
held out, or counted as dropped with its reason.
"""

from __future__ import annotations

import hashlib
import io
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from actors.training.conversations import TOKENS, write_arrow
from storage.errors import InputError, ObjectCorrupt, first_line
from storage.runs.commits import canonical_json
from storage.runs.run import READERS
from storage.trainings.checkpoints import read_file
from storage.trainings.folders import StoredFolder
from storage.trainings.tokens import TokenSet
from workflows.training.mixture import Part, mixed
from workflows.training.settings import BetweenRuns
from workflows.training.sources import Source
from workflows.training.tokenised import COUNTS, ROWS

TRAIN, HELD_OUT, SHARDS = "train.arrow", "held_out.arrow", "shards.arrow"
_SHARDS = pa.schema(
    {
        "set": pa.int32(),
        "first": pa.int32(),
        "parts": pa.list_(pa.struct({"sha256": pa.binary(32), "bytes": pa.int64()})),
    }
)


@dataclass(frozen=True, slots=True)
class Splitting:
    """What is split, and how."""

    sources: Sequence[Source]
    sets: Sequence[TokenSet]
    """The tokens of each source."""
    held_out: float
    """Share of the problems."""
    between: BetweenRuns
    """What is made of what several runs have in common."""

    @property
    def key(self) -> str:
        """Digest of all that the split follows from."""
        said: dict[str, Any] = {"held_out": self.held_out}
        if len(self.sets) > 1:
            said["sets"] = [[one.owner, one.key] for one in self.sets]
            said["between"] = [self.between.repeated, self.between.contaminated]
        return hashlib.sha256(canonical_json(said)).hexdigest()[:32]

    def stored(self) -> StoredFolder | None:
        """The split, if it was made."""
        return self.sets[0].split(self.key)

    def made(self) -> StoredFolder:
        """Make the split of tokens that are stored, and store it beside those of the first source.

        Raises InputError where nothing is left to train on.
        """
        counts: Counter[str] = Counter()
        tables, shards = [], []
        for number, tokens in enumerate(self.sets):
            table, found = _read(tokens, number, self.sources[number].shards, counts)
            tables.append(table)
            shards += found
        train, held_out = self._sides(tables, counts)
        self._check(train, counts)
        whole = pa.concat_tables(tables)
        first = np.cumsum([0, *(rows for _, rows, _ in shards)])
        listed = [
            {"set": number, "first": int(at), "parts": parts}
            for (number, _, parts), at in zip(shards, first, strict=False)
        ]
        with tempfile.TemporaryDirectory(prefix="stepmill-split-") as folder:
            write_arrow(_index(whole, train), Path(folder, TRAIN))
            write_arrow(_index(whole, held_out), Path(folder, HELD_OUT))
            write_arrow(pa.Table.from_pylist(listed, schema=_SHARDS), Path(folder, SHARDS))
            return self.sets[0].put_split(self.key, Path(folder), {COUNTS: dict(counts)})

    def _sides(self, tables: Sequence[pa.Table], counts: Counter[str]) -> tuple[Any, Any]:
        """Rows that are trained on, and those held out."""
        held = [
            held_out_problems(table["problem_id"].unique().to_pylist(), self.held_out)
            for table in tables
        ]
        if len(tables) == 1:
            names = pa.array(sorted(held[0]), type=pa.string())
            side = pc.is_in(tables[0]["problem_id"], names).to_numpy()
            counts["problems_held_out"] = len(held[0])
            return np.flatnonzero(~side), np.flatnonzero(side)
        parts = [
            Part(
                source.name,
                list(zip(table["key"].to_pylist(), table["problem_id"].to_pylist(), strict=True)),
                source.texts(),
                problems,
            )
            for source, table, problems in zip(self.sources, tables, held, strict=True)
        ]
        return mixed(parts, self.between, counts)

    def _check(self, train: Sequence[int], counts: Counter[str]) -> None:
        names = ", ".join(repr(source.name) for source in self.sources)
        if not counts["read"]:
            raise InputError(f"{names} has no rows to train on")
        if not len(train):
            dropped = ", ".join(f"{name} {count}" for name, count in counts.items())
            raise InputError(
                f"nothing of {names} is left to train on ({dropped}): raise "
                "data.max_length, or lower data.held_out"
            )


def held_out_problems(problems: Iterable[str], share: float) -> frozenset[str]:
    """The problems that are never trained on: `share` of them, at least one unless it is 0."""
    names = sorted(set(problems), key=lambda name: hashlib.sha256(name.encode()).digest())
    wanted = max(1, round(share * len(names))) if share else 0
    return frozenset(names[:wanted])


def _read(
    tokens: TokenSet, number: int, shards: int, counts: Counter[str]
) -> tuple[pa.Table, list[tuple[int, int, list[dict[str, Any]]]]]:
    """The rows of a set, and of each shard (set, rows, parts of its tokens)."""

    def read(shard: int) -> tuple[StoredFolder, pa.Table]:
        stored = tokens.shard(shard)
        files = {file.path: file for file in stored.files}
        if not {ROWS, TOKENS} <= files.keys():
            raise ObjectCorrupt(f"{tokens.prefix}: shard {shard} lacks {ROWS} or {TOKENS}")
        data = read_file(tokens.store, tokens.prefix, files[ROWS])
        try:
            table = pq.read_table(io.BytesIO(data), use_threads=False)
            table.validate(full=True)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise ObjectCorrupt(
                f"{tokens.prefix}: shard {shard} is damaged: {first_line(error)}"
            ) from None
        return stored, table

    tables, found = [], []
    with ThreadPoolExecutor(READERS) as readers:
        for stored, table in readers.map(read, range(shards)):
            counts.update(stored.counts(COUNTS))
            tables.append(table)
            (file,) = (file for file in stored.files if file.path == TOKENS)
            parts = [
                {"sha256": bytes.fromhex(part.sha256), "bytes": part.bytes} for part in file.parts
            ]
            found.append((number, len(table), parts))
    return pa.concat_tables(tables), found


def _index(whole: pa.Table, rows: Any) -> pa.Table:
    """The index of some rows, in the narrowest types."""
    taken = np.asarray(rows, dtype=np.int64)
    columns = {"row": pa.array(taken.astype(np.int32))}
    for name in ("tokens", "own"):
        numbers = whole[name].to_numpy()[taken]
        columns[name] = pa.array(numbers.astype(np.min_scalar_type(numbers.max(initial=0))))
    return pa.table(columns)
