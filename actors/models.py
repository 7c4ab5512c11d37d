"""Which model is meant: a name or a digest that is the same on every machine.

Invariant: two engines with the same identity are asked for the same distribution; where a folder
lies, how many GPUs it runs on and which server answers is not part of it.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from actors.engine import EngineSettings

WHOLE_BELOW = 64 * 1024 * 1024
"""Files smaller than this are hashed whole, larger ones by size and both ends."""
SAMPLE = 1024 * 1024
FILES = ("*.json", "*.jinja", "*.safetensors", "*.txt", "*.model")


def model_identity(settings: EngineSettings) -> str:
    """`folder-name@digest` for a folder on disk, the model's name for anything else."""
    folder = Path(settings.model)
    if settings.kind != "vllm" or not folder.is_dir():
        return settings.model
    digest = hashlib.sha256()
    for file in sorted({file for pattern in FILES for file in folder.glob(pattern)}):
        digest.update(f"{file.name}\x1f{file.stat().st_size}\x1f".encode())
        digest.update(_content(file))
    return f"{folder.name}@{digest.hexdigest()[:16]}"


def _content(file: Path) -> bytes:
    size = file.stat().st_size
    if size < WHOLE_BELOW:
        return hashlib.sha256(file.read_bytes()).digest()
    with file.open("rb") as stream:
        head = stream.read(SAMPLE)
        stream.seek(size - SAMPLE)
        return hashlib.sha256(head + stream.read(SAMPLE)).digest()
