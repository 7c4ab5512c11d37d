"""Folders that go with their owners, whatever owners know of each other."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from actors.owned_folder import LOCK, OwnedFolder, sweep

ROOT = Path(__file__).parents[3]
OWNER = (
    "import os, sys; from pathlib import Path; from actors.owned_folder import OwnedFolder\n"
    "mine = OwnedFolder('test', base=Path(sys.argv[1])); (mine.path / 'sub').mkdir()\n"
    "(mine.path / 'sub/file').touch(); print(mine.path, flush=True); sys.stdin.read(); os._exit(1)"
)
ELSEWHERE = ("unshare", "--pid", "--fork")
"""In a process namespace of its own, where it is number 1."""


@contextmanager
def owner(base: Path, *prefix: str) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A process that owns a folder."""
    with subprocess.Popen(
        [*prefix, sys.executable, "-c", OWNER, str(base)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        yield process, Path(process.stdout.readline().strip())


def can(command: Sequence[str]) -> bool:
    return shutil.which(command[0]) is not None and not subprocess.call(
        [*command, "true"], stderr=subprocess.DEVNULL
    )


def test_a_folder_of_a_killed_owner_is_removed_and_one_of_a_living_owner_is_not(
    tmp_path: Path,
) -> None:
    with owner(tmp_path) as (process, theirs):
        mine = OwnedFolder("test", base=tmp_path)
        assert (theirs / "sub/file").exists(), "its owner lives"
        process.kill()
    other = OwnedFolder("another-kind", base=tmp_path)
    assert not theirs.exists()
    assert mine.path.is_dir()
    for folder in (mine, other, mine):
        folder.remove()
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not can(ELSEWHERE), reason="no process namespace may be made here")
def test_an_owner_whose_number_means_nothing_here_keeps_its_folder_while_it_lives(
    tmp_path: Path,
) -> None:
    with owner(tmp_path, *ELSEWHERE) as (process, theirs):
        sweep(tmp_path)
        assert (theirs / "sub/file").exists()
        process.communicate()  # it ends, and leaves its folder
    sweep(tmp_path)
    assert not theirs.exists()


def test_a_sweep_that_takes_the_lock_first_costs_the_owner_a_second_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, swept = fcntl.flock, []

    def sweep_comes_first(file: int, how: int) -> None:
        if how == fcntl.LOCK_EX and not swept:
            swept.extend(tmp_path.iterdir())
            sweep(tmp_path)
        lock(file, how)

    monkeypatch.setattr(fcntl, "flock", sweep_comes_first)
    with OwnedFolder("test", base=tmp_path) as folder:
        assert swept
        assert list(tmp_path.iterdir()) == [folder]
        sweep(tmp_path)
        assert (folder / LOCK).exists()


def test_of_many_that_open_at_once_each_has_a_folder_and_the_dead_one_is_gone(
    tmp_path: Path,
) -> None:
    with owner(tmp_path) as (process, dead):
        process.kill()
    together, opened = threading.Barrier(8), []

    def claim() -> None:
        together.wait()
        opened.append(OwnedFolder("test", base=tmp_path))

    threads = [threading.Thread(target=claim) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(tmp_path.iterdir()) == sorted(one.path for one in opened)
    assert len(opened) == 8
    assert dead not in [one.path for one in opened]
    for one in opened:
        one.remove()


def test_a_folder_for_sockets_is_made_where_their_paths_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(deep))
    with OwnedFolder("test") as anywhere, OwnedFolder("test", sockets=60) as short:
        assert anywhere.parent == deep
        assert short.parent == Path("/tmp")
        assert len(str(short / ("s" * 60))) <= 107
