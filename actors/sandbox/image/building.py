"""Builds the root folder and image that model-written code runs in, and tries them.

Invariant: it succeeds only after a block has run in the sandbox that `auto` would choose here.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from actors.sandbox.bubblewrap import BubblewrapBoxes
from actors.sandbox.contract import SandboxSettings
from actors.sandbox.docker.box import DockerBoxes
from actors.sandbox.image.rootfs import build_root, state_dir
from actors.sandbox.image.trial import try_box
from storage.errors import ConfigurationError, SandboxUnavailable


@dataclass(frozen=True, slots=True)
class Built:
    """What code runs in on this machine."""

    backend: str
    digest: str
    """Digest of the root folder, `sha256:…`, which a run's spec pins."""
    lacking: tuple[str, ...] = ()
    """Backends before this one that can't be used, and why."""


async def build_sandbox() -> Built:
    """Build the root folder, and the image if a Docker Engine is available; run a block in it.

    Raises ConfigurationError if no block can run.
    """
    root = await asyncio.to_thread(build_root, state_dir())
    settings = SandboxSettings()
    reasons: list[str] = []
    for source in (DockerBoxes(settings), BubblewrapBoxes(settings)):
        try:
            await try_box(source.open(), settings)
        except SandboxUnavailable as error:
            reasons.append(f"{source.name}: {error}")
        else:
            return Built(source.name, root.digest, tuple(reasons))
    raise ConfigurationError(
        f"nothing here can run code: {'; '.join(reasons)}: install docker.io or bubblewrap"
    )
