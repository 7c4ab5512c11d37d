"""What the descriptions of stages say is what settings, pages and the product's text say."""

from __future__ import annotations

import ast
import json
import pickle
from dataclasses import asdict, replace
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from benchmarks.stage_names import MOST, PACKAGES, modules_by_stage
from launch.cli.main import run_command
from launch.verbs.looking import reasons
from launch.verbs.looking.stages import page
from storage.errors import ConfigurationError
from storage.rows import kinds
from storage.rows.kinds import PATHS, PROBLEMS, Rows
from tests.e2e.test_toy_stage import TOY, Gloss, ToySettings
from workflows.settings import StageSettings
from workflows.stages import OF_RUNS, OURS, road_of
from workflows.stages.kit import Stage
from workflows.stages.own_settings import settings_class

ROOT = Path(__file__).parents[3]
REASON_AT = {"ItemError": 0, "Drop": 1}
"""Where a call has its reason."""
SHARED = {"seed", "heal", "road", "answers"}


def test_the_page_of_stages_is_current() -> None:
    stored = (ROOT / "docs/stages.md").read_text()
    assert stored == page(), "run: python -m launch.verbs.looking.stages > docs/stages.md"


def test_the_page_of_reasons_is_current() -> None:
    stored = (ROOT / "docs/reasons.md").read_text()
    assert stored == reasons.page(), "run: python -m launch.verbs.looking.reasons > docs/reasons.md"


def test_no_reason_is_given_that_is_not_a_member_of_an_enum() -> None:
    """What golden runs drop is compared with the descriptions by `tests.support.golden`."""
    spelt = [
        f"{file.relative_to(ROOT)}:{call.lineno}"
        for package in PACKAGES
        for file in (ROOT / package).rglob("*.py")
        for call in ast.walk(ast.parse(file.read_text()))
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Name)
        and call.func.id in REASON_AT
        for given in call.args[REASON_AT[call.func.id] :][:1]
        if isinstance(given, ast.Constant)
    ]
    assert spelt == []


def test_a_stage_is_named_in_few_modules() -> None:
    found = modules_by_stage()
    assert all(found.values())
    assert {stage: where for stage, where in found.items() if len(where) > MOST} == {}


def test_settings_have_a_group_for_each_stage_that_says_it_has_its_own() -> None:
    groups = {n: kind for n, kind in get_type_hints(StageSettings).items() if n not in SHARED}
    own = {name: stage.settings for name, stage in OURS.items() if stage.settings}
    assert groups.items() <= own.items()
    for name in own.keys() - groups.keys():  # a spec has them only where the stage is on the road
        assert get_type_hints(settings_class((name,)))[name] is own[name]
    assert settings_class(tuple(groups.keys() & OURS.keys())) is StageSettings
    assert all(set(stage.groups) <= own.keys() for stage in OURS.values())


def test_stages_are_listed_with_their_settings(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["stages", "--json"]) == 0
    found = {stage["stage"]: stage for stage in json.loads(capsys.readouterr().out)}
    assert list(found) == list(OF_RUNS)
    label = found["label"]
    assert (label["role"], label["reads"], label["one_of"], label["may_read"]) == (
        "cpu", ["sample"], ["estimate", "search"], ["pit", "prover"],
    )  # fmt: skip
    key = "stages.label.threshold"
    (threshold,) = [setting for setting in label["settings"] if setting["key"] == key]
    assert threshold["default"] == "0.8"
    assert run_command(["stages"]) == 0
    assert "estimate | " in " ".join(capsys.readouterr().out.replace("│", " ").split())


@pytest.fixture
def brought(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What installed packages have as entry points: name -> object."""
    there: dict[str, Any] = {}

    class Found(EntryPoint):
        def load(self) -> Any:
            return there[self.name]

    def entry_points(group: str, name: str | None = None) -> list[EntryPoint]:
        return [Found(n, f"package:{n}", group) for n in there if name in (None, n)]

    monkeypatch.setattr(kinds, "entry_points", entry_points)
    kinds.stage_elsewhere.cache_clear()
    settings_class.cache_clear()
    yield there
    kinds.stage_elsewhere.cache_clear()
    settings_class.cache_clear()


def test_settings_of_a_stage_elsewhere_are_a_field_and_travel(brought: dict[str, Any]) -> None:
    brought["toy"] = TOY
    kind = settings_class(("sample", "toy"))
    made: Any = kind(road=("sample", "toy"), toy=ToySettings(least=7))
    assert asdict(made) == asdict(StageSettings(road=("sample", "toy"))) | {"toy": {"least": 7}}
    assert replace(made, seed=1).toy.least == 7
    again = pickle.loads(pickle.dumps(made))
    assert (again, type(again)) == (made, kind)


def test_a_stage_hides_what_those_behind_its_sources_drop(brought: dict[str, Any]) -> None:
    brought["toy"] = TOY
    road = road_of(("sample", "estimate", "toy", "label", "consensus", "export"))
    assert [stage.unread for stage in road] == [(), (), ("estimate",), ("toy",), (), ()]


@pytest.mark.parametrize(("name", "found", "said"), [
    pytest.param("toy", object(), "does not describe a stage", id="no description"),
    pytest.param("other", TOY, "does not describe a stage 'other'", id="another name"),
    pytest.param("toy", type("Fake", (), {"rows": TOY.rows}), "make it a kit.Stage", id="no Stage"),
    pytest.param("seed", replace(TOY, rows=Rows("seed", Gloss)), "rename stage", id="our setting"),
    pytest.param("toy", replace(TOY, rows=Rows("toy", PATHS.record)), "rename its record",
                 id="our record"),
])  # fmt: skip
def test_a_package_that_brings_no_good_stage_is_told_so(
    name: str, found: Any, said: str, brought: dict[str, Any]
) -> None:
    brought[name] = found
    with pytest.raises(ConfigurationError, match=said):
        road_of(("sample", name))


@pytest.mark.parametrize(("change", "said"), [
    ({"role": "poet"}, "role 'poet' is not one of policy"),
    ({"settings": Gloss}, "STRICT"),
])  # fmt: skip
def test_a_description_that_no_run_could_have_is_refused(change: Any, said: str) -> None:
    given = {"rows": TOY.rows, "role": "judge", "reads": (PROBLEMS,), "says": "", "make": TOY.make}
    with pytest.raises(TypeError, match=said):
        Stage(**given | change)
