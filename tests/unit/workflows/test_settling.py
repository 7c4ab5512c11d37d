"""What is left open in a configuration, decided by the machines that engines run on, once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from actors.engines.contract import EngineSettings
from actors.machines.machine import GIB, Gpu, Machine
from actors.models.facts import ModelFacts
from actors.sandbox.contract import SandboxSettings
from workflows.builds.configuration import BuildConfig, ModelSettings
from workflows.runs.settling import LONGEST_CONTEXT, Place, fitted, settled
from workflows.scoring.settings import ScoreConfig, ScoreModels

GPUS = Place(
    [Machine("node", gpus=(Gpu("H100", 80 * GIB, 80 * GIB, (9, 0)),))],
    ModelFacts("bfloat16", 28, 131072, 15 * GIB),
)
PROCESSOR = Place([Machine("laptop", processors=2)], ModelFacts("float32", 4, 2048, 1 << 20))
MODEL = EngineSettings(model="m")


def build(**engines: EngineSettings) -> BuildConfig:
    of = {"policy": MODEL, "completer": MODEL, "rationale": MODEL} | engines
    return BuildConfig(run="r", problems="p", models=ModelSettings(**of))


def score(engine: EngineSettings = MODEL, **changed: Any) -> ScoreConfig:
    config = ScoreConfig(run="r", responses="f", models=ScoreModels(verifier=engine))
    return replace(config, **changed)


def nowhere(role: str) -> Place:
    raise AssertionError(f"nobody needs to look where {role} runs")


def stored(config: BuildConfig) -> Any:
    return config.binding["engines"]


def test_auto_becomes_the_precision_of_the_machines_and_what_is_named_stays() -> None:
    named = replace(MODEL, dtype="float16")
    config = settled(build(policy=named), lambda role: PROCESSOR)
    assert config.engine("policy").dtype == "float16"
    assert config.engine("completer").dtype == "float32"
    assert settled(build(), lambda role: GPUS).engine("rationale").dtype == "bfloat16"


def test_a_run_goes_on_in_the_precision_in_which_it_began_wherever_it_goes_on() -> None:
    begun = settled(build(), lambda role: PROCESSOR)
    again = settled(build(), nowhere, stored(begun))
    assert again.binding == begun.binding


def test_a_run_whose_spec_says_auto_goes_on_as_it_began() -> None:
    old = build()
    assert stored(old)["policy"]["dtype"] == "auto"
    assert settled(build(), nowhere, stored(old)) == old


def test_another_precision_than_the_stored_one_is_left_to_be_refused() -> None:
    begun = settled(build(), lambda role: PROCESSOR)
    asked = build(policy=replace(MODEL, dtype="bfloat16"))
    assert settled(asked, nowhere, stored(begun)).engine("policy").dtype == "bfloat16"


def test_a_derived_run_takes_the_precision_of_its_source_and_looks_only_for_new_roles() -> None:
    source = stored(settled(build(), lambda role: PROCESSOR))
    del source["rationale"]
    looked: list[str] = []

    def place(role: str) -> Place:
        looked.append(role)
        return GPUS

    config = settled(build(), place, None, source)
    assert looked == ["rationale"]
    assert [config.engine(role).dtype for role in ("policy", "rationale")] == [
        "float32", "bfloat16",
    ]  # fmt: skip


def test_servers_and_scripts_have_no_precision_of_ours() -> None:
    server = EngineSettings(kind="endpoint", model="m", url="http://x/v1")
    assert settled(score(server), nowhere) == score(server)


def test_a_verifiers_context_is_bounded_and_a_builds_is_the_models_own() -> None:
    assert settled(score(), lambda role: GPUS).engine("verifier").max_model_len == LONGEST_CONTEXT
    assert settled(score(), lambda role: PROCESSOR).engine("verifier").max_model_len == 2048
    named = replace(MODEL, max_model_len=100_000)
    assert settled(score(named), lambda role: GPUS).engine("verifier").max_model_len == 100_000
    assert settled(build(), lambda role: GPUS).engine("policy").max_model_len is None
    old = {"verifier": {"max_model_len": None, "dtype": "auto"}}
    assert settled(score(), nowhere, old) == score()


@pytest.mark.parametrize(
    ("place", "in_flight", "sessions"), [(GPUS, 128, 256), (PROCESSOR, 48, 24)]
)
def test_a_verifiers_numbers_suit_the_machine_on_which_it_runs(
    place: Place, in_flight: int, sessions: int
) -> None:
    config = fitted(score(), lambda role: place)
    assert config.engine("verifier").in_flight == in_flight
    assert config.sandbox.sessions == sessions


@pytest.mark.parametrize(
    ("machines", "sessions"),
    [
        pytest.param([Machine("a", processors=4, memory_bytes=16 * GIB)], 48, id="processors"),
        pytest.param([Machine("a", processors=16, memory_bytes=64 * GIB)], 96, id="in flight"),
        pytest.param([Machine("a", processors=16, memory_bytes=8 * GIB)], 32, id="memory"),
        pytest.param([Machine("a", processors=4), Machine("b", processors=1)], 12, id="the least"),
    ],
)
def test_without_gpus_sessions_follow_what_processors_and_memory_are_there(
    machines: list[Machine], sessions: int
) -> None:
    place = replace(PROCESSOR, machines=machines)
    assert fitted(score(), lambda role: place).sandbox.sessions == sessions


def test_a_verifier_has_as_many_in_flight_as_its_gpus_cache_holds() -> None:
    known = replace(GPUS, facts=replace(GPUS.facts, cached=2 * 28 * 4 * 128))
    config = fitted(score(), lambda role: known)
    assert config.engine("verifier").in_flight == 232
    assert config.sandbox.sessions == 464, "one for each, and as many whose code runs"
    assert fitted(build(), lambda role: known).engine("policy").in_flight == 512


def test_numbers_that_are_given_stay() -> None:
    engine = replace(MODEL, max_in_flight=7)
    config = fitted(score(engine, sandbox=SandboxSettings(sessions=3)), nowhere)
    assert (config.engine("verifier").in_flight, config.sandbox.sessions) == (7, 3)


@pytest.mark.parametrize(
    ("kind", "in_flight", "sandbox", "most"),
    [
        pytest.param("vllm", 96, {}, 192, id="twice as many as the writer has in flight"),
        pytest.param("vllm", None, {}, 1024, id="but no more than memory is likely to hold"),
        pytest.param("vllm", 96, {"sessions": 7}, 7, id="a number that is given stays"),
        pytest.param("vllm", 2, {"slots": 5}, 5, id="never fewer than slots"),
        pytest.param("scripted", 96, {"slots": 4}, 4, id="no real model, as many as slots"),
    ],
)
def test_a_writer_has_sandbox_sessions_for_all_that_is_in_flight_and_as_many_whose_code_runs(
    kind: Any, in_flight: int | None, sandbox: dict[str, int], most: int
) -> None:
    writer = EngineSettings(kind=kind, model="m", max_in_flight=in_flight)
    config = replace(build(rationale=writer), sandbox=SandboxSettings(**sandbox))
    assert fitted(config, nowhere).sandbox.most_sessions == most


def test_only_speed_is_fitted_and_only_the_result_is_settled() -> None:
    assert fitted(build(), nowhere).engine("policy").dtype == "auto"
    assert settled(build(), lambda role: GPUS).engine("policy").max_in_flight is None
