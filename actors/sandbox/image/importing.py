"""Gives a root folder to a Docker Engine as an image, without a registry.

Invariant: the tag is the root folder's key, the label its digest; an image that is already there
is used as it is, and an image whose label differs from what the run's spec pins is refused.
"""

from __future__ import annotations

import asyncio
import os
import tarfile
from collections.abc import AsyncIterator
from dataclasses import dataclass

from actors.sandbox.engine_api import EngineApi
from actors.sandbox.image.rootfs import RootFolder
from storage.errors import SandboxUnavailable

REPOSITORY = "stepmill-sandbox"
DIGEST_LABEL = "stepmill.digest"
IMPORT_S = 300.0


@dataclass(frozen=True, slots=True)
class Image:
    """An image in an engine."""

    id: str
    tag: str
    digest: str


async def ensure_image(engine: EngineApi, root: RootFolder) -> Image:
    """Return the engine's image of this root folder, importing it where it is missing."""
    tag = f"{REPOSITORY}:{root.key[:16]}"
    found = await engine.call("GET", f"/images/{tag}/json", allow=(404,))
    if found.status == 404:
        query = {
            "fromSrc": "-",
            "repo": REPOSITORY,
            "tag": root.key[:16],
            "changes": f"LABEL {DIGEST_LABEL}={root.digest}",
        }
        answer = await engine.call(
            "POST", "/images/create", query, upload=_tar(root), timeout_s=IMPORT_S
        )
        if b'"error"' in answer.body:
            raise SandboxUnavailable(f"image import: {answer.body.decode('utf-8', 'replace')}")
        found = await engine.call("GET", f"/images/{tag}/json")
    described = found.json()
    if not isinstance(described, dict):
        raise SandboxUnavailable("image: the engine's answer is not an object")
    labels = (described.get("Config") or {}).get("Labels") or {}
    if labels.get(DIGEST_LABEL) != root.digest:
        raise SandboxUnavailable(f"image {tag} is not the one that this checkout builds")
    return Image(described["Id"], tag, root.digest)


async def _tar(root: RootFolder) -> AsyncIterator[bytes]:
    """Stream the folder as a tar archive, written by a thread into a pipe."""
    outlet, inlet = os.pipe()

    def write() -> None:
        with os.fdopen(inlet, "wb") as sink, tarfile.open(fileobj=sink, mode="w|") as archive:
            archive.add(root.path, arcname=".", filter=_owned_by_root)

    writing = asyncio.create_task(asyncio.to_thread(write))
    with os.fdopen(outlet, "rb", buffering=0) as source:
        while part := await asyncio.to_thread(source.read, 1 << 20):
            yield part
    await writing


def _owned_by_root(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    entry.mtime = 0
    return entry
