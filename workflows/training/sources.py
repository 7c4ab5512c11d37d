"""Where conversations come from: a run's committed export shards, or a stored file.

Either is cut into shards of some hundred rows, so that several workers can make tokens of them and
whoever continues knows what is missing. How it is cut follows from the rows that were committed.

Invariant: shards hold every row once, in the order of the run or file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import islice
from typing import NamedTuple, Protocol

from storage.errors import ItemError, NothingFound
from storage.objects.store import ObjectStore
from storage.rows.kinds import EXAMPLES, PROBLEMS
from storage.rows.records import Example
from storage.runs import layout
from storage.runs.run import Run
from storage.runs.success import Success
from workflows.runs.several import Key, example_key, texts_in, texts_of
from workflows.training.released import example_from, stored_rows
from workflows.training.taught import Lessons, Taught

SHARD_ROWS = 256
"""Rows of a shard of tokens; a run's export shards are not cut, so that it may have more."""


def dataset_digest(run: Run, success: Success) -> str:
    """One digest over the committed export shards in their order."""
    digest = hashlib.sha256()
    for entry in run.named(EXAMPLES.stage, success):
        digest.update(entry.sha256.encode())
    return digest.hexdigest()


Teach = Callable[[Run], Lessons]


class Row(NamedTuple):
    """A conversation, or why there is none."""

    example: Example | Taught | ItemError
    key: Key = b""
    """Equal for equal solutions; of a file's rows empty."""


class Source(Protocol):
    """One run or file."""

    name: str

    @property
    def digest(self) -> str:
        """Of its rows."""
        ...

    @property
    def owner(self) -> str:
        """Prefix below which its tokens are stored."""
        ...

    @property
    def shards(self) -> int:
        """Number of its shards."""
        ...

    def read(self, wanted: Sequence[int]) -> Iterator[tuple[int, Iterable[Row]]]:
        """Some shards, in order. Raises NothingFound, ObjectCorrupt, InfrastructureError."""
        ...

    def texts(self) -> dict[str, str]:
        """problem_id -> text, as far as texts are known."""
        ...


class RunSource:
    """The conversations of a finished run."""

    def __init__(
        self, store: ObjectStore, name: str, digest: str | None = None, teach: Teach | None = None
    ) -> None:
        """`digest`: of its export shards; None: to be read. `teach`: what is taught of the run in
        place of its conversations.
        """
        self._teach = teach
        self.name = name
        self._store = store
        self._digest = digest

    @property
    def digest(self) -> str:
        """Digest of its export shards."""
        return self._digest or dataset_digest(self._run, self.success)

    @property
    def owner(self) -> str:
        """The run's prefix."""
        return layout.run_prefix(self.name)

    @property
    def shards(self) -> int:
        """Number of shards: a run's export shards, as many together as make SHARD_ROWS."""
        return len(self._groups)

    def read(self, wanted: Sequence[int]) -> Iterator[tuple[int, Iterable[Row]]]:
        """The rows of some shards."""
        for number in sorted(wanted):
            yield number, self._rows(self._groups[number])

    def texts(self) -> dict[str, str]:
        """The text of every problem."""
        return texts_of(self._run)

    def _rows(self, shards: Iterable[int]) -> Iterator[Row]:
        known = PROBLEMS.stage in self._run.spec.stages
        for shard in shards:
            if self.lessons is not None:
                for taught in self.lessons.of_shard(shard):
                    yield Row(taught, taught.key)
                continue
            texts = texts_in(self._run, shard) if known else {}
            for example in self._run.read_rows(EXAMPLES, shard):
                yield Row(example, example_key(example, texts))

    @cached_property
    def lessons(self) -> Lessons | None:
        """What is taught of the run; None: its conversations. Raises ConfigurationError for a run
        that lacks the rows for it.
        """
        return self._teach and self._teach(self._run)

    @cached_property
    def _run(self) -> Run:
        return Run.open(self._store, self.name)

    @cached_property
    def success(self) -> Success:
        """What the finished run committed. Raises NothingFound for one that is not finished."""
        success = self._run.success()
        if success is None:
            raise NothingFound(
                f"run {self.name!r} is not finished: `stepmill resume {self.name}` finishes it"
            )
        return success

    @cached_property
    def _groups(self) -> list[range]:
        """The export shards of each shard."""
        groups: list[range] = []
        first = rows = 0
        shards = self.success.totals[EXAMPLES.stage].shards
        for shard, commit in enumerate(self._run.named(EXAMPLES.stage, self.success)):
            rows += commit.rows
            if rows >= SHARD_ROWS or shard + 1 == shards:
                groups.append(range(first, shard + 1))
                first, rows = shard + 1, 0
        return groups


class FileSource:
    """The conversations of a file that was copied into a training."""

    def __init__(self, store: ObjectStore, name: str, key: str) -> None:
        self.name = name
        self._store = store
        self._key = key

    @property
    def digest(self) -> str:
        """The file's digest."""
        return self._key.rpartition("/")[2]

    @property
    def owner(self) -> str:
        """The prefix of the training that the file was copied into."""
        return "/".join(self._key.split("/")[:2]) + "/"

    @cached_property
    def shards(self) -> int:
        """Number of shards, found by reading the file."""
        return -(-sum(1 for _ in stored_rows(self._store, self._key)) // SHARD_ROWS)

    def read(self, wanted: Sequence[int]) -> Iterator[tuple[int, Iterable[Row]]]:
        """Some shards; the file is read once, from its beginning to the last of them."""
        rows = enumerate(stored_rows(self._store, self._key))
        for number in range(max(wanted, default=-1) + 1):
            part = list(islice(rows, SHARD_ROWS))
            if number in wanted:
                yield number, (_row(row, place) for place, row in part)

    def texts(self) -> dict[str, str]:
        """Nothing says what a problem is called elsewhere."""
        return {}


def _row(row: object, number: int) -> Row:
    try:
        return Row(example_from(row, number))
    except ItemError as error:
        return Row(error)
