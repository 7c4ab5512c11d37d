"""Where a verb writes what came out."""

from __future__ import annotations

from pathlib import Path

from storage.errors import ConfigurationError


def out_folder(out: Path | None, *usual: str) -> Path:
    """The folder that is asked for, or the usual one below `.stepmill`.

    Raises ConfigurationError where a file stands there.
    """
    folder = out or Path(".stepmill", *usual)
    if folder.exists() and not folder.is_dir():
        raise ConfigurationError(f"--out {folder}: is a file; name a folder")
    return folder
