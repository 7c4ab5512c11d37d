"""What the documents name is there: files, tests, modules, targets of make, verbs and options."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import pytest
from typer.main import get_command

from launch.cli.main import app

ROOT = Path(__file__).parents[3]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/*.md")), ROOT / "demo/MODEL_CARD.md"]
TOP = "actors|benchmarks|configs|demo|docs|launch|locks|storage|tests|workflows"
OTHERS = {"--metrics-export-port", "--node-ip-address", "--platform", "--signal", "--target"}
"""Options of ray, runsc, docker and sbatch."""
VERBS = get_command(app).commands  # type: ignore[attr-defined]


def words_of(page: Path) -> str:
    """The page, its lines joined where a code span goes on in the next one."""
    text = page.read_text(encoding="utf-8")
    return re.sub(r"`[^`\n]*\n[^`\n]*`", lambda span: span[0].replace("\n", " "), text)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.fixture(params=PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def page(request: pytest.FixtureRequest) -> Path:
    found: Path = request.param
    return found


def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        found = (page.parent / file).resolve() if file else page
        assert found.exists(), target
        assert not anchor or anchor in anchors(found), target


def test_every_file_and_every_test_is_there(page: Path) -> None:
    named = re.findall(rf"`((?:{TOP})/[\w./-]*\w/?)(?:::(\w+))?", words_of(page))
    for file, test in named:
        path = ROOT / file
        assert path.exists(), file
        assert not test or f"def {test}(" in path.read_text(encoding="utf-8"), f"{file}::{test}"


def test_every_module_that_is_run_is_there_and_takes_its_options(page: Path) -> None:
    for name, rest in re.findall(r"python3? (?:-W ignore )?-m ([\w.]+)([^`#\n]*)", words_of(page)):
        spec = find_spec(name)
        assert spec, name
        files = Path(str(spec.origin)).parent.glob("*.py")  # some share theirs
        taken = "".join(file.read_text(encoding="utf-8") for file in files)
        for option in re.findall(r"--[a-z-]+", rest):
            assert f'"{option}"' in taken, f"{name} {option}"


def test_every_option_that_is_named_alone_is_one_of_a_verb(page: Path) -> None:
    known = {name for verb in VERBS.values() for option in verb.params for name in option.opts}
    assert set(re.findall(r"`(--[a-z-]+)", words_of(page))) <= known | OTHERS


def test_every_target_of_make_is_there(page: Path) -> None:
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for target in re.findall(r"(?:`|^ {4})make ([a-z][\w-]*)", words_of(page), re.MULTILINE):
        assert target in targets, target


def test_every_verb_takes_the_options_that_are_shown(page: Path) -> None:
    shown = re.findall(r"(?:`|^ +|-- \\\n +)stepmill ([^`#\n]+)", words_of(page), re.MULTILINE)
    for line in shown:
        verb, *rest = line.split()
        if verb.startswith("-") or not verb.isalpha():
            continue
        assert verb in VERBS, line
        options = {name for option in VERBS[verb].params for name in option.opts} | {"--help"}
        for word in rest:
            if name := re.match(r"\[?(--[a-z-]+)", word):
                assert name[1] in options, line
