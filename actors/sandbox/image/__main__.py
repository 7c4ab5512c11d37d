"""`python -m actors.sandbox.image`: builds the root folder and image, and prints the digest.

Invariant: it succeeds only after a block has run in the sandbox that `auto` would choose here. Else
it says in one line what is missing, with exit code 3.
"""

from __future__ import annotations

import asyncio
import sys

from actors.sandbox.bubblewrap import BubblewrapBoxes
from actors.sandbox.contract import SandboxSettings
from actors.sandbox.docker.box import DockerBoxes
from actors.sandbox.image.rootfs import build_root, state_dir
from actors.sandbox.image.trial import try_box
from storage.errors import SandboxUnavailable

EXIT = 3
"""Exit code of every InfrastructureError."""


async def build() -> str:
    """Build the root folder, and the image if a Docker Engine is available; return the digest.

    Raises SandboxUnavailable if no block can run.
    """
    root = await asyncio.to_thread(build_root, state_dir())
    settings = SandboxSettings()
    reasons = []
    for source in (DockerBoxes(settings), BubblewrapBoxes(settings)):
        try:
            await try_box(source.open(), settings)
        except SandboxUnavailable as error:
            reasons.append(f"{source.name}: {error}")
        else:
            if reasons:
                print(f"no container image, bubblewrap only: {reasons[0]}", file=sys.stderr)
            return root.digest
    raise SandboxUnavailable(f"nothing here can run code: {'; '.join(reasons)}")


if __name__ == "__main__":
    try:
        print(asyncio.run(build()))
    except SandboxUnavailable as error:
        print(f"sandbox: {error}", file=sys.stderr)
        raise SystemExit(EXIT) from None
