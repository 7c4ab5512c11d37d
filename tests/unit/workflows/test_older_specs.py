"""What a version began goes on under a version with more settings; what would differ is refused.

An older version's spec is today's without a setting. Nothing of it is written anew.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from actors.engines.contract import EngineSettings
from actors.training.settings import AdapterSettings, LearningSettings
from storage.errors import SpecMismatch
from storage.objects.local import LocalStore
from storage.objects.memory import MemoryStore
from storage.objects.store import ObjectStore
from storage.rows.records import Critique, Response
from storage.runs.layout import spec_key
from storage.runs.run import Run
from storage.trainings.training import Training
from tests.support.training_world import taught_run, tiny_base
from tests.support.whole_run import problems
from workflows.builds.configuration import BuildConfig, ModelSettings
from workflows.builds.derive import plan_derivation
from workflows.refinement.run import RefineConfig, RefineModels
from workflows.runs.configuration import RunConfig
from workflows.runs.settling import recalled
from workflows.runs.starting import named_for, planned, start_run
from workflows.scoring.settings import ScoreConfig, ScoreModels
from workflows.settings import StageSettings
from workflows.settings.recorded import read
from workflows.training.settings import DataSettings, TrainConfig
from workflows.training.start import start_training
from workflows.training.tokenised import Making

ENGINE = EngineSettings(kind="scripted", model="m")
BUILD = BuildConfig(
    run="r",
    problems="p",
    models=ModelSettings(policy=ENGINE),
    stages=StageSettings(road=("sample",)),
)
RESPONSE = Response("a", "p", "1+1", ["2"], "")
ROWS: dict[type[RunConfig], Any] = {
    BuildConfig: problems(3),
    ScoreConfig: [RESPONSE],
    RefineConfig: [Critique("a", "p", "1+1", ["2"], "", 0, "no", 1)],
}
SCORE = ScoreConfig(run="r", responses="f", models=ScoreModels(verifier=ENGINE))
REFINE = RefineConfig(run="r", models=RefineModels(generator=ENGINE))
CHANGED = [
    (BUILD, "stages.estimate.cut", "censored"),
    (BUILD, "stages.search.edge", 8),
    (BUILD, "stages.judge.sees", ("answer",)),
    (BUILD, "stages.label.tolerance", 3),
    (BUILD, "stages.sample.growth", 0.5),
    (SCORE, "verify.rounds", 5),
    (SCORE, "verify.logprobs", 7),
    (REFINE, "refine.quote", True),
]
"""A setting, and another value than it has."""
LACKING = [
    *((config, name) for config, name, _ in CHANGED),
    (BUILD, "stages.heal"),
    (BUILD, "stages.export"),
    (BUILD, "stages.repair"),
    (BUILD, "sandbox_limits.pids"),
    (SCORE, "sandbox_limits.open_files"),
    (REFINE, "refine.heal"),
]


def edited(store: ObjectStore, key: str, edit: Callable[[Any], None]) -> MemoryStore:
    """A store that has nothing but this document, edited."""
    body = json.loads(store.get(key))
    edit(body)
    other = MemoryStore()
    other.put_new(key, json.dumps(body, sort_keys=True, separators=(",", ":")).encode())
    return other


def part_of(value: Any, name: str) -> tuple[Any, Any]:
    """What holds a setting, and its key there."""
    *path, last = name.split(".")
    for word in path:
        value = value[word]
    return value, last


def without(name: str, within: str = "configuration") -> Callable[[Any], None]:
    def edit(body: Any) -> None:
        holder, last = part_of(body[within], name)
        del holder[last]

    return edit


def changed(config: Any, name: str, value: Any) -> Any:
    """The settings with one of them changed, however deep."""
    first, _, rest = name.partition(".")
    inner = getattr(config, first)
    return replace(config, **{first: changed(inner, rest, value) if rest else value})


def begun(config: RunConfig, edit: Callable[[Any], None]) -> Run:
    """A run that another version began."""
    store = MemoryStore()
    start_run(config, store, None, ROWS[type(config)])
    return Run.open(edited(store, spec_key("r"), edit), "r")


def resumed(config: RunConfig, run: Run) -> Run:
    return start_run(recalled(config, run), run.store, None, ROWS[type(config)])


@pytest.mark.parametrize(("config", "name"), LACKING)
def test_a_run_that_lacks_a_setting_goes_on_with_what_was(config: RunConfig, name: str) -> None:
    run = begun(config, without(name))
    before = run.store.get(spec_key("r"))
    again = resumed(config, run)
    assert run.store.get(spec_key("r")) == before
    assert again.spec.fingerprint == run.spec.fingerprint


@pytest.mark.parametrize(("config", "name", "other"), CHANGED)
def test_another_value_than_what_was_is_refused_by_its_name(
    config: RunConfig, name: str, other: Any
) -> None:
    run = begun(config, without(name))
    with pytest.raises(SpecMismatch, match=f"configuration.{name}: stored (?!nothing)"):
        resumed(changed(config, name, other), run)


@pytest.mark.parametrize(
    ("config", "name"), [(BUILD, "stages.estimate"), (SCORE, "verify"), (REFINE, "refine")]
)
def test_a_setting_of_a_newer_version_is_refused_by_its_name(config: RunConfig, name: str) -> None:
    def add(body: Any) -> None:
        holder, last = part_of(body["configuration"], name)
        holder[last]["newest"] = 5

    said = f"configuration.{name}.newest: stored 5, asked for nothing: this version does not know"
    with pytest.raises(SpecMismatch, match=said):
        resumed(config, begun(config, add))


@dataclass(frozen=True)
class Shown:
    text: str
    mark: str = "-"


@dataclass(frozen=True)
class Settings:
    examples: tuple[Shown, ...] = ()


@pytest.mark.parametrize("mark", ["-", "+"])
def test_what_an_entry_of_a_list_lacks_has_the_value_that_was(mark: str) -> None:
    asked = {"part": {"examples": [{"text": "a", "mark": mark}]}}
    whole, unknown = read({"part": {"examples": [{"text": "a"}]}}, asked, {"part": Settings})
    assert whole == {"part": {"examples": [{"text": "a", "mark": "-"}]}}
    assert not unknown


def test_a_run_is_derived_from_one_that_lacks_a_setting() -> None:
    source = begun(BUILD, without("stages.estimate.cut"))
    asked = planned(replace(BUILD, run="n"), None, problems(3)).spec
    assert plan_derivation("n", source.store.url, asked, source).differing == ()


def test_names_and_keys_that_are_made_of_settings_are_those_of_earlier_versions(
    tmp_path: Path,
) -> None:
    """Where a new setting changes one, work that is stored under it is made anew.

    It is then left out of `binding`, or of the key, while it has its older value.
    """
    named = [named_for(config, "k", ROWS[type(config)]).run for config in (BUILD, SCORE, REFINE)]
    assert named == ["k-399b448a", "k-2b54987a", "k-8c47c9ac"]
    file = tmp_path / "problems.jsonl"
    file.write_text("".join(f"{json.dumps(asdict(row))}\n" for row in problems(3)))
    models = ModelSettings(policy=ENGINE, completer=ENGINE)
    build = replace(BUILD, problems=str(file), models=models)
    assert build.own_pilot().run == "pilot-985271b3eedd"
    tokenizer: Any = SimpleNamespace(
        backend_tokenizer=SimpleNamespace(to_str=lambda: "t"), chat_template="c"
    )
    masker: Any = SimpleNamespace(tokenizer=tokenizer)
    source: Any = SimpleNamespace(digest="d")
    tokens = Making(masker, "genprm", DataSettings(), 512).key(source)
    assert tokens == "ddcd4ce952e4a92c925bce841848758c"


class Taught:
    """A training that can begin."""

    def __init__(self, folder: Path) -> None:
        self.store = LocalStore.at(folder / "store")
        tiny_base(folder / "base")
        taught_run(self.store)
        self.config = TrainConfig(
            run="taught",
            base=str(folder / "base"),
            name="t",
            store=self.store.url,
            learning=LearningSettings(adapter=AdapterSettings(rank=4)),
        )
        self.key = start_training(self.config, self.store).prefix + "spec.json"
        self.spec = json.loads(self.store.get(self.key))

    def begun_by_another(self, edit: Callable[[Any], None]) -> Training:
        """Store the spec as another version would have."""
        self.store.delete(self.key)
        body = json.loads(json.dumps(self.spec))
        edit(body)
        self.store.put_new(self.key, json.dumps(body).encode())
        found = Training.find(self.store, "t")
        assert found is not None
        return found


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Taught:
    return Taught(tmp_path_factory.mktemp("taught"))


@pytest.mark.parametrize(
    "name",
    ["learning.clip", "learning.adapter.dropout", "data.train_on_code_output", "data.held_out"],
)
def test_a_training_that_lacks_a_setting_goes_on_with_what_was(taught: Taught, name: str) -> None:
    old = taught.begun_by_another(without(name, "settings"))
    assert start_training(taught.config, taught.store).spec == old.spec


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (
            {"learning": LearningSettings(clip=0.0, adapter=AdapterSettings(rank=4))},
            "learning.clip",
        ),
        ({"data": DataSettings(held_out=0.2)}, "data.held_out"),
    ],
)
def test_a_training_refuses_another_value_than_what_was(
    taught: Taught, change: dict[str, Any], name: str
) -> None:
    taught.begun_by_another(without(name, "settings"))
    with pytest.raises(SpecMismatch, match=rf"settings.{name}: stored [\d.]+, asked for"):
        start_training(replace(taught.config, **change), taught.store)


def test_a_training_begun_before_there_were_adapters_refuses_one(taught: Taught) -> None:
    taught.begun_by_another(without("learning.adapter", "settings"))
    with pytest.raises(SpecMismatch, match=r"settings\.learning\.adapter: stored null"):
        start_training(taught.config, taught.store)


def test_a_training_of_a_newer_version_is_refused_by_its_setting(taught: Taught) -> None:
    taught.begun_by_another(lambda body: body["settings"]["data"].update(newest=5))
    with pytest.raises(SpecMismatch, match=r"settings.data.newest: .*does not know it"):
        start_training(taught.config, taught.store)
