"""The folder that a verb writes its files to."""

from __future__ import annotations

from pathlib import Path

from storage.errors import ConfigurationError


def out_folder(out: Path | None, *usual: str) -> Path:
    """The folder of `--out`, or the usual one below `.stepmill`.

    Raises ConfigurationError if it is a file.
    """
    folder = out or Path(".stepmill", *usual)
    if folder.exists() and not folder.is_dir():
        raise ConfigurationError(f"--out {folder}: is a file; name a folder")
    return folder
