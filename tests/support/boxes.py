"""The boxes of a process: containers and bubblewrap processes that are marked with its number."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal

import psutil

from actors.sandbox.bubblewrap import MARK
from actors.sandbox.docker.box import LABEL
from actors.sandbox.docker.engine import find_engine
from actors.sandbox.image.rootfs import state_dir
from storage.errors import SandboxUnavailable


async def boxes_of(owner: int) -> list[str]:
    """Ids of containers and of processes."""
    found = []
    try:
        engine = await find_engine(state_dir())
        listed = await engine.ask(
            lambda docker: docker.containers(all=True, filters={"label": LABEL})
        )
        found += [c["Id"] for c in listed if f"sandbox-{owner}-" in c["Labels"][LABEL]]
    except SandboxUnavailable:
        pass
    for process in psutil.process_iter(["cmdline"]):
        first = (process.info["cmdline"] or [""])[0]
        if first.startswith(MARK) and f"sandbox-{owner}-" in first:
            found.append(str(process.pid))
    return found


def kill_boxes(owner: int) -> int:
    """Kill all of them from outside; how many there were."""

    async def kill() -> int:
        boxes = await boxes_of(owner)
        for box in boxes:
            if box.isdecimal() and len(box) < 12:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(box), signal.SIGKILL)
            else:
                engine = await find_engine(state_dir())
                with contextlib.suppress(SandboxUnavailable):  # it ended by itself
                    await engine.ask(lambda docker, box=box: docker.kill(box))
        return len(boxes)

    return asyncio.run(kill())
