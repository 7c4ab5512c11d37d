"""A run goes on with the models it began with: what another would change is refused by its name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from actors.engines.contract import EngineSettings
from actors.models.identity import BOUND, ONLY_SPEED, bound
from launch.verbs.runs.status import status_table
from storage.errors import SpecMismatch
from storage.objects.memory import MemoryStore
from storage.rows.readings import NOT_RECORDED
from storage.rows.records import Response
from storage.runs.run import Run
from storage.trainings.training import Training, TrainingSpec
from tests.support.tiny_model import TEMPLATE
from workflows.runs.settling import recalled, settled
from workflows.runs.starting import start_run
from workflows.runs.status import run_status
from workflows.scoring.settings import ScoreConfig, ScoreModels
from workflows.training.settings import TrainConfig
from workflows.training.start import recalled as recalled_training

RESPONSES = [Response("a", "p", "2 + 3?", ["2 + 3 = 5."], "")]
FIRST, SECOND = "1" * 40, "2" * 40
HUB = EngineSettings(model="org/name", revision=FIRST, dtype="bfloat16", max_model_len=64)
Change = Callable[[EngineSettings], EngineSettings]


def config_of(engine: EngineSettings) -> ScoreConfig:
    return ScoreConfig(run="r", responses="f", models=ScoreModels(verifier=engine))


def begin(store: MemoryStore, engine: EngineSettings) -> Run:
    return start_run(config_of(engine), store, None, RESPONSES)


def folder_of(tmp_path: Path) -> Path:
    """A folder with a tokenizer and a chat template, and nothing else of a model."""
    folder = tmp_path / "words"
    folder.mkdir()
    (folder / "tokenizer.json").write_text('{"a": 1}')
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    return folder


def option(**options: Any) -> Change:
    return lambda engine: replace(engine, options={**engine.options, **options})


def written(name: str, text: str) -> Change:
    """Another content of a file of the tokenizer."""

    def change(engine: EngineSettings) -> EngineSettings:
        (Path(str(engine.tokenizer)) / name).write_text(text)
        return engine

    return change


@pytest.mark.parametrize(
    ("change", "field", "old", "new"),
    [
        pytest.param(lambda e: replace(e, revision=SECOND), "revision", FIRST, SECOND, id="commit"),
        pytest.param(lambda e: replace(e, dtype="float16"), "dtype", "bfloat16", "float16",
                     id="dtype"),
        pytest.param(lambda e: replace(e, max_model_len=32), "max_model_len", "64", "32",
                     id="context"),
        pytest.param(lambda e: replace(e, batch_invariant=True), "batch_invariant", "false", "true",
                     id="batch invariance"),
        pytest.param(option(quantization="fp8"), "options.quantization", '"awq"', '"fp8"',
                     id="quantization"),
        pytest.param(option(kv_cache_dtype="fp8"), "options.kv_cache_dtype", "nothing", '"fp8"',
                     id="another option"),
        pytest.param(written("tokenizer.json", "{}"), "tokenizer", "", "", id="tokenizer"),
        pytest.param(written("chat_template.jinja", "{}"), "chat_template", "", "", id="template"),
        pytest.param(lambda e: replace(e, tokenizer="org/words", tokenizer_revision=FIRST),
                     "tokenizer", "", f'"org/words@{FIRST}"', id="another tokenizer"),
    ],
)  # fmt: skip
def test_whatever_changes_what_a_model_says_is_refused_by_its_name(
    change: Change, field: str, old: str, new: str, tmp_path: Path
) -> None:
    begun = replace(HUB, tokenizer=str(folder_of(tmp_path)), options={"quantization": "awq"})
    store = MemoryStore()
    begin(store, begun)
    begin(store, begun)  # the same again goes on
    with pytest.raises(SpecMismatch) as caught:
        begin(store, change(begun))
    found = next(line for line in str(caught.value).splitlines() if f".verifier.{field}: " in line)
    assert old in found.partition(", asked for ")[0]
    assert new in found.partition(", asked for ")[2]


@pytest.mark.parametrize("option_name", sorted(ONLY_SPEED))
def test_what_only_speed_depends_on_may_change(option_name: str) -> None:
    store = MemoryStore()
    begin(store, HUB)
    begin(store, replace(HUB, options={option_name: 7}))
    assert ONLY_SPEED[option_name]


@pytest.mark.parametrize(
    "faster",
    [{"tensor_parallel": 4}, {"gpu_memory": 0.5}, {"max_in_flight": 7}, {"eager": True},
     {"kv_cache_gib": 2}, {"cpu_threads": 3}, {"part": 1}],
)  # fmt: skip
def test_how_an_engine_is_run_may_change(faster: dict[str, Any]) -> None:
    assert bound(replace(HUB, **faster)) == bound(HUB)


def test_a_tokenizer_is_its_files_and_not_where_they_lie(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    there = bound(replace(HUB, tokenizer=str(folder)))
    shutil.copytree(folder, tmp_path / "copied")
    assert bound(replace(HUB, tokenizer=str(tmp_path / "copied"))) == there


def old_run(store: MemoryStore, **said: Any) -> Run:
    """A run whose spec was written before commit, tokenizer and options were recorded."""
    made = begin(MemoryStore(), replace(HUB, revision=None))
    configuration = made.spec.configuration | {
        "engines": {"verifier": {"max_model_len": 64, "dtype": "bfloat16"} | said}
    }
    return Run.start(store, "r", replace(made.spec, configuration=configuration))


def test_a_spec_without_the_new_fields_goes_on_and_says_that_they_were_not_recorded() -> None:
    store = MemoryStore()
    old = old_run(store)
    asked = recalled(config_of(replace(HUB, revision=None, options={"quantization": "fp8"})), old)
    assert asked.models.verifier.revision is None, "it goes on as it began"
    again = start_run(asked, store, None, RESPONSES)
    assert again.spec == old.spec
    status = run_status(again)
    new = sorted(set(BOUND) - {"max_model_len", "dtype"})
    assert sorted(k for k, v in status.engines["verifier"].items() if v == NOT_RECORDED) == new
    assert f"{NOT_RECORDED} of verifier" in str(status_table(status).caption)


def test_a_spec_with_all_fields_says_nothing_of_that() -> None:
    status = run_status(begin(MemoryStore(), HUB))
    assert status.engines["verifier"]["revision"] == FIRST
    assert status_table(status).caption is None


def test_what_an_old_spec_did_record_is_refused_as_before() -> None:
    store = MemoryStore()
    old_run(store, dtype="float16")
    with pytest.raises(SpecMismatch, match="dtype: stored") as caught:
        begin(store, replace(HUB, revision=None))
    assert "options" not in str(caught.value)


@pytest.mark.parametrize(
    ("asked", "goes_on_with"),
    [
        pytest.param(None, FIRST, id="none named"),
        pytest.param("main", FIRST, id="the main branch, wherever it is now"),
        pytest.param(SECOND, SECOND, id="another, which is then refused"),
    ],
)
def test_a_run_goes_on_with_the_commit_that_it_began_with(
    asked: str | None, goes_on_with: str
) -> None:
    run = begin(MemoryStore(), HUB)
    config = config_of(replace(HUB, revision=asked))
    assert recalled(config, run).models.verifier.revision == goes_on_with
    engines = run.spec.configuration["engines"]
    assert settled(recalled(config, run), nowhere, engines).models.verifier == replace(
        HUB, revision=goes_on_with
    )


def nowhere(role: str) -> None:
    raise AssertionError(f"nobody needs to look where {role} runs")


def test_a_revision_among_the_options_is_the_models() -> None:
    config = config_of(replace(HUB, revision=None, options={"revision": "v1", "seed": 3}))
    engine = recalled(config).models.verifier
    assert (engine.revision, engine.options) == ("v1", {"seed": 3})


def test_servers_are_known_by_their_name_and_the_tokenizer_of_here() -> None:
    server = EngineSettings(
        kind="endpoint", model="served", url="http://x/v1", tokenizer="org/name",
        tokenizer_revision=FIRST,
    )  # fmt: skip
    run = begin(MemoryStore(), server)
    assert run.spec.models == {"verifier": "served"}
    again = recalled(config_of(replace(server, tokenizer_revision=None)), run)
    assert again.models.verifier == server


def test_what_was_trained_is_named_by_the_store_of_the_run() -> None:
    config = config_of(EngineSettings(model="training:taught"))
    found = recalled(replace(config, store="s3://bucket/prefix")).models.verifier
    assert found.model == "s3://bucket/prefix/trainings/taught"


def test_a_training_goes_on_with_its_base_and_refuses_another_by_its_name() -> None:
    store, config = MemoryStore(), TrainConfig(run="r", base="org/name")
    training = Training.start(store, "t", TrainingSpec(f"org/name@{FIRST}", "r", "d", {}))
    assert recalled_training(config, training).revision == FIRST
    with pytest.raises(
        SpecMismatch, match=f'base: stored "org/name@{FIRST}", asked for "org/name@{SECOND}"'
    ):
        Training.start(store, "t", TrainingSpec(f"org/name@{SECOND}", "r", "d", {}))


def test_what_is_bound_is_plain_json(tmp_path: Path) -> None:
    for engine in (HUB, replace(HUB, tokenizer=str(folder_of(tmp_path)))):
        assert json.loads(json.dumps(bound(engine))) == bound(engine)
