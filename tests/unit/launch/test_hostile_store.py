"""Every verb that only reads, on a store whose documents are damaged, huge, deep, wrong or newer.

Each ends with 0, 2 or 3 and one line at most, within seconds; audit passes nothing that is wrong.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from launch.cli.main import run_command
from storage.runs.commits import canonical_json
from tests.support.whole_run import in_folder

Damage = Callable[[bytes], bytes]
VERBS = ["status", "audit", "compare", "texts", "download", "sweep"]

SUMS = "dataset/genprm/SHA256SUMS"
COMMIT = "estimate/commits/000001.json"
DOCUMENTS = {"spec.json", COMMIT, "_SUCCESS.json"}
BYTES: dict[str, Damage] = {
    "empty": lambda data: b"",
    "binary": lambda data: bytes(range(256)),
    "cut": lambda data: data[: len(data) // 2],
    "null": lambda data: b"null",
    "a list": lambda data: b"[]",
    "an empty object": lambda data: b"{}",
    "a number": lambda data: b"7",
    "deep": lambda data: b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}",
    "a number of 6,000 digits": lambda data: b'{"a":' + b"9" * 6_000 + b"}",
}
SIGNED: dict[str, Any] = {
    "data_key": "../x", "sha256": 5, "rows": "7", "bytes": None, "seconds": None, "drops": None,
    "counts": {"tokens": "many"}, "writer": None, "attempt": None, "shard": "1", "version": [],
    "kind": 1,
}  # fmt: skip
"""Fields of a commit, wrong and well signed."""
SPEC: dict[str, Any] = {
    "plan": {"items": 10**15, "items_per_shard": 3}, "stages": ["problems", "..", "sample"],
    "schemas": {"sample": "x"}, "models": [1], "configuration": [1], "format": "x",
    "input_digest": 7, "image_digest": 7, "added_by_a_newer_version": 1,
}  # fmt: skip
NO_STAGES = {"no stages": [], "100,000 stages": [f"s{n}" for n in range(100_000)]}
MARK = {
    "path_id": "p#0",
    "person": "ada",
    "right": False,
    "first_error": None,
    "note": "",
    "at": "",
}
MARKS = {name: damage(b"{}") for name, damage in BYTES.items()} | {
    f"{name} of another type": canonical_json(MARK | {name: [1]}) for name in MARK
}
SUCCESS: dict[str, Any] = {"totals": {"sample": {"shards": "x"}}, "commits": {"sample": 1}}


def signed(**fields: Any) -> Damage:
    def damage(data: bytes) -> bytes:
        body = json.loads(data) | fields
        del body["digest"]
        return canonical_json({**body, "digest": hashlib.sha256(canonical_json(body)).hexdigest()})

    return damage


def altered(**fields: Any) -> Damage:
    return lambda data: canonical_json(json.loads(data) | fields)


def planned(items: int, items_per_shard: int) -> Damage:
    return altered(plan={"items": items, "items_per_shard": items_per_shard})


CASES = [
    *((f"{key}: {name}", key, d) for key in sorted(DOCUMENTS) for name, d in BYTES.items()),
    *((f"commit: {name}", COMMIT, signed(**{name: value})) for name, value in SIGNED.items()),
    *((f"spec: {name}", "spec.json", altered(**{name: value})) for name, value in SPEC.items()),
    *((f"spec: {name}", "spec.json", altered(stages=value)) for name, value in NO_STAGES.items()),
    *((f"success: {name}", "_SUCCESS.json", altered(**{name: v})) for name, v in SUCCESS.items()),
    ("spec: items without end", "spec.json", planned(10**30, 10**30)),
    ("spec: an engine of another type", "spec.json", altered(configuration={"engines": {"p": 7}})),
    ("spec: a stage of another type", "spec.json", altered(configuration={"stages": {"label": 7}})),
    ("spec: a part of another type", "spec.json", altered(configuration={"stages": "x"})),
    ("sums that leave the folder", SUMS, lambda data: data + b"0" * 64 + b"  ../x\n"),
    ("sums of no text", SUMS, lambda data: b"\xff\xfe"),
]  # fmt: skip
HARMLESS: list[tuple[str, str, Damage]] = [
    ("a commit of a newer version with one more field", COMMIT, signed(more=1)),
    ("a commit behind 20 MB of blanks", COMMIT, lambda data: b" " * 20_000_000 + data),
    ("a commit beyond the plan", "label/commits/000099.json", lambda data: b"x"),
    ("a commit of a number without end", f"label/commits/{'9' * 60}.json", lambda data: b"x"),
]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return in_folder(tmp_path_factory.mktemp("whole"))


@pytest.fixture
def store(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "store"))


def codes(store: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, int]:
    """Each verb's exit code; at most one line of error is said."""
    ends = {}
    for verb in VERBS:
        to = [str(store / "dest")] if verb == "download" else []
        ends[verb] = run_command([verb, "whole", *to, "--store", str(store)])
        said = error_lines(capsys)
        assert len(said) <= 1, f"{verb}: {said}"
    return ends


