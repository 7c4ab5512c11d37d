"""Examples in Python that the pages show are true: each page is one session, from its top."""

from __future__ import annotations

import ast
import doctest
import inspect
import re
from pathlib import Path

import pytest

import stepmill
from tests.support.scripted_build import configure

ROOT = Path(__file__).parents[3]
PAGES = ("README.md", "docs/python.md")


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_shows_is_true(
    here: None, page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(tmp_path)
    monkeypatch.chdir(tmp_path)
    session = doctest.testfile(str(ROOT / page), module_relative=False, encoding="utf-8")
    assert session.attempted > 5
    assert session.failed == 0


def test_the_code_of_the_example_in_the_readme_prints_what_stands_below_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found = re.search(r"```python\n(.*?)```\n *\[Code Output\]\n\n *```\n(.*?)```", text, re.DOTALL)
    assert found
    code, shown = (inspect.cleandoc(part) for part in found.groups())
    exec(code, {})
    assert capsys.readouterr().out.strip() == shown.strip()


def test_calls_that_need_a_model_take_the_arguments_that_the_page_gives_them() -> None:
    text = (ROOT / "docs/python.md").read_text(encoding="utf-8")
    blocks = re.findall(r"\n\n((?: {4}(?!>>>).*\n)+)", text)
    calls = [
        node
        for block in blocks
        for node in ast.walk(ast.parse(inspect.cleandoc(block)))
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("stepmill.")
    ]
    assert calls
    for call in calls:
        taker = getattr(stepmill, ast.unparse(call.func).removeprefix("stepmill."))
        inspect.signature(taker).bind(*call.args, **{str(k.arg): k.value for k in call.keywords})
