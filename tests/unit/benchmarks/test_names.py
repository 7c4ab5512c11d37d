"""Every benchmark is `benchmarks.NAME`, whatever folder it lies in."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

import benchmarks

FOLDER = Path(benchmarks.__file__).parent
FILES = [
    file
    for folder in (FOLDER, *(FOLDER / name for name in benchmarks.FOLDERS))
    for file in sorted(folder.glob("*.py"))
    if file.name != "__init__.py"
]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_script_is_found_by_its_name_alone(file: Path) -> None:
    spec = find_spec(f"benchmarks.{file.stem}")
    assert spec and spec.origin == str(file)


def test_no_folder_is_a_package_or_is_left_out() -> None:
    folders = {file.name for file in FOLDER.iterdir() if any(file.glob("*.py"))}
    assert folders == set(benchmarks.FOLDERS)
    assert not list(FOLDER.glob("*/__init__.py"))
