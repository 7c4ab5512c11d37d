"""Workers that meet while one of them is at work, and what they bring from the store."""

from __future__ import annotations

import os
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from actors.training import moving, together
from actors.training.events import Event, Place
from actors.training.moving import LAYOUT, PARTED, PROGRESS, check_room, newest_checkpoint
from storage.errors import ConfigurationError, ObjectCorrupt
from storage.objects.memory import MemoryStore
from storage.trainings import checkpoints
from storage.trainings.checkpoints import files_in, store_files
from storage.trainings.training import Training, TrainingSpec
from tests.support.meeting import PATIENCE_S, Group, two

Disk = namedtuple("Disk", "free")


@pytest.fixture
def group(monkeypatch: pytest.MonkeyPatch) -> Group:
    made = Group(2)
    monkeypatch.setattr(together, "gathered", made.gathered)
    monkeypatch.setattr(together, "BEAT_S", 0.01)
    return made


def test_workers_meet_while_one_of_them_is_at_work(group: Group) -> None:
    """The work ends only after five meetings: an exchange that waited for it would be broken."""
    told: list[int] = []

    def work(place: Place) -> list[str]:
        def mine(moved: Callable[[int], None]) -> str:
            moved(place.rank)
            if place.rank == 1:
                assert group.often.wait(PATIENCE_S)
                moved(10)
            return f"of {place.rank}"

        return together.together(place, mine, told.append if place.rank == 0 else lambda done: None)

    assert two(work) == [["of 0", "of 1"]] * 2
    assert len(told) >= 4
    assert set(told) <= {0, 1, 11}


def test_what_one_raises_all_raise(group: Group) -> None:
    def work(place: Place) -> Any:
        def mine(moved: object) -> None:
            if place.rank == 1:
                raise ObjectCorrupt("gone")

        with pytest.raises(ObjectCorrupt, match="gone"):
            together.together(place, mine)
        return place.rank

    assert two(work) == [0, 1]


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Training:
    """One with a checkpoint whose files are parts of 16 bytes."""
    monkeypatch.setattr(checkpoints, "PART_BYTES", 16)
    training = Training.start(MemoryStore(), "t", TrainingSpec("b", "r", "d" * 64, {}))
    made = tmp_path / "made"
    made.mkdir()
    for name, size in ((".metadata", 20), ("__0_0.distcp", 100), ("__1_0.distcp", 100)):
        (made / name).write_bytes(os.urandom(size))
    (made / PROGRESS).write_text("[]")
    files = store_files(training.store, training.prefix, made, files_in(made))
    training.commit(files, 7, {LAYOUT: PARTED}, final=False)
    return training


def test_only_the_parts_are_fetched_that_a_worker_of_the_machine_reads(
    training: Training, tmp_path: Path
) -> None:
    made, events = tmp_path / "made", list[Event]()
    wanted = {"__0_0.distcp": [(0, 10), (40, 49)], "__1_0.distcp": [(96, 100)]}
    found = newest_checkpoint(training, Place(), tmp_path, lambda folder: wanted, events.append)
    assert found is not None
    assert (found.step, found.curve) == (7, [])
    for path, spans in wanted.items():
        mine, whole = (found.folder / path).read_bytes(), (made / path).read_bytes()
        assert [mine[a:b] for a, b in spans] == [whole[a:b] for a, b in spans]
    first = (found.folder / "__0_0.distcp").read_bytes()
    assert first[16:32] == bytes(16) and len(first) == 64
    fetched = next(event for event in events if event.kind == "fetched")
    assert fetched.values["bytes"] == 3 * 16 + 4
    assert fetched.values["seconds"] > 0


def test_a_part_that_is_needed_and_gone_has_the_checkpoint_skipped(
    training: Training, tmp_path: Path
) -> None:
    (piece,) = [
        one
        for one in checkpoints.pieces_of(training.checkpoint(7).files)
        if (one.path, one.start) == ("__0_0.distcp", 32)
    ]
    training.store.delete(checkpoints.part_key(training.prefix, piece.part))
    events: list[Event] = []
    for last, kinds in ((32, ["fetched", "continued"]), (33, ["skipped"])):
        events.clear()
        spans = {"__0_0.distcp": [(0, last)]}
        newest_checkpoint(training, Place(), tmp_path, lambda folder, s=spans: s, events.append)
        assert [event.kind for event in events] == kinds


def test_a_disk_without_room_is_one_line_before_anything_is_written(
    training: Training, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moving.shutil, "disk_usage", lambda folder: Disk(10 << 30))
    check_room(Place(), tmp_path, 10 << 30, "checkpoint 7")
    with pytest.raises(ConfigurationError) as caught:
        check_room(Place(), tmp_path, 11 << 30, "checkpoint 7")
    assert "checkpoint 7 needs 11.0 GiB" in str(caught.value)
    assert "10.0 GiB free: set TMPDIR" in str(caught.value)
    monkeypatch.setattr(moving.shutil, "disk_usage", lambda folder: Disk(99))
    wanted = {"__0_0.distcp": [(0, 100)]}
    with pytest.raises(ConfigurationError, match="checkpoint 7 needs"):
        newest_checkpoint(training, Place(), tmp_path, lambda folder: wanted, lambda event: None)


def test_workers_of_a_machine_share_its_disk(
    group: Group, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moving, "gathered", group.gathered)
    monkeypatch.setattr(moving.shutil, "disk_usage", lambda folder: Disk(100))

    def refused(needed: int) -> list[bool]:
        def work(place: Place) -> bool:
            try:
                check_room(place, tmp_path, needed, "it")
            except ConfigurationError:
                return True
            return False

        return two(work)

    assert refused(50) == [False, False]
    assert refused(51) == [True, True]
