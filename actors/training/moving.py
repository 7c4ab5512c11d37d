"""Checkpoints and models between the machines of a training and its store.

Every worker stores its share of the files that lie on its machine; the first one names them all in
one commit. A worker that is killed before that commit leaves parts that nobody names. Fetched are
only the parts that some worker of a machine needs, by its workers side by side.

Invariant: a commit is made only after every worker has said that its files are stored; nobody waits
for another's files longer than a beat (`actors.training.together`).
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any, NamedTuple

from actors.training.events import Event, Place, Say
from actors.training.memory import GIB
from actors.training.together import by_first, gathered, together
from storage.errors import ConfigurationError, NothingFound, ObjectCorrupt
from storage.trainings.checkpoints import (
    Piece,
    StoredFile,
    fetch_files,
    fetch_pieces,
    files_in,
    pieces_of,
    store_files,
)
from storage.trainings.folders import StoredFolder
from storage.trainings.training import Training

Curve = list[dict[str, float]]
"""What is noted of each update, and of each look at the held-out conversations, in order."""
Ranges = Mapping[str, Sequence[tuple[int, int]]]
"""Path -> (first byte, byte behind the last) of what a worker reads of a file."""
LAYOUT = "layout"
"""Note of a checkpoint: how it is laid out."""
PARTED = "torch.distributed.checkpoint/1"
"""Parts that any number of workers, spread in any way, can read."""
PROGRESS = "progress.json"
CONTENTS = ".metadata"
"""Where torch says which file has what."""


class Found(NamedTuple):
    """A checkpoint that was fetched."""

    step: int
    folder: Path
    curve: Curve


def keep_folder(
    training: Training, folder: Path, notes: Mapping[str, Any], place: Place, event: Event,
    say: Say, *, final: bool = False,
) -> StoredFolder:  # fmt: skip
    """Store a folder that lies on every machine, and name it; what stands.

    event: said, with the bytes stored so far, while this goes on; its step is the folder's.
    """
    gathered(place, None)  # everybody has written
    mine = files_in(folder)[place.local_rank :: place.local_workers]

    def store(moved: Callable[[int], None]) -> list[StoredFile]:
        return store_files(training.store, training.prefix, folder, mine, training.patience, moved)

    tell = _teller(event, say)
    everything = [file for files in together(place, store, tell) for file in files]
    files = list({file.path: file for file in everything}.values())
    # Nobody goes on, or cleans up, before it is named.
    return by_first(place, lambda: training.commit(files, event.step, notes, final=final))


def newest_checkpoint(
    training: Training, place: Place, folder: Path, needed: Callable[[Path], Ranges], say: Say
) -> Found | None:
    """The newest checkpoint that is whole, as far as this machine needs it; None: there is none.

    needed: what this worker reads, by the folder with torch's `.metadata`. One whose parts are gone
    or damaged, or that an earlier version wrote, is skipped and said, and the one before it taken.
    """
    for step in reversed(by_first(place, training.checkpoints)):
        try:
            found = _fetch(training, step, place, folder / f"checkpoint-{step}", needed, say)
        except (ObjectCorrupt, NothingFound) as error:  # another trainer may remove an older one
            say(Event("skipped", step, values={"why": str(error)}))
        else:
            say(Event("continued", step))
            return found
    return None


def check_room(place: Place, folder: Path, needed: int, what: str) -> None:
    """Whether the disk of each machine has room for `needed` bytes of each of its workers.

    Raises ConfigurationError, on all of them.
    """
    everybody = gathered(place, (_machine(folder), needed, shutil.disk_usage(folder).free))
    for machine, _, free in everybody:
        wanted = sum(size for other, size, _ in everybody if other == machine)
        if wanted > free:
            raise ConfigurationError(
                f"{what} needs {wanted / GIB:,.1f} GiB in {machine[1]} on {machine[0]}, which has "
                f"{free / GIB:,.1f} GiB free: set TMPDIR to a folder on a larger disk"
            )


def _fetch(
    training: Training, step: int, place: Place, folder: Path, needed: Callable[[Path], Ranges],
    say: Say,
) -> Found:  # fmt: skip
    """Raises ObjectCorrupt on every worker, where one finds the checkpoint damaged."""
    began = time.monotonic()
    files = by_first(place, lambda: _readable(training.checkpoint(step)))
    small = [file for file in files if file.path in (CONTENTS, PROGRESS)]

    def contents(moved: object) -> None:
        if place.local_rank == 0:
            shutil.rmtree(folder, ignore_errors=True)
            fetch_files(training.store, training.prefix, small, folder)

    together(place, contents)
    wanted = _overlapping(pieces_of(files), needed(folder))
    here = _machine(folder)
    everybody = gathered(place, (here, wanted))
    ours = sorted(set[Piece]().union(*(pieces for machine, pieces in everybody if machine == here)))
    mine = ours[place.local_rank :: place.local_workers]
    size = sum(piece.part.bytes for piece in mine)
    check_room(place, folder, size, f"checkpoint {step}")

    def fetch(moved: Callable[[int], None]) -> None:
        fetch_pieces(training.store, training.prefix, mine, folder, moved)

    together(place, fetch, _teller(Event("fetching", step), say))
    values = {"bytes": sum(gathered(place, size)), "seconds": time.monotonic() - began}
    say(Event("fetched", step, values=values))
    return Found(step, folder, json.loads((folder / PROGRESS).read_text()))


def _readable(found: StoredFolder) -> tuple[StoredFile, ...]:
    if found.notes.get(LAYOUT) != PARTED:
        raise ObjectCorrupt("an earlier version of Stepmill wrote it")
    return found.files


def _overlapping(pieces: Sequence[Piece], ranges: Ranges) -> Set[Piece]:
    """The parts that have a byte of some range."""
    return {
        piece
        for piece in pieces
        if any(
            first < piece.start + piece.part.bytes and piece.start < last
            for first, last in ranges.get(piece.path, ())
        )
    }


def _machine(folder: Path) -> tuple[str, str]:
    """Workers with the same one share the folder."""
    return os.uname().nodename, str(folder)


def _teller(event: Event, say: Say) -> Callable[[int], None]:
    return lambda size: say(Event(event.kind, event.step, event.steps, {"bytes": size}))
