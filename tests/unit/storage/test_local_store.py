"""A folder as a store: what the file system refuses, and what may be tried again."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from storage.errors import ConfigurationError, StoreRefused, StoreUnavailable
from storage.objects import local
from storage.objects.local import LocalStore
from storage.objects.store import Put
from storage.runs.removal import Tombstone, free, remove

CALLS: dict[str, tuple[str, Callable[[LocalStore], object]]] = {
    "put": ("os.link", lambda store: store.put_new("a/b", b"x")),
    "look": ("pathlib.Path.exists", lambda store: store.put_new("a/b", b"x")),
    "measure": ("pathlib.Path.stat", lambda store: store.get("a/old", 10)),
    "sweep": ("pathlib.Path.glob", lambda store: store.sweep_partial()),
    "list": ("os.scandir", lambda store: list(store.list("a/"))),
    "delete": ("pathlib.Path.unlink", lambda store: store.delete("a/old")),
    "get": ("pathlib.Path.read_bytes", lambda store: store.get("a/old")),
}
"""Call -> what of the system it needs, and the call."""


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (errno.EACCES, StoreRefused),
        (errno.EPERM, StoreRefused),
        (errno.EROFS, StoreRefused),
        (errno.EXDEV, StoreRefused),
        (errno.EIO, StoreUnavailable),
        (errno.ENOSPC, StoreUnavailable),
        (errno.ESTALE, StoreUnavailable),
    ],
    ids=lambda value: errno.errorcode[value] if isinstance(value, int) else "",
)
@pytest.mark.parametrize("call", CALLS)
def test_what_the_system_refuses_ends_a_run_and_what_may_pass_is_tried_again(
    call: str, code: int, error: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = LocalStore.at(tmp_path)
    store.put_new("a/old", b"old")
    needed, work = CALLS[call]

    def refuse(*given: Any, **options: Any) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(needed, refuse)
        with pytest.raises(error, match=os.strerror(code)):
            work(store)
    assert store.get("a/old") == b"old"


def test_an_object_that_may_not_be_on_disk_yet_is_neither_created_nor_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = LocalStore.at(tmp_path)
    store.put_new("a/old", b"old")

    def refuse(folder: Path) -> None:
        raise OSError(errno.EIO, "the disk is gone")

    monkeypatch.setattr(local, "_flush_folder", refuse)
    assert store.put_new("a/new", b"new") is Put.UNKNOWN
    assert store.put_new("a/new", b"new") is Put.EXISTS


def test_a_run_that_was_moved_to_another_disk_is_listed_and_read(tmp_path: Path) -> None:
    store = LocalStore.at(tmp_path / "store")
    store.put_new("runs/r/spec.json", b"{}")
    (tmp_path / "store/runs/r").rename(tmp_path / "elsewhere")
    (tmp_path / "store/runs/r").symlink_to(tmp_path / "elsewhere")
    assert list(store.folders("runs/")) == ["r"]
    assert [entry.key for entry in store.list("runs/r/")] == ["runs/r/spec.json"]


def test_objects_that_are_links_are_listed_as_they_are_read_and_only_the_links_go(
    tmp_path: Path,
) -> None:
    store = LocalStore.at(tmp_path / "store")
    store.put_new("runs/r/a", b"12")
    (store.root / "runs/r/a").rename(tmp_path / "elsewhere")
    (store.root / "runs/r/a").symlink_to(tmp_path / "elsewhere")
    (store.root / "runs/r/gone").symlink_to(tmp_path / "nothing")
    (store.root / "runs/r/self").symlink_to(store.root / "runs/r")
    assert list(store.list("runs/r/")) == [("runs/r/a", 2)]
    assert store.get("runs/r/a") == b"12"
    store.delete("runs/r/a")
    assert (tmp_path / "elsewhere").read_bytes() == b"12"


@pytest.mark.parametrize("linked", ["runs", "runs/r", "runs/r/sample"])
def test_what_lies_behind_a_link_is_not_removed(linked: str, tmp_path: Path) -> None:
    store = LocalStore.at(tmp_path / "store")
    keys = ["runs/r/spec.json", "runs/r/sample/commits/000000.json", "runs/r/sample/data/x"]
    for key in keys:
        store.put_new(key, b"{}")
    (store.root / linked).rename(tmp_path / "elsewhere")
    (store.root / linked).symlink_to(tmp_path / "elsewhere")
    for work in (
        lambda: remove(store, "runs/r/", Tombstone("ann", "")),
        lambda: free(store, "runs/r/"),
    ):
        with pytest.raises(StoreRefused, match=rf"{linked} is a link: what lies behind it"):
            work()
    assert [store.get(key) for key in keys] == [b"{}"] * 3
    (store.root / linked).unlink()
    (tmp_path / "elsewhere").rename(store.root / linked)
    assert remove(store, "runs/r/", Tombstone("ann", "")) == 3


WRONG: dict[str, tuple[str, Callable[[Path], object]]] = {
    "a file": ("is a file", lambda at: at.write_bytes(b"")),
    "a link to itself": ("loop", lambda at: at.symlink_to(at)),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_no_folder_is_refused(kind: str, tmp_path: Path) -> None:
    why, make = WRONG[kind]
    make(tmp_path / "store")
    with pytest.raises(ConfigurationError, match=rf"(?i){why}.*: name a folder"):
        LocalStore.at(tmp_path / "store")


@pytest.mark.parametrize(
    ("name", "why"), [("x" * 300, "File name too long"), ("a\0b", "null byte")]
)
def test_a_name_that_no_folder_can_have_is_refused(name: str, why: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=f"{why}: name a folder"):
        LocalStore.at(tmp_path / name)


def test_a_store_in_a_folder_that_one_may_not_enter_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*given: Any, **options: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("pathlib.Path.exists", refuse)
    with pytest.raises(ConfigurationError, match="Permission denied: name a folder"):
        LocalStore.at(tmp_path)