def error_lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line for line in capsys.readouterr().err.split("\n") if line.strip()]


def damaged(store: Path, key: str, damage: Damage) -> None:
    file = store / "runs/whole" / key
    file.write_bytes(damage(file.read_bytes() if file.exists() else b""))


@pytest.mark.parametrize(("key", "damage"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_a_document_that_is_wrong_ends_every_verb_in_one_line(
    store: Path, capsys: pytest.CaptureFixture[str], key: str, damage: Damage
) -> None:
    damaged(store, key, damage)
    ends = codes(store, capsys)
    assert set(ends.values()) <= {0, 2, 3}
    assert ends["audit"] != 0


@pytest.mark.parametrize("data", [*MARKS.values()], ids=[*MARKS])
def test_a_mark_that_is_wrong_ends_the_verbs_that_read_marks_in_one_line(
    store: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, data: bytes
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(store / "cache"))
    mark = store / "runs/whole/marks" / f"{'0' * 32}-000000.json"
    mark.parent.mkdir()
    mark.write_bytes(data)
    for verb in (["show", "whole"], ["download", "whole", str(store / "dest"), "--reviewed"]):
        assert run_command([*verb, "--store", str(store)]) == 3
        (said,) = error_lines(capsys)
        assert f"runs/whole/marks/{mark.name}" in said


def test_a_half_of_a_letter_in_a_document_is_marked_in_the_card(
    store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(store / "runs/whole/dataset")
    damaged(store, "origin.json", lambda _: b'{"run": "a\\ud800", "spec": "x"}')
    dest = store / "dest"
    assert run_command(["download", "whole", str(dest), "--store", str(store)]) == 0
    assert "a?" in (dest / "README.md").read_text()


@pytest.mark.parametrize(("key", "damage"), [c[1:] for c in HARMLESS], ids=[c[0] for c in HARMLESS])
def test_what_changes_nothing_stops_no_verb(
    store: Path, capsys: pytest.CaptureFixture[str], key: str, damage: Damage
) -> None:
    before = codes(store, capsys)
    damaged(store, key, damage)
    assert codes(store, capsys) == before


STRAYS = [
    "runs/whole/my notes.txt", "runs/whole/a\nb.json", "runs/whole/\udcff",
    "runs/whole/my dir/x.json",
    "runs/whole/marks/x y.json", "runs/whole/label/commits/a b.json", "runs/whole/drivers/a b",
    "runs/whole/dataset/genprm/data/a b.parquet", "runs/whole/dataset/my view/x",
    "runs/my run/spec.json", "trainings/ü/spec.json",
]  # fmt: skip
"""Files of somebody's own, under names that no key has."""


def test_files_of_ones_own_stop_no_verb_and_stay(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = codes(store, capsys)
    for name in STRAYS:
        (store / name).parent.mkdir(parents=True, exist_ok=True)
        (store / name).write_text("{}")
    assert codes(store, capsys) == before
    there, here = ["--store", str(store)], ["--from", str(store), "--to"]
    for verb in (
        ["runs", *there], ["copy", "whole", *here, str(tmp_path / "to")],
        ["copy", "whole", *here, str(store), "--as", "other"], ["remove", "whole", "--yes", *there],
    ):  # fmt: skip
        assert run_command(verb) == 0, error_lines(capsys)
    left = {str(file.relative_to(store)) for file in (store / "runs/whole").rglob("*")}
    assert {name for name in left if (store / name).is_file()} == {
        "runs/whole/removed.json", *(name for name in STRAYS if name.startswith("runs/whole"))
    }  # fmt: skip
