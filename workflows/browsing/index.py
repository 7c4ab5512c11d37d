"""The index of a run: a row per path, made once, kept in a folder of this machine.

Shards are read a block at a time. A block whose shards are committed in every stage never changes,
so that its rows are kept as a file and mapped when the run is looked at again; others are read
anew when a commit came. What is there already can be asked while the rest is read.

Invariant: nothing is written into the run. A kept block belongs to one run of one store, known by
the attempt of its first commit, so that a run made anew under the same name is read anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl

from storage.errors import NothingFound, StepmillError
from storage.runs.run import Run
from workflows.browsing.rows import SCHEMA, VERSION, Part, check_browsable, read_part

BLOCK_PATHS = 4_096
"""Solutions of a block, about: a list shows its first ones once a block is read."""
FIRST_BLOCK = 4
"""Shards of the first block, so that a page has something to show at once."""
KEPT_DAYS = 30
"""Blocks of a run that nobody looked at for so long are removed."""
_READERS = 2


def cache_folder() -> Path:
    """Where indexes are kept: `$XDG_CACHE_HOME/stepmill/browse`, or under `~/.cache`."""
    home = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    return Path(home) / "stepmill" / "browse"


@dataclass(frozen=True, slots=True)
class Progress:
    """How much of the run is in the index."""

    blocks: int
    of_blocks: int
    paths: int
    finished: bool
    """Whether the run is finished."""
    trouble: str = ""
    """What ended the reading; empty: nothing did."""

    @property
    def complete(self) -> bool:
        """Whether every committed row is in it."""
        return self.blocks == self.of_blocks


@dataclass(slots=True, eq=False)
class _Block:
    shards: range
    done: dict[int, tuple[str, ...]] = field(default_factory=dict)
    part: Part | None = None


class Index:
    """The paths of one run, as far as they are read. Thread-safe."""

    def __init__(self, run: Run, folder: Path | None = None) -> None:
        """`folder`: where blocks are kept; None: nowhere.

        Raises ConfigurationError for a run without paths, NothingFound for one without input.
        """
        check_browsable(run)
        self.run = run
        self._folder = None if folder is None else folder / _identity(run)
        self._lock = threading.Lock()
        self._blocks = [_Block(shards) for shards in _cut(run)]
        self._filling = threading.Lock()
        self._read: set[int] = set()
        self._frame: pl.DataFrame | None = None
        self._finished = False
        self._trouble = ""
        self.version = 0
        """One more with everything that is read."""
        if folder is not None:
            _forget(folder)

    def fill(self, stop: Callable[[], bool] = lambda: False) -> None:
        """Read what is committed and not in the index. Raises what the store raises."""
        with self._filling:
            self._finished = self.run.success() is not None
            done = _done(self.run, self._finished)
            stale = [block for block in self._blocks if block.done != _of(done, block.shards)]
            self._read = {block.shards.start for block in self._blocks if block not in stale}
            with ThreadPoolExecutor(_READERS) as readers:
                for _ in readers.map(lambda block: self._fill(block, done, stop), stale):
                    pass

    def keep_filling(self, stopped: threading.Event, pause_s: float = 5.0) -> None:
        """Fill the index, and go on while the run is built, until `stopped` is set."""
        while not stopped.is_set():
            try:
                self.fill(stopped.is_set)
                self._trouble = ""
            except (StepmillError, OSError) as error:  # shown; the next round tries again
                self._trouble = str(error)
            if self._finished and not self._trouble:
                return
            stopped.wait(pause_s)

    def progress(self) -> Progress:
        """How far it is."""
        with self._lock:
            paths = sum(block.part.rows.height for block in self._blocks if block.part)
            return Progress(
                len(self._read), len(self._blocks), paths, self._finished, self._trouble
            )

    def frame(self) -> pl.DataFrame:
        """The rows that are there, in the order of the shards."""
        with self._lock:
            if self._frame is None:
                parts = [block.part.rows for block in self._blocks if block.part]
                self._frame = pl.concat(parts) if parts else pl.DataFrame(schema=SCHEMA)
            return self._frame

    def figures(self) -> pl.DataFrame:
        """stage, name, value: sums over the commits that are read."""
        with self._lock:
            parts = [block.part.figures for block in self._blocks if block.part]
        schema = {"stage": pl.String, "name": pl.String, "value": pl.Float64}
        frame = pl.concat(parts) if parts else pl.DataFrame(schema=schema)
        return frame.group_by("stage", "name", maintain_order=True).sum()

    def remembered(self, name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What `make` says, and `whole`: whether the run is finished and all of it was read before.

        What is whole is kept as a file of this folder. `make` returns plain data.
        """
        file = None
        if self._folder is not None:
            file = self._folder / f"{name}-{self.run.spec.fingerprint[:16]}.json"
            with contextlib.suppress(OSError, ValueError):
                kept: dict[str, Any] = json.loads(file.read_bytes())
                return kept
        whole = self._finished and self.progress().complete
        made = make() | {"whole": whole}
        if whole and file is not None:
            with contextlib.suppress(OSError):  # a full or read-only disk: made again next time
                _replace(file, lambda place: place.write_text(json.dumps(made)))
        return made

    def parts(self) -> Iterator[pl.DataFrame]:
        """The rows block by block, each read when it is asked for."""
        done = _done(self.run, self.run.success() is not None)
        for block in self._blocks:
            if block.done != _of(done, block.shards):
                self._fill(block, done)
            if block.part:
                yield block.part.rows

    def _fill(
        self,
        block: _Block,
        done: dict[int, tuple[str, ...]],
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        if stop():
            return
        stages = _of(done, block.shards)
        whole = all(len(made) == len(self.run.spec.stages) for made in stages.values())
        part = self._kept(block) if whole else None
        if part is None:
            part = read_part(self.run, [s for s in block.shards if stages[s]], stages)
            if whole:
                self._keep(block, part)
        with self._lock:
            block.part, block.done = part, stages
            self._read.add(block.shards.start)
            self._frame = None
            self.version += 1

    def _kept(self, block: _Block) -> Part | None:
        if self._folder is None:
            return None
        rows, figures = _files(self._folder, block.shards)
        try:
            # The figures are written last: where they are, the rows are whole.
            part = Part(pl.read_ipc(rows), pl.read_ipc(figures)) if figures.exists() else None
        except (OSError, pl.exceptions.PolarsError):
            return None
        return part if part is not None and part.rows.schema == SCHEMA else None

    def _keep(self, block: _Block, part: Part) -> None:
        if self._folder is None:
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            for file, frame in zip(
                _files(self._folder, block.shards), (part.rows, part.figures), strict=True
            ):
                _replace(file, partial(frame.write_ipc, compression="uncompressed"))
        except OSError:
            self._folder = None  # a full or read-only disk: the index lives in memory


def _replace(file: Path, write: Callable[[Path], object]) -> None:
    """Write a file whole or not at all."""
    unfinished = file.with_name(f".{file.name}.{os.getpid()}")
    write(unfinished)
    os.replace(unfinished, file)


def _files(folder: Path, shards: range) -> tuple[Path, Path]:
    name = f"{shards.start:06d}-{shards.stop:06d}"
    return folder / f"{name}.paths.arrow", folder / f"{name}.figures.arrow"


def _cut(run: Run) -> list[range]:
    """The shards of each block, by the solutions that the first ones hold."""
    shards = run.spec.plan.shards
    per_shard = 16 * max(1, run.spec.plan.items_per_shard)
    size = max(1, BLOCK_PATHS // per_shard)
    edges = [0, *range(min(FIRST_BLOCK, shards), shards, size), shards]
    return [range(start, stop) for start, stop in pairwise(edges) if stop > start]


def _done(run: Run, finished: bool) -> dict[int, tuple[str, ...]]:
    """Shard -> its committed stages, by one listing a stage."""
    stages = run.spec.stages
    if finished:
        return dict.fromkeys(range(run.spec.plan.shards), stages)
    made = {stage: run.shards_of(stage) for stage in stages}
    return {
        shard: tuple(stage for stage in stages if shard in made[stage])
        for shard in range(run.spec.plan.shards)
    }


def _of(done: dict[int, tuple[str, ...]], shards: range) -> dict[int, tuple[str, ...]]:
    return {shard: done[shard] for shard in shards}


def _identity(run: Run) -> str:
    """What no other run has, nor this one once it is made anew."""
    try:
        first = run.commit(run.input_stage, 0).attempt
    except NothingFound:
        raise NothingFound(
            f"run {run.name!r} has no {run.input_stage} yet: look again once it has begun"
        ) from None
    said: list[Any] = [VERSION, BLOCK_PATHS, run.store.url, run.name, first]
    return hashlib.sha256(repr(said).encode()).hexdigest()[:32]


def _forget(folder: Path) -> None:
    """Remove what nobody looked at for long."""
    oldest = time.time() - KEPT_DAYS * 86_400
    for kept in folder.glob("*"):
        try:
            if kept.stat().st_atime < oldest and kept.stat().st_mtime < oldest:
                shutil.rmtree(kept)
        except OSError:
            continue
