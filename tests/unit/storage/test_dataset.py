"""The finished dataset: laid out once, copied whole, read by `datasets`, resumable."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path as Folder

import pyarrow.parquet as pq
import pytest

from storage.datasets import dataset
from storage.datasets.dataset import assemble
from storage.datasets.download import download
from storage.datasets.view import CHAT_TEMPLATE, GENPRM, View
from storage.errors import ConfigurationError, InputError, NothingFound, ObjectCorrupt
from storage.objects.memory import MemoryStore
from storage.rows.kinds import EXAMPLES, stage_rows
from storage.rows.records import Example
from storage.runs.run import Run
from tests.support.whole_run import finished, started
from workflows.stages import described


def examples(run: Run) -> list[Example]:
    shards = range(run.spec.plan.shards)
    return [row for shard in shards for row in run.read_rows(EXAMPLES, shard)]


def names(folder: Folder) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


def test_a_download_holds_every_example_once_in_order(tmp_path: Folder) -> None:
    run = finished(MemoryStore())
    got = download(run, tmp_path)
    (file,) = (tmp_path / "data").iterdir()
    assert pq.read_table(file).to_pylist() == [asdict(row) for row in examples(run)]
    assert got.rows == len(examples(run)) > 0
    assert names(tmp_path) == ["README.md", "SHA256SUMS", CHAT_TEMPLATE, f"data/{file.name}"]
    assert (tmp_path / CHAT_TEMPLATE).read_text() == GENPRM.chat_template
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=tmp_path, check=True)


def test_a_large_export_becomes_several_files(
    tmp_path: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset, "FILE_BYTES", 10_000)
    monkeypatch.setattr(dataset, "GROUP_ROWS", 2)
    run = finished(MemoryStore())
    download(run, tmp_path)
    files = sorted((tmp_path / "data").iterdir())
    assert [file.name[:20] for file in files] == ["train-00000-of-00003", *(
        f"train-0000{n}-of-00003" for n in (1, 2))]  # fmt: skip
    rows = [row for file in files for row in pq.read_table(file).to_pylist()]
    assert rows == [asdict(row) for row in examples(run)]


@pytest.mark.parametrize("formats", [("parquet",), ("jsonl",), ("parquet", "jsonl")])
def test_the_datasets_library_reads_the_folder(tmp_path: Folder, formats: Sequence[str]) -> None:
    import datasets

    run = finished(MemoryStore())
    download(run, tmp_path / "out", formats=formats)
    loaded = datasets.load_dataset(
        str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert list(loaded) == [asdict(row) for row in examples(run)]
    assert loaded.config_name == "genprm"


def test_json_lines_hold_the_same_rows(tmp_path: Folder) -> None:
    run = finished(MemoryStore())
    got = download(run, tmp_path, formats=("jsonl",))
    (file,) = (tmp_path / "jsonl").iterdir()
    lines = file.read_text().splitlines()
    assert [json.loads(line) for line in lines] == [asdict(row) for row in examples(run)]
    assert got.rows == len(lines)


def test_repeating_a_download_fetches_only_what_is_missing_or_wrong(tmp_path: Folder) -> None:
    run = finished(MemoryStore())
    done: list[tuple[str, int, int]] = []
    first = download(run, tmp_path, progress=lambda *step: done.append(step))
    assert [(number, total) for _, number, total in done] == [(1, 3), (2, 3), (3, 3)]
    assert (first.fetched, download(run, tmp_path).fetched) == (3, 0)
    (file,) = (tmp_path / "data").iterdir()
    file.write_bytes(file.read_bytes()[:-1])
    (tmp_path / "data" / ".half.partial").write_bytes(b"left by a killed download")
    assert download(run, tmp_path).fetched == 1
    assert download(run, tmp_path, formats=("jsonl",)).fetched == 2
    assert {path.split("/")[0] for path in names(tmp_path)} == {
        "README.md",
        "SHA256SUMS",
        CHAT_TEMPLATE,
        "data",
        "jsonl",
    }
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=tmp_path, check=True)


def test_two_datasets_never_mix_in_one_folder(tmp_path: Folder) -> None:
    store = MemoryStore()
    download(finished(store, "one"), tmp_path)
    with pytest.raises(InputError, match="not of this dataset: name an empty folder"):
        download(finished(store, "two"), tmp_path)
    file = tmp_path / "README.md"
    with pytest.raises(InputError, match="is a file: name a folder"):
        download(finished(store, "one"), file)


@pytest.mark.parametrize("name", ["README.md", CHAT_TEMPLATE, "SHA256SUMS"])
@pytest.mark.parametrize("beside", ["an empty data folder", "an earlier download"])
def test_a_file_of_ones_own_is_never_replaced(tmp_path: Folder, name: str, beside: str) -> None:
    run = finished(MemoryStore())
    if beside == "an earlier download":
        download(run, tmp_path)
    (tmp_path / "data").mkdir(exist_ok=True)
    own = f"{'0' * 64}  notes.txt\n".encode()
    (tmp_path / name).write_bytes(own)
    with pytest.raises(
        InputError, match=rf"{name} is not of this da|{name} is not of this download"
    ):
        download(run, tmp_path, formats=("parquet", "jsonl"))
    assert (tmp_path / name).read_bytes() == own


@pytest.mark.parametrize("formats", [("parquet",), ("jsonl",)])
def test_a_download_that_was_cut_off_behind_its_card_goes_on(
    tmp_path: Folder, formats: tuple[str, ...]
) -> None:
    run = finished(MemoryStore())
    download(run, tmp_path, formats=formats)
    (tmp_path / "SHA256SUMS").unlink()
    assert download(run, tmp_path).fetched > 0
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=tmp_path, check=True)


def test_a_download_of_damaged_bytes_stops_and_leaves_no_file_under_a_final_name(
    tmp_path: Folder,
) -> None:
    store = MemoryStore()
    run = finished(store)
    (file, *_) = assemble(run)
    key = f"runs/whole/dataset/genprm/{file.path}"
    store.objects[key] += b"?"
    with pytest.raises(ObjectCorrupt, match=file.sha256):
        download(run, tmp_path)
    assert names(tmp_path) == []


def test_an_unfinished_run_and_an_unknown_format_are_refused(tmp_path: Folder) -> None:
    run = started(MemoryStore())
    with pytest.raises(NothingFound, match="not finished: resume it first"):
        download(run, tmp_path)
    with pytest.raises(ConfigurationError, match="--format csv: choose parquet or jsonl"):
        download(run, tmp_path, formats=("csv",))
    with pytest.raises(ConfigurationError, match="choose parquet or jsonl"):
        download(run, tmp_path, formats=())


def test_a_run_that_kept_nothing_is_an_empty_dataset(tmp_path: Folder) -> None:
    run = started(MemoryStore(), count=1, per_shard=1)
    for stage in run.spec.stages[1:]:
        run.publish(stage_rows(stage), 0, [])
    run.finish()
    assert download(run, tmp_path).rows == 0
    (file,) = (tmp_path / "data").iterdir()
    assert pq.read_table(file).column_names[0] == "conversations"


@dataclass(frozen=True)
class Label:
    path_id: str
    labels: list[bool]


def test_another_view_is_another_folder_of_other_rows(tmp_path: Folder) -> None:
    view = View("labels", "Labels only.", Label, lambda rows: [
        Label(row.path_id, row.labels) for row in rows])  # fmt: skip
    run = finished(MemoryStore())
    download(run, tmp_path, view)
    (file,) = (tmp_path / "data").iterdir()
    assert pq.read_table(file).to_pylist() == [
        {"path_id": row.path_id, "labels": row.labels} for row in examples(run)
    ]
    assert "Labels only." in (tmp_path / "README.md").read_text()


def test_the_card_says_what_was_dropped_and_what_it_is_not(tmp_path: Folder) -> None:
    run = finished(MemoryStore())
    download(run, tmp_path, stages=described(run.spec.stages))
    card = (tmp_path / "README.md").read_text()
    for part in (
        "11 rows, made by Stepmill from 7 problems",
        "| policy | tiny |",
        "| sample | no_correct_path | 2 |",
        "| kept by consensus | 11 | 78.6% |",
        "## Limits",
        '"cap": 64',
    ):
        assert part in card


def test_an_assembly_that_was_interrupted_or_doubled_gives_one_dataset() -> None:
    store = MemoryStore()
    run = finished(store)
    files = assemble(run)
    whole = dict(store.objects)
    for gone in [key for key in whole if "/dataset/" in key]:
        store.delete(gone)
        if not gone.endswith("SHA256SUMS"):
            store.objects.pop("runs/whole/dataset/genprm/SHA256SUMS", None)
        assert assemble(run) == files
        assert store.objects == whole
