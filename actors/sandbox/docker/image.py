"""Gives a root folder to a Docker Engine as an image, without a registry.

Invariant: the tag is the beginning of the root folder's digest, the label all of it. An image gets
its tag after a block has run in a container of it: one that has the tag is used as it is.
"""

from __future__ import annotations

import asyncio
import os
import tarfile
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from actors.sandbox.docker.engine_api import EngineApi
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


async def ensure_image(
    engine: EngineApi, root: RootFolder, run_block: Callable[[str], Awaitable[None]]
) -> Image:
    """Return the engine's image of this root folder, importing it where it is missing.

    `run_block` runs a block in a container of an image, and raises SandboxUnavailable.
    """
    short = root.digest.removeprefix("sha256:")[:16]
    tag, untried = f"{REPOSITORY}:{short}", f"{REPOSITORY}:untried-{short}"
    image = await _find(engine, root, tag)
    if image is None:
        # Another process, or one that was killed, may have brought it already.
        new = await _find(engine, root, untried) or await _import(engine, root, untried)
        try:
            await run_block(new.id)
            await engine.call("POST", f"/images/{new.id}/tag", {"repo": REPOSITORY, "tag": short})
        finally:
            await engine.call("DELETE", f"/images/{untried}", allow=(404, 409))
        image = Image(new.id, tag, root.digest)
    return image


async def _find(engine: EngineApi, root: RootFolder, tag: str) -> Image | None:
    found = await engine.call("GET", f"/images/{tag}/json", allow=(404,))
    if found.status == 404:
        return None
    described = found.json()
    if not isinstance(described, dict):
        raise SandboxUnavailable("image: the engine's answer is not an object")
    labels = (described.get("Config") or {}).get("Labels") or {}
    if labels.get(DIGEST_LABEL) != root.digest:
        raise SandboxUnavailable(f"image {tag} is not the one that this checkout builds")
    return Image(described["Id"], tag, root.digest)


async def _import(engine: EngineApi, root: RootFolder, tag: str) -> Image:
    name, _, version = tag.partition(":")
    query = {
        "fromSrc": "-",
        "repo": name,
        "tag": version,
        "changes": f"LABEL {DIGEST_LABEL}={root.digest}",
    }
    upload = _tar(root)
    answer = await engine.call("POST", "/images/create", query, upload=upload, timeout_s=IMPORT_S)
    image = None if b'"error"' in answer.body else await _find(engine, root, tag)
    if image is None:
        raise SandboxUnavailable(f"image import: {answer.body.decode('utf-8', 'replace')}")
    return image


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
