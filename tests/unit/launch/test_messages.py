"""Messages name pages that are installed, by the command that prints them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from launch.packaged import configurations, pages

ROOT = Path(__file__).parents[3]
PRODUCT = ("storage", "actors", "workflows", "launch")
WRITERS = {
    "launch/reference.py",
    "launch/verbs/looking/stages.py",
    "launch/verbs/looking/reasons.py",
}
"""They write pages of the documentation, which name files of the clone."""


@cache
def texts() -> list[tuple[str, str]]:
    """(file, text) of every text of the product that is no docstring."""
    return list(_texts())


def _texts() -> Iterator[tuple[str, str]]:
    for package in PRODUCT:
        for file in sorted((ROOT / package).rglob("*.py")):
            tree = ast.parse(file.read_text(encoding="utf-8"))
            said = {
                id(node.value)
                for node in ast.walk(tree)
                if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            }
            for node in ast.walk(tree):
                is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
                if is_text and id(node) not in said:
                    yield file.relative_to(ROOT).as_posix(), node.value


def test_no_message_sends_to_a_file_that_only_a_clone_has() -> None:
    named = {
        (file, text)
        for file, text in texts()
        if file not in WRITERS and re.search(r"docs/\w+\.md|`make \w+`|configs/\w+\.yaml", text)
    }
    assert {(file, text) for file, text in named if file != "launch/cli/examples.py"} == set()


def test_the_pages_and_configurations_that_messages_name_are_installed() -> None:
    every = [
        *(text for _, text in texts()),
        (ROOT / "launch/packaged/build.yaml.jinja").read_text(),
    ]
    docs = {name for text in every for name in re.findall(r"stepmill docs (\w+)", text)}
    assert {"configuration", "reuse", "scoring", "cluster"} <= docs <= set(pages())
    named = {name for text in every for name in re.findall(r"stepmill init --from (\w+)", text)}
    assert {"genprm"} <= named <= set(configurations())
