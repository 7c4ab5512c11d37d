"""Nothing of the host fills up: logs, scratch space and image layers are bounded."""

from __future__ import annotations

from pathlib import Path

import pytest
from case import with_limits
from conftest import Arena

from actors.sandbox import Request, Verdict
from actors.sandbox.docker.box import GVISOR_PIDS, DockerBoxes
from actors.sandbox.docker.engine import LARGEST_LOG, find_engine, trim_log
from actors.sandbox.image.rootfs import state_dir

pytestmark = [pytest.mark.container, pytest.mark.asyncio(loop_scope="session")]


def _size(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())


async def test_a_flood_of_output_writes_nothing_on_the_host(arena: Arena) -> None:
    log = state_dir() / "engine"
    before = _size(log / "data" / "containers") if log.exists() else 0
    for stream in ("stdout", "stderr"):
        code = f"import sys\nwhile True: sys.{stream}.write('f' * 65536)"
        assert (await arena.sandbox.run(Request(code))).verdict is Verdict.OUTPUT
    after = _size(log / "data" / "containers") if log.exists() else 0
    assert after - before < 1 << 20


async def test_a_flood_of_scratch_space_ends_at_its_size_and_is_gone(arena: Arena) -> None:
    fill = (
        "import os\nwritten = 0\n"
        "for root in ('/tmp', '/dev/shm'):\n"
        "    try:\n"
        "        for i in range(10**6):\n"
        "            with open(f'{root}/{i}', 'wb', buffering=0) as f: written += f.write(bytes(1 << 20))\n"
        "    except OSError: pass\n"
        "print(written >> 20)"
    )
    for _ in range(5):
        seen = await arena.sandbox.run(Request(fill), with_limits(wall_s=10, cpu_s=10))
        assert seen.verdict in (Verdict.OK, Verdict.MEMORY)
        assert seen.verdict is Verdict.MEMORY or int(seen.stdout) <= 16


async def test_the_container_has_no_log_and_no_writable_layer(arena: Arena) -> None:
    if not isinstance(arena.sandbox.source, DockerBoxes):
        pytest.skip("bubblewrap has neither logs nor layers")
    box = await arena.sandbox.box()
    engine = await find_engine(state_dir())
    container = box.id.split("-")[0]
    seen = await engine.ask(lambda docker: docker.inspect_container(container))
    (weighed,) = await engine.ask(
        lambda docker: docker.containers(size=True, filters={"id": container})
    )
    arena.sandbox.give_back(box)
    host = seen["HostConfig"]
    assert (host["LogConfig"]["Type"], seen["LogPath"]) == ("none", "")
    assert weighed["SizeRootFs"] > 0 and weighed.get("SizeRw", 0) == 0
    assert host["ReadonlyRootfs"] and host["Memory"] == host["MemorySwap"] > 0
    assert host["CapDrop"] == ["ALL"] and "no-new-privileges" in host["SecurityOpt"]
    # gVisor is itself many threads; what it runs is held by the limit per user (rows 11 and 12).
    most = GVISOR_PIDS if arena.name == "docker-runsc" else 63
    assert seen["HostConfig"]["NetworkMode"] == "none" and 0 < host["PidsLimit"] <= most


async def test_the_engines_own_log_is_cut(tmp_path: Path) -> None:
    (tmp_path / "engine").mkdir()
    log = tmp_path / "engine" / "dockerd.log"
    log.write_bytes(bytes(LARGEST_LOG + 1))
    trim_log(tmp_path)
    assert log.stat().st_size == 0
