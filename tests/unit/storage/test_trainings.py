"""Trainings: folders in parts, named once, continued from what was named."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from storage.errors import (
    ConfigurationError,
    InputError,
    ObjectCorrupt,
    Removed,
    SpecMismatch,
    StoreUnavailable,
)
from storage.objects.memory import MemoryStore
from storage.objects.patience import Patience
from storage.runs.commits import canonical_json, signed
from storage.runs.removal import Tombstone, remove
from storage.trainings import checkpoints
from storage.trainings.checkpoints import StoredFile, fetch_files, files_in, holds, store_files
from storage.trainings.copying import copy_training, damaged_parts
from storage.trainings.training import Training, TrainingSpec
from tests.support.faulty_store import FaultyStore, Odds, World

QUICK = Patience(tries=8, sleep=lambda _: None)
SPEC = TrainingSpec("base@1", "demo", "d" * 64, {"view": "genprm", "learning": {"rate": 2e-6}})
FILES = {"model.safetensors": b"weights" * 10, "config.json": b"{}", "empty": b"", "a/b.pt": b"x"}


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "PART_BYTES", 16)


def written(folder: Path, files: Mapping[str, bytes] = FILES) -> Path:
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return folder


def kept(training: Training, folder: Path, step: int, *, final: bool = False) -> list[StoredFile]:
    stored = store_files(
        training.store, training.prefix, folder, files_in(folder), training.patience
    )
    training.commit(stored, step, {"step": step}, final)
    return stored


def test_a_folder_comes_back_as_it_was_whatever_the_size_of_its_files(tmp_path: Path) -> None:
    training = Training.start(MemoryStore(), "t", SPEC)
    kept(training, written(tmp_path / "in"), 5)
    found = training.checkpoint(5)
    fetch_files(training.store, training.prefix, found.files, tmp_path / "out")
    assert {path: (tmp_path / "out" / path).read_bytes() for path in FILES} == FILES
    assert files_in(tmp_path / "out") == sorted(FILES)
    assert holds(tmp_path / "out", found.files)
    assert max(part.bytes for file in found.files for part in file.parts) == 16
    (tmp_path / "out" / "config.json").write_bytes(b"[]")
    assert not holds(tmp_path / "out", found.files)


def test_what_two_checkpoints_share_is_stored_once(tmp_path: Path) -> None:
    training = Training.start(MemoryStore(), "t", SPEC)
    kept(training, written(tmp_path / "a"), 5)
    before = {entry.key for entry in training.store.list(training.prefix + "parts/")}
    kept(training, written(tmp_path / "b", FILES | {"config.json": b"{ }"}), 10)
    after = {entry.key for entry in training.store.list(training.prefix + "parts/")}
    assert len(after - before) == 1
    assert training.checkpoints() == [5, 10]


def test_a_name_is_given_once_and_both_writers_use_what_stands(tmp_path: Path) -> None:
    training = Training.start(MemoryStore(), "t", SPEC)
    kept(training, written(tmp_path / "a"), 5)
    first = training.checkpoint(5)
    stored = store_files(
        training.store, training.prefix, written(tmp_path / "b", {"x": b"y"}), ["x"]
    )
    assert training.commit(stored, 5, {}, final=False) == first == training.checkpoint(5)


def test_other_settings_are_refused_field_by_field() -> None:
    store = MemoryStore()
    Training.start(store, "t", SPEC)
    assert Training.start(store, "t", SPEC).spec == SPEC
    other = replace(SPEC, dataset="e" * 64, settings={"view": "cot", "learning": {"rate": 1e-6}})
    with pytest.raises(SpecMismatch) as caught:
        Training.start(store, "t", other)
    lines = str(caught.value).splitlines()
    assert [line.split(":")[0].strip() for line in lines[1:]] == [
        "dataset",
        "settings.learning.rate",
        "settings.view",
    ]
    assert "stored 2e-06, asked for 1e-06" in lines[2]


def test_a_part_that_is_gone_or_damaged_is_said_and_nothing_is_written(tmp_path: Path) -> None:
    training = Training.start(MemoryStore(), "t", SPEC)
    kept(training, written(tmp_path / "in"), 5)
    found = training.checkpoint(5)
    key = checkpoints.part_key(training.prefix, found.files[-1].parts[0])
    training.store.delete(key)
    with pytest.raises(ObjectCorrupt, match="is gone"):
        fetch_files(training.store, training.prefix, found.files, tmp_path / "out")
    training.store.put_new(key, b"something else")
    with pytest.raises(ObjectCorrupt, match="is damaged"):
        fetch_files(training.store, training.prefix, found.files, tmp_path / "out")
    assert files_in(tmp_path) == sorted(f"in/{path}" for path in FILES)


def test_a_folder_that_is_not_empty_is_not_overwritten(tmp_path: Path) -> None:
    training = Training.start(MemoryStore(), "t", SPEC)
    stored = kept(training, written(tmp_path / "in"), 5)
    written(tmp_path / "out", {"mine": b"!"})
    with pytest.raises(InputError, match="out"):
        fetch_files(training.store, training.prefix, stored, tmp_path / "out")
    assert files_in(tmp_path / "out") == ["mine"]


def test_older_checkpoints_go_with_what_only_they_name_and_nothing_else(tmp_path: Path) -> None:
    training = Training.start(MemoryStore(), "t", SPEC)
    for step in (5, 10, 15, 20):
        kept(training, written(tmp_path / f"{step}", FILES | {"state": b"%d" % step}), step)
    other = store_files(
        training.store, training.prefix, written(tmp_path / "x", {"x": b"not named yet"}), ["x"]
    )
    training.drop_older()
    assert training.checkpoints() == [15, 20]
    for step in (15, 20):
        found = training.checkpoint(step)
        fetch_files(training.store, training.prefix, found.files, tmp_path / f"out-{step}")
    there = {entry.key for entry in training.store.list(training.prefix + "parts/")}
    named = {part for step in (15, 20) for file in training.checkpoint(step).files
             for part in file.parts}  # fmt: skip
    named |= set(other[0].parts)
    assert there == {checkpoints.part_key(training.prefix, part) for part in named}
    training.drop_older()
    assert training.checkpoints() == [15, 20]


def test_a_finished_training_keeps_its_model_only(tmp_path: Path) -> None:
    training = Training.start(MemoryStore(), "t", SPEC)
    assert training.model() is None
    kept(training, written(tmp_path / "a"), 5)
    kept(training, written(tmp_path / "m", {"model.safetensors": b"weights" * 9}), 7, final=True)
    training.drop_checkpoints()
    assert training.checkpoints() == []
    model = training.model()
    assert model is not None
    assert (model.step, model.notes) == (7, {"step": 7})
    fetch_files(training.store, training.prefix, model.files, tmp_path / "out")
    keys = {entry.key for entry in training.store.list(training.prefix)}
    assert len(keys) == 2 + len({part for file in model.files for part in file.parts})


@pytest.mark.parametrize("seed", range(20))
def test_lost_requests_and_replies_name_only_what_is_whole(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    print(f"seed {seed}")
    monkeypatch.setattr(checkpoints, "WRITERS", 1)  # one writer: the seed is the whole story
    odds = Odds(lost_request=0.3, lost_reply=0.3, late_request=0.2, phantom_exists=0.1)
    world = World(random.Random(seed), odds)
    inner = world.truth
    training = Training.start(inner, "t", SPEC)
    flaky = replace(training, store=FaultyStore(world), patience=replace(QUICK, tries=3))
    folder = written(tmp_path / "in")
    for step in (5, 10, 15):
        try:
            kept(flaky, folder, step)
        except StoreUnavailable:
            continue
    world.calm()
    for step in training.checkpoints():
        fetch_files(inner, training.prefix, training.checkpoint(step).files, tmp_path / f"{step}")


def test_only_a_finished_training_gives_its_checkpoints_up() -> None:
    with pytest.raises(ValueError, match="'t' is not finished"):
        Training.start(MemoryStore(), "t", SPEC).drop_checkpoints()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    training = Training.start(MemoryStore(), "t", SPEC)
    stored = kept(training, written(tmp_path / "in"), 5)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match=f"{tmp_path}/file/out"):
        fetch_files(training.store, training.prefix, stored, tmp_path / "file" / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "in"]


SPEC_BODY = json.loads(SPEC.to_json())


@pytest.mark.parametrize(
    ("data", "error", "said"),
    [
        (b"[" * 100_000, ObjectCorrupt, "is no JSON"),
        (b"[]", ObjectCorrupt, "is no JSON object"),
        (canonical_json(SPEC_BODY | {"settings": []}), ObjectCorrupt, "settings: "),
        (canonical_json(SPEC_BODY | {"run": 1}), ObjectCorrupt, "run: "),
        (canonical_json(SPEC_BODY | {"more": 1}), ConfigurationError, "has 'more'"),
    ],
)
def test_a_spec_that_can_not_be_read_is_said(
    data: bytes, error: type[Exception], said: str
) -> None:
    store = MemoryStore()
    store.put_new("trainings/t/spec.json", data)
    with pytest.raises(error, match=said):
        Training.find(store, "t")


@pytest.mark.parametrize("data", [b"[" * 100_000, b"{}", b'{"step": NaN}'])
def test_a_checkpoint_that_names_no_folder_is_said(data: bytes) -> None:
    training = Training.start(MemoryStore(), "t", SPEC)
    training.store.put_new(f"{training.prefix}checkpoints/00000005.json", data)
    with pytest.raises(ObjectCorrupt, match=r"00000005\.json"):
        training.checkpoint(5)


def test_a_copied_training_is_the_same_and_a_repeated_copy_sends_nothing(tmp_path: Path) -> None:
    training = Training.start(MemoryStore(), "t", SPEC)
    kept(training, written(tmp_path / "a"), 5)
    there = copy_training(training, MemoryStore("there"), "t")
    assert there.fetched == there.objects > 0
    kept(training, written(tmp_path / "b", FILES | {"config.json": b"{ }"}), 10)
    kept(training, written(tmp_path / "c", FILES | {"config.json": b"{  }"}), 15, final=True)
    copied = copy_training(training, there.training.store, "t")
    assert copied.fetched == 1, "one file was written since"
    assert copied.training.model() == training.model()
    assert damaged_parts(copied.training) == []
    assert copy_training(training, copied.training.store, "t").fetched == 0
    part = next(iter(copied.training.store.list("trainings/t/parts/"))).key
    copied.training.store.delete(part)
    assert len(damaged_parts(copied.training)) == 1


def test_a_trainer_that_is_alive_does_not_bring_a_removed_training_back(tmp_path: Path) -> None:
    training = Training.start(MemoryStore(), "t", SPEC)
    folder = written(tmp_path / "a")
    remove(training.store, training.prefix, Tombstone("ann", ""))
    with pytest.raises(Removed, match=r"training 't' was removed by ann: .*training:t --free-name"):
        kept(training, folder, 5)
    stored = store_files(training.store, training.prefix, folder, files_in(folder))
    assert stored
    assert remove(training.store, training.prefix, Tombstone("ann", "")) > 0, (
        "of a trainer that died"
    )
    assert [entry.key for entry in training.store.list("")] == ["trainings/t/removed.json"]


OUTSIDE = ["../out", "/{folder}/out", "a/../../out", "..", ".", "", "a//b", "a/", "a\0b"]


@pytest.mark.parametrize("path", OUTSIDE)
@pytest.mark.parametrize("document", ["model.json", "checkpoints/00000005.json"])
def test_no_folder_of_a_store_is_written_outside_of_its_place(
    document: str, path: str, tmp_path: Path
) -> None:
    store = MemoryStore()
    training = Training.start(store, "t", SPEC)
    stored = kept(training, written(tmp_path / "m"), 5, final=document == "model.json")
    key = f"trainings/t/{document}"
    body = json.loads(store.objects[key])
    del body["digest"]
    body["files"][0]["path"] = path.format(folder=tmp_path)
    store.objects[key] = signed(body)
    with pytest.raises(ObjectCorrupt, match="names a file outside of its folder"):
        folder = training.model() or training.checkpoint(5)
        fetch_files(store, training.prefix, folder.files, tmp_path / "there")
    assert stored and not (tmp_path / "out").exists()


@pytest.mark.parametrize("part", [{"sha256": "../x"}, {"bytes": -1}, {"bytes": 10**30}])
def test_a_part_that_is_none_is_said(part: dict[str, object], tmp_path: Path) -> None:
    store = MemoryStore()
    training = Training.start(store, "t", SPEC)
    kept(training, written(tmp_path / "m"), 5, final=True)
    body = json.loads(store.objects["trainings/t/model.json"])
    del body["digest"]
    body["files"][0]["parts"][0] |= part
    store.objects["trainings/t/model.json"] = signed(body)
    with pytest.raises(ObjectCorrupt, match=r"model.json names no part of 'a/b.pt'"):
        training.model()


@pytest.mark.parametrize("notes", [{}, {"counts": 7}, {"counts": {"rows": "many"}}])
def test_notes_without_counts_are_said(notes: dict[str, object], tmp_path: Path) -> None:
    training = Training.start(MemoryStore(), "t", SPEC)
    files = store_files(training.store, training.prefix, tmp_path, [], training.patience)
    stored = training.commit(files, 5, notes, False)
    with pytest.raises(ObjectCorrupt, match="has no counts among its notes"):
        stored.counts("counts")
