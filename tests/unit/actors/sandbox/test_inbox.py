"""What the supervisor hears and sees: frames in an arena, counters of a container's cgroup."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from actors.sandbox.guest import arena, watch
from actors.sandbox.guest.frames import Frame, FrameError, encode
from actors.sandbox.guest.inbox import Inbox


def _heard(inbox: Inbox, data: bytes) -> list[Frame]:
    """What an inbox makes of bytes that come at once, its blobs copied."""
    near, far = os.pipe()
    try:
        os.write(far, data)
        frames = inbox.read(near)
        assert frames is not None
        return [Frame(f.kind, f.fields, tuple(map(bytes, f.blobs))) for f in frames]
    finally:
        os.close(near)
        os.close(far)


def test_frames_are_read_whole_however_they_are_cut() -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    inbox = Inbox()
    for _ in range(50):
        sent = [
            Frame("run", {"n": n}, tuple(chance.randbytes(chance.randrange(40)) for _ in range(3)))
            for n in range(chance.randrange(1, 4))
        ]
        data, heard = b"".join(map(encode, sent)), []
        while data:
            size = chance.randrange(1, len(data) + 1)
            heard += _heard(inbox, data[:size])
            data = data[size:]
            inbox.clear()  # forgets nothing that is not complete
        assert heard == sent


@pytest.mark.parametrize("data", [b"X", b"SMF1" + b"\xff" * 8, encode(Frame("a"))[:-1] + b"?"])
def test_what_is_no_frame_is_refused(data: bytes) -> None:
    with pytest.raises(FrameError):
        _heard(Inbox(), data)


def test_the_end_of_the_stream_is_told_from_a_frame_that_is_not_complete() -> None:
    near, far = os.pipe()
    os.close(far)
    assert Inbox().read(near) is None
    os.close(near)
    assert _heard(Inbox(), b"SM") == []


def test_a_wiped_arena_is_all_zeros() -> None:
    ours = arena.Arena(1 << 16)
    ours.view[:4] = b"left"
    ours.wipe()
    assert bytes(ours.view) == bytes(1 << 16)


@pytest.mark.parametrize(
    ("version", "text"),
    [
        ("v1", "12500000000\n"),
        ("v2", "usage_usec 12500000\nuser_usec 12000000\nsystem_usec 500000\n"),
    ],
)
def test_the_boxs_processor_time_is_read_from_either_cgroup(
    version: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counters = []
    for path, name, unit in watch.CPU_COUNTERS:
        file = tmp_path / path.replace("/", "_")
        if name == (b"usage_usec" if version == "v2" else b""):
            file.write_text(text)
        counters.append((str(file), name, unit))
    monkeypatch.setattr(watch, "CPU_COUNTERS", counters)
    monkeypatch.setattr("time.process_time", lambda: 2.0)
    assert watch.box_cpu_s() == 10.5
    monkeypatch.setattr(watch, "CPU_COUNTERS", [(str(tmp_path / "none"), b"", 1.0)])
    assert watch.box_cpu_s() == 0.0


def test_a_name_that_a_process_chose_is_not_taken_for_its_numbers(tmp_path: Path) -> None:
    (tmp_path / "stat").write_text("7 (x) S 9) R 1 2 3\n")
    (tmp_path / "status").write_text("Name:\tVmHWM: 1 kB\nVmHWM:\t  99 kB\n")
    assert arena.numbers_of(str(tmp_path / "stat")) == [b"R", b"1", b"2", b"3"]
    assert arena.value_in(str(tmp_path / "status"), b"\nVmHWM:") == 99


def test_an_empty_folder_is_told_from_one_with_a_file(tmp_path: Path) -> None:
    assert arena.is_empty(str(tmp_path)) and arena.is_empty(str(tmp_path / "missing"))
    (tmp_path / "x").touch()
    assert not arena.is_empty(str(tmp_path))
