"""Conversations as tokens: in memory, or in files that are mapped when an update asks for them.

A file of tokens is one Arrow record batch, not compressed, so that a conversation is a slice of a
mapped file. Files come from the store when they are first needed, several at a time, and lie in a
folder that the workers of a machine share; when they would fill its disk, those that were asked for
longest ago go.

Invariant: which conversation has which number follows from the index alone, never from what is at
hand.
"""

from __future__ import annotations

import shutil
import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from storage.errors import InputError
from storage.objects.store import ObjectStore
from storage.trainings.checkpoints import Part, StoredFile, fetch_files

TOKENS = "tokens.arrow"
"""Name of the file of a shard's conversations."""
OPEN = 16
"""Mapped files that a worker keeps open: what was read of them counts as its memory."""
READERS = 8
"""Files fetched at once."""
DISK_SHARE = 0.5
"""Share of the free disk that files may take before the oldest ones go."""
SCHEMA = pa.schema(
    {
        "name": pa.string(),
        "problem_id": pa.string(),
        "ids": pa.list_(pa.int32()),
        "own": pa.list_(pa.bool_()),
        "verdicts": pa.list_(pa.int32()),
        "labels": pa.list_(pa.bool_()),
        "targets": pa.list_(pa.float32()),
        "weights": pa.list_(pa.float32()),
    }
)
INDEX = pa.schema({"row": pa.int32(), "tokens": pa.uint32(), "own": pa.uint32()})
"""Of the conversations of one side: the row over all shards, its tokens, those that are learnt. A
file of it has the narrowest unsigned types that hold its numbers."""


@dataclass(frozen=True, slots=True, eq=False)
class Conversation:
    """A conversation of T tokens and V verdicts, without what did not fit."""

    name: str
    """path_id."""
    problem_id: str
    ids: npt.NDArray[np.int32]
    """[T]"""
    own: npt.NDArray[np.bool_]
    """[T]: True where a token is learnt."""
    verdicts: npt.NDArray[np.int32]
    """[V]: index of each verdict's token."""
    labels: npt.NDArray[np.bool_]
    """[V]: what each verdict is, True for right."""
    targets: npt.NDArray[np.float32] | None = None
    """[V]: a number to learn at each verdict, where labels are not all there is to say."""
    weights: npt.NDArray[np.float32] | None = None
    """[V]: what each verdict counts for; None: all the same."""

    @property
    def own_tokens(self) -> int:
        """Number of tokens that are learnt."""
        return int(self.own.sum())


class Conversations(Sequence[Conversation]):
    """N conversations, of which only sizes are at hand."""

    lengths: npt.NDArray[np.unsignedinteger[Any]]
    """[N]: tokens of each."""
    own: npt.NDArray[np.unsignedinteger[Any]]
    """[N]: tokens of each that are learnt."""

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, number: Any) -> Any:
        raise NotImplementedError

    def own_tokens(self, members: Sequence[int]) -> int:
        """Learnt tokens of some of them together."""
        return int(self.own[list(members)].sum(dtype=np.int64))

    def bring(self, members: Iterable[int]) -> None:
        """Have these at hand; called by the thread that prepares an update."""


class InMemory(Conversations):
    """Conversations that are there already."""

    def __init__(self, made: Iterable[Conversation]) -> None:
        self._made = tuple(made)
        self.lengths = np.array([len(one.ids) for one in self._made], dtype=np.uint32)
        self.own = np.array([one.own_tokens for one in self._made], dtype=np.uint32)

    def __getitem__(self, number: Any) -> Any:
        return self._made[number]


class Stored(Conversations):
    """Conversations in stored shards, found by an index of rows."""

    def __init__(self, index: Path, shards: Shards) -> None:
        """`index`: a file of one side (`INDEX`)."""
        table = mapped(index)
        self._rows = table["row"].to_numpy()
        self.lengths = table["tokens"].to_numpy()
        self.own = table["own"].to_numpy()
        self._shards = shards

    def __getitem__(self, number: Any) -> Any:
        if isinstance(number, slice):
            return [self[one] for one in range(*number.indices(len(self)))]
        row = int(self._rows[number])
        return self._shards.conversation(row)

    def bring(self, members: Iterable[int]) -> None:
        """Fetch the shards of these that are not on this machine, several at a time."""
        self._shards.fetch(self._rows[list(members)])


