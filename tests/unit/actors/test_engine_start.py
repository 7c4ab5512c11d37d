"""How far an engine's start is, and when it is given up."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from actors.engines.start import Progress, Pulse, Weights, progress, starting, watched
from storage.errors import EngineFailed
from tests.support.virtual_time import virtually

GB = 10**9
MIB = 1 << 20


def weights(folder: Path, *sizes: int) -> list[str]:
    files = [folder / f"model-{number}.safetensors" for number in range(len(sizes))]
    for file, size in zip(files, sizes, strict=True):
        file.write_bytes(bytes(size))
    (folder / "config.json").write_text("{}")
    return [str(file.resolve()) for file in files]


def test_a_file_that_was_held_and_is_no_more_was_read_to_its_end(tmp_path: Path) -> None:
    first, second = weights(tmp_path, 100, 300)
    read = Weights(tmp_path)
    assert read.seen({}) == 0
    assert read.seen({first: 40, "/lib/x.so": 9}) == 40
    assert read.seen({second: 10}) == 110
    assert read.seen({second: 5}) == 110, "what was read stays read"
    assert read.seen({second: 4096}) == 400, "a page is larger than the rest of a file"
    assert read.seen({}) == 400


def test_weights_in_a_hubs_cache_are_known_by_their_own_names(tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(bytes(100))
    folder = tmp_path / "snapshot"
    folder.mkdir()
    (folder / "model.safetensors").symlink_to(tmp_path / "blob")
    assert Weights(folder).seen({str(tmp_path / "blob"): 70}) == 70


def test_what_a_child_has_mapped_or_read_is_seen_from_outside(tmp_path: Path) -> None:
    mapped, read = weights(tmp_path, 8 * MIB, 4 * MIB)
    child = subprocess.Popen(
        [sys.executable, "-c", f"""
import mmap, sys
file = open({mapped!r}, "rb")
there = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
for page in range(0, {6 * MIB}, mmap.PAGESIZE):
    there[page]
other = open({read!r}, "rb", buffering=0)
other.read({MIB})
print(flush=True)
sys.stdin.read()
"""],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert child.stdout is not None
    child.stdout.readline()
    try:
        assert progress() is None, "nothing is being started"
        with starting(str(tmp_path)):
            found = progress()
    finally:
        child.kill()
        child.wait()
    assert found is not None
    # The kernel maps pages around one that is touched.
    assert 7 * MIB <= found.read <= 9 * MIB
    assert (found.total, found.worked_s > 0) == (12 * MIB, True)


def test_what_is_read_is_said_at_every_tenth() -> None:
    pulse = Pulse("policy-0", 60)
    read = [0.0, 1.0, 1.6, 2.0, 3.2, 15.2, 15.2]
    said = [
        pulse.at(2.0 * number, Progress(int(gb * GB), int(15.2 * GB), number))
        for number, gb in enumerate(read)
    ]
    assert [line for line in said if line] == [
        "policy-0: loading 1.60 of 15.20 GB",
        "policy-0: loading 3.20 of 15.20 GB",
        "policy-0: loading 15.20 of 15.20 GB",
    ]


@pytest.mark.parametrize(
    ("step", "ends"),
    [
        pytest.param(Progress(1, 0, 0.0), False, id="bytes_come"),
        pytest.param(Progress(0, 0, 0.5), False, id="its_processes_work"),
        pytest.param(Progress(0, 0, 0.02), True, id="its_processes_look_around_only"),
        pytest.param(Progress(0, 0, 0.0), True, id="nothing_moves"),
    ],
)
@virtually
async def test_a_start_is_given_up_only_when_nothing_moves(step: Progress, ends: bool) -> None:
    now = asyncio.get_running_loop().time
    looks = 0

    async def look() -> Progress:
        nonlocal looks
        looks += 1
        return Progress(step.read * looks, 10 * GB, step.worked_s * looks)

    async def opening() -> str:
        await asyncio.sleep(3600)
        return "up"

    start = watched(opening(), look, Pulse("policy-0", 600), lambda line: None)
    if not ends:
        assert await start == "up"
        return
    with pytest.raises(
        EngineFailed, match=r"policy-0 did not come up: 0.00 of 10.00 GB .* 600 sec"
    ):
        await start
    assert 600 <= now() <= 610


@virtually
async def test_what_opening_raises_is_raised_also_while_a_look_is_not_answered() -> None:
    async def look() -> Progress | None:
        await asyncio.sleep(3600)
        return None

    async def opening() -> None:
        await asyncio.sleep(10)
        raise EngineFailed("it died")

    with pytest.raises(EngineFailed, match="it died"):
        await watched(opening(), look, Pulse("policy-0", 600), lambda line: None)
    assert asyncio.get_running_loop().time() == 10
