"""A store that is a folder in which somebody else has put pipes, devices and links."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from launch.cli.main import run_command
from tests.support.whole_run import in_folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return in_folder(tmp_path_factory.mktemp("whole"))


@pytest.fixture
def store(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "store"))


def listens(place: Path) -> None:
    with socket.socket(socket.AF_UNIX) as ours:
        ours.bind(os.path.relpath(place))


NO_FILES: dict[str, Callable[[Path], object]] = {
    "a pipe": os.mkfifo,
    "a link to memory without end": lambda at: at.symlink_to("/dev/zero"),
    "a socket": listens,
}


@pytest.mark.parametrize("make", NO_FILES.values(), ids=NO_FILES)
@pytest.mark.parametrize(
    "what", ["spec.json", "_SUCCESS.json", "label/commits/*1.json", "label/data/*"]
)
def test_what_is_no_file_is_refused_and_not_waited_for(
    what: str,
    make: Callable[[Path], object],
    store: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place = min((store / "runs/whole").glob(what))
    place.unlink()
    monkeypatch.chdir(place.parent)
    make(place)
    for verb in ("status whole", "audit whole", "runs"):
        assert run_command([*verb.split(), "--store", str(store)]) in (0, 2, 3)
        assert len(capsys.readouterr().err.splitlines()) <= 1


def test_a_copy_takes_no_file_along_to_which_somebody_has_put_a_link(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("{}")
    for name in ("notes.json", "marks/00000000000000000000000000000000-000000.json"):
        link = store / "runs/whole" / name
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(secret)
        verb = ["copy", "whole", "--from", str(store), "--to", str(tmp_path / "to")]
        assert run_command(verb) == 3
        assert f"{name} is a link to {secret}" in capsys.readouterr().err
        assert not (tmp_path / "to/runs/whole" / name).exists()
        link.unlink()


def test_a_run_on_another_disk_is_copied(store: Path, tmp_path: Path) -> None:
    (store / "runs/whole/notes.json").write_text("{}")
    (store / "runs/whole").rename(tmp_path / "disk")
    (store / "runs/whole").symlink_to(tmp_path / "disk")
    assert run_command(["copy", "whole", "--from", str(store), "--to", str(tmp_path / "to")]) == 0
    assert (tmp_path / "to/runs/whole/notes.json").read_text() == "{}"


def test_folders_within_each_other_without_end_stop_no_listing(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(store / "runs/whole")
    for _ in range(1_200):
        os.mkdir("a")
        os.chdir("a")
    Path("f").write_text("x")
    try:
        for verb in (["runs"], ["audit", "whole"]):
            assert run_command([*verb, "--store", str(store)]) == 0
    finally:  # too deep for pytest, which would remove them
        subprocess.run(["rm", "-rf", store / "runs/whole/a"], cwd=store, check=True)
