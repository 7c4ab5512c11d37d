"""What is installed beside the code: configurations, pages of the documentation, a template.

`configs` and `docs` are links to the checkout's folders, and folders in a wheel.

Invariant: names are looked up among the files that are there, so that none leads elsewhere.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from pathlib import Path

from storage.errors import ConfigurationError

HERE = Path(__file__).parent
TEMPLATE = HERE / "build.yaml.jinja"
_TABLES = "ablations"
"""Rows of a table of the paper, for a benchmark: no configurations."""
_MOST = 110
"""Characters of what is said of a configuration."""


@dataclass(frozen=True, slots=True)
class Packaged:
    """One installed file."""

    name: str
    says: str
    """What it is, in a sentence."""
    file: Path


def configurations() -> dict[str, Packaged]:
    """Name -> configuration, e.g. `demo` and `strategies/scan`, the plain ones first."""
    folder = HERE / "configs"
    files = sorted(folder.glob("*.yaml")) + sorted(folder.glob("*/*.yaml"))
    return {
        (name := file.relative_to(folder).with_suffix("").as_posix()): Packaged(
            name, _first_sentence(file), file
        )
        for file in files
        if file.parent.name != _TABLES
    }


def pages() -> dict[str, Packaged]:
    """Name -> page of the documentation, e.g. `problems`."""
    found = {}
    for file in sorted((HERE / "docs").glob("*.md")):
        title = file.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")
        found[file.stem] = Packaged(file.stem, title, file)
    return found


def packaged(named: str, among: dict[str, Packaged], what: str) -> Packaged:
    """The file of this name, with or without its folder and ending. Raises ConfigurationError."""
    name = named.removeprefix("docs/").removeprefix("configs/")
    name = name.removesuffix(".md").removesuffix(".yaml")
    fitting = [one for one in among.values() if name in (one.name, one.file.stem)]
    exact = [one for one in fitting if one.name == name]
    if len(exact or fitting) != 1:
        names = ", ".join(one.name for one in fitting or among.values())
        raise ConfigurationError(f"there is no {what} {named!r}: one of {names}")
    return (exact or fitting)[0]


def _first_sentence(file: Path) -> str:
    """The first sentence of a file's first comment."""
    lines = []
    for line in file.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#") or line == "#":
            break
        lines.append(line.lstrip("# "))
    sentence, _, _ = " ".join(lines).partition(". ")
    return textwrap.shorten(sentence.removesuffix("."), _MOST, placeholder=" …")
