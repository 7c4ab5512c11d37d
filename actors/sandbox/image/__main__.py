"""`python -m actors.sandbox.image`: builds what the sandbox runs in, and prints its digest."""

from __future__ import annotations

import asyncio
import sys

from actors.sandbox.dockerd import find_engine
from actors.sandbox.image.importing import ensure_image
from actors.sandbox.image.rootfs import build_root, state_dir
from storage.errors import SandboxUnavailable


async def build() -> str:
    """Build the root folder and, where a Docker Engine can be had, the image; return the digest."""
    root = await asyncio.to_thread(build_root, state_dir())
    try:
        engine = await find_engine(state_dir())
        await ensure_image(engine, root)
    except SandboxUnavailable as error:
        print(f"no container image, bubblewrap only: {error}", file=sys.stderr)
    return root.digest


if __name__ == "__main__":
    print(asyncio.run(build()))
