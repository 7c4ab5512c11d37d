"""Imports a root folder into a Docker Engine as an image, without a registry.

Invariant: the tag is the beginning of the root folder's digest, the label all of it. An image gets
its tag after a block has run in a container of it. An image with the tag is used as it is.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from actors.sandbox.docker.engine import Engine, remove
from actors.sandbox.image.rootfs import PROGRAMS, RootFolder
from storage.errors import SandboxUnavailable

REPOSITORY = "stepmill-sandbox"
DIGEST_LABEL = "stepmill.digest"
IMPORT_S = 300.0
PART = 1 << 20


@dataclass(frozen=True, slots=True)
class Image:
    """An image in an engine."""

    id: str
    tag: str
    digest: str


async def ensure_image(
    engine: Engine, root: RootFolder, run_block: Callable[[str], Awaitable[None]]
) -> Image:
    """Return the engine's image of this root folder; import it if it is missing.

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
            await engine.ask(lambda docker: docker.tag(new.id, REPOSITORY, short))
        finally:
            await engine.ask(lambda docker: remove(docker.remove_image, untried))
        image = Image(new.id, tag, root.digest)
    return image


async def _find(engine: Engine, root: RootFolder, tag: str) -> Image | None:
    # Listed, for inspecting one that is not there is an error.
    for image in await engine.ask(lambda docker: docker.images(tag)):
        if (image["Labels"] or {}).get(DIGEST_LABEL) != root.digest:
            raise SandboxUnavailable(f"image {tag} is not the one that this checkout builds")
        return Image(image["Id"], tag, root.digest)
    return None


async def _import(engine: Engine, root: RootFolder, tag: str) -> Image:
    label = f"LABEL {DIGEST_LABEL}={root.digest}"
    reply = await engine.ask(
        lambda docker: docker.import_image_from_stream(
            _tar(root.path), *tag.split(":"), changes=[label]
        ),
        timeout_s=IMPORT_S,
    )
    image = None if '"error"' in reply else await _find(engine, root, tag)
    if image is None:
        raise SandboxUnavailable(f"image import: {reply}")
    return image


def _tar(root: Path) -> Iterator[bytes]:
    """The folder as a tar archive, in parts of about a megabyte."""
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w|") as archive:
        for path in [root, *sorted(root.rglob("*"))]:
            archive.add(path, path.relative_to(root), recursive=False, filter=_owned_by_root)
            if held.tell() >= PART:
                yield _taken(held)
    yield _taken(held)


def _taken(held: io.BytesIO) -> bytes:
    part = held.getvalue()
    held.seek(0)
    held.truncate()
    return part


def _owned_by_root(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    entry.mtime = 0
    if entry.isfile() and entry.name.startswith(PROGRAMS):
        # Who runs a file that they may not read owns nothing of their process in /proc: not the
        # score by which the kernel chooses whom to end.
        entry.mode = 0o711
    return entry
