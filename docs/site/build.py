"""`make docs`: the pages of docs/ and of the top folder as a site that can be read offline.

    .stepmill/docs/pages    the pages, their links as the site needs them
    .stepmill/docs/site     the site: open index.html

Zensical builds it, in an environment of its own (locks/docs.txt). A link to a page or a heading
that is not there ends the build.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).parents[2]
HOME = ROOT / ".stepmill" / "docs"
PINS = ROOT / "locks" / "docs.txt"
CONFIG = Path(__file__).with_name("zensical.toml")
TOP = {"README.md": "index.md", "DESIGN.md": "design.md", "CONTRIBUTING.md": "contributing.md",
       "CHANGELOG.md": "changelog.md"}  # fmt: skip
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)#\s]*)(#[^)\s]*)?\)")


def main() -> int:
    """Write the site; Zensical's exit code."""
    zensical = _installed()
    pages = HOME / "pages"
    shutil.rmtree(pages, ignore_errors=True)
    pages.mkdir(parents=True)
    places = {ROOT / name: page for name, page in TOP.items()}
    places |= {file: file.name for file in (ROOT / "docs").glob("*") if file.is_file()}
    for file, page in places.items():
        if file.suffix == ".md":
            text = file.read_text(encoding="utf-8")
            (pages / page).write_text(_linked(text, file.parent, places), encoding="utf-8")
        else:
            shutil.copy(file, pages / page)
    shutil.copy(CONFIG, HOME)
    command = [zensical, "build", "--clean", "--strict", "--config-file", CONFIG.name]
    return subprocess.run(command, cwd=HOME, check=False).returncode


def _linked(text: str, folder: Path, places: dict[Path, str]) -> str:
    """The text with its links to pages as the site has them; what is no page is no link there."""

    def link(match: re.Match[str]) -> str:
        picture, words, target, heading = match.groups()
        if not target or "://" in target or target.startswith("mailto:"):
            return match.group()
        page = places.get(Path(os.path.normpath(folder / target)))
        return words if page is None else f"{picture}[{words}]({page}{heading or ''})"

    blocks = re.split(r"(^```.*?^```$)", text, flags=re.MULTILINE | re.DOTALL)
    return "".join(part if part.startswith("```") else LINK.sub(link, part) for part in blocks)


def _installed() -> str:
    """Zensical's program, installed if it is not there or its pins changed."""
    there, mark = HOME / "venv", HOME / "installed.txt"
    if not mark.exists() or mark.read_text() != PINS.read_text():
        venv.create(there, clear=True, with_pip=True)
        pip = [str(there / "bin" / "pip"), "install", "--quiet", "--no-deps", "-r", str(PINS)]
        subprocess.run(pip, check=True)
        mark.write_text(PINS.read_text())
    return str(there / "bin" / "zensical")


if __name__ == "__main__":
    sys.exit(main())