class Shards:
    """The shards of tokens of a training, on this machine as they are asked for."""

    def __init__(
        self,
        store: ObjectStore,
        prefixes: Sequence[str],
        table: Path,
        folder: Path,
        sharers: int = 1,
    ) -> None:
        """`prefixes`: of the sets that the shards are of. `table`: a file with a row for each shard
        (set, first row, parts). `folder`: shared by so many workers of a machine.
        """
        self._store = store
        self._prefixes = prefixes
        self._table = mapped(table)
        self._first = self._table["first"].to_numpy()
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._room = int(shutil.disk_usage(folder).free * DISK_SHARE / sharers)
        self._held: OrderedDict[int, int] = OrderedDict()
        """Shard -> bytes of its file, the one asked for last at the end."""
        self._used = 0
        self._open: OrderedDict[int, pa.RecordBatch] = OrderedDict()
        self._lock = threading.Lock()

    def conversation(self, row: int) -> Conversation:
        """The conversation of a row over all shards. Raises ObjectCorrupt, InfrastructureError."""
        shard = int(self._shards_of(row))
        return conversation_of(self._batch(shard), row - int(self._first[shard]))

    def fetch(self, rows: npt.NDArray[np.int32]) -> None:
        """Have the shards of some rows on this machine."""
        shards = np.unique(self._shards_of(rows)).tolist()
        wanted = [shard for shard in shards if not self._file(shard).exists()]
        if len(wanted) > 1:
            with ThreadPoolExecutor(READERS) as readers:
                list(readers.map(self._fetch, wanted))

    def _shards_of(self, rows: Any) -> Any:
        """The shard of a row, or of each of several."""
        return np.searchsorted(self._first, rows, side="right") - 1

    def _file(self, shard: int) -> Path:
        return self._folder / f"{shard:06d}" / TOKENS

    def _batch(self, shard: int) -> pa.RecordBatch:
        """A shard's file, open; files beyond OPEN are closed, a file that went is fetched."""
        with self._lock:
            if shard in self._open:
                self._open.move_to_end(shard)
                return self._open[shard]
        made = self._mapped(shard).to_batches()[0]
        with self._lock:
            self._open[shard] = made
            while len(self._open) > OPEN:
                self._open.popitem(last=False)
        return made

    def _mapped(self, shard: int) -> pa.Table:
        while True:
            self._fetch(shard)
            try:
                return mapped(self._file(shard))
            except FileNotFoundError:  # another worker of the machine needed its room
                continue

    def _fetch(self, shard: int) -> None:
        """Bring a shard's file; another worker of the machine may bring it too."""
        file = self._file(shard)
        one = self._table.slice(shard, 1).to_pylist()[0]
        parts = tuple(Part(part["sha256"].hex(), part["bytes"]) for part in one["parts"])
        stored = StoredFile(TOKENS, parts)
        if not file.exists():
            try:
                fetch_files(self._store, self._prefixes[one["set"]], [stored], file.parent)
            except InputError:
                if not file.exists():
                    raise
        with self._lock:
            self._used += stored.bytes - self._held.pop(shard, 0)
            self._held[shard] = stored.bytes
            while self._used > self._room and len(self._held) > 1:
                oldest, size = self._held.popitem(last=False)
                self._used -= size
                shutil.rmtree(self._file(oldest).parent, ignore_errors=True)


def mapped(file: Path) -> pa.Table:
    """A file of one record batch, mapped: its numbers take no memory until they are read."""
    return pa.ipc.open_file(pa.memory_map(str(file))).read_all()


def write_arrow(table: pa.Table, file: Path) -> None:
    """Write a table as one record batch that can be mapped."""
    table = table.combine_chunks()
    with pa.ipc.new_file(str(file), table.schema) as out:
        out.write_table(table, max_chunksize=max(1, len(table)))


def table_of(made: Sequence[Conversation]) -> pa.Table:
    """Conversations as a table of `SCHEMA`."""
    columns = {
        name: pa.array([getattr(one, name) for one in made], type=SCHEMA.field(name).type)
        for name in SCHEMA.names
    }
    return pa.table(columns, schema=SCHEMA)


def conversation_of(batch: pa.RecordBatch, row: int) -> Conversation:
    """A row of a batch of `SCHEMA`; its arrays are views of the batch, but for booleans."""

    def numbers(name: str) -> Any:
        found = batch.column(name)[row].values
        return None if found is None else found.to_numpy(zero_copy_only=False)

    return Conversation(
        name=batch.column("name")[row].as_py(),
        problem_id=batch.column("problem_id")[row].as_py(),
        ids=numbers("ids"),
        own=numbers("own"),
        verdicts=numbers("verdicts"),
        labels=numbers("labels"),
        targets=numbers("targets"),
        weights=numbers("weights"),
    )
