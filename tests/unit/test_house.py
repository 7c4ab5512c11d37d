"""The house stays one that can be found through: modules are short and folders few-roomed.

The product is what is installed. A module that grows over the limit is split along its seams; a
folder with too many gets rooms.
"""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path
from statistics import median

import pytest

ROOT = Path(__file__).parents[2]
PRODUCT = ("storage", "actors", "workflows", "launch", "stepmill")
LONGEST, MIDDLE, FULL = 350, 130, 20

SIDE_BY_SIDE = ("hostile", "protocol")
"""Folders of tests that were attacks and faults, and only compute."""
KILLS_OR_TIMES = {"docker", "multiprocessing", "psutil", "ray", "resource", "signal", "socket",
                  "subprocess", "threading", "time"}  # fmt: skip

LINES = {
    file.relative_to(ROOT): len(file.read_text(encoding="utf-8").splitlines())
    for package in PRODUCT
    for file in sorted((ROOT / package).rglob("*.py"))
}


def test_no_module_is_too_long() -> None:
    assert {str(file): lines for file, lines in LINES.items() if lines > LONGEST} == {}


def test_half_of_the_modules_are_short() -> None:
    assert median(lines for file, lines in LINES.items() if file.name != "__init__.py") <= MIDDLE


def test_no_folder_has_too_many_modules() -> None:
    modules = Counter(file.parent for file in LINES if file.name != "__init__.py")
    assert {str(folder): count for folder, count in modules.items() if count > FULL} == {}


@pytest.mark.parametrize("package", PRODUCT)
def test_every_package_of_the_product_is_looked_at(package: str) -> None:
    assert any(file.parts[0] == package for file in LINES) == (ROOT / package).is_dir()


@pytest.mark.parametrize("folder", SIDE_BY_SIDE)
def test_what_kills_or_times_anything_does_not_run_beside_other_tests(folder: str) -> None:
    imported = set()
    for file in (ROOT / "tests" / folder).glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {name.name.split(".")[0] for name in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add((node.module or "").split(".")[0])
    assert "__future__" in imported
    assert imported & KILLS_OR_TIMES == set()
