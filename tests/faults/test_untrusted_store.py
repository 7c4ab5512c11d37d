"""Whoever may write to a store may write a run's documents: what a command then does with them.

Nothing of a store makes a command import code, read a secret or call a place that the store names.
What is damaged, huge, deep or newer ends in one line, with exit code 2 or 3, in bounded time and
memory.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from launch.cli.main import run_command
from launch.config import load
from storage.errors import ConfigurationError, SpecMismatch
from storage.objects.opening import open_store
from storage.runs.layout import launch_key
from storage.runs.run import Run
from tests.support.scripted_world import world_problems, write_problems
from workflows.builds import resume as resuming
from workflows.builds.resume import resume
from workflows.builds.trust import own_settings
from workflows.runs.configuration import RunConfig
from workflows.runs.starting import start_run

Change = Callable[[dict[str, Any]], None]
ROAD = ["sample", "estimate", "label", "consensus", "export"]


def model_folder(folder: Path, weights: str = "weights") -> Path:
    """What stands in the place of a model: a folder with its files, of which none is loaded."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "qwen2"}')
    (folder / "model.safetensors").write_text(weights)
    (folder / "tokenizer.json").write_text("{}")
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    return folder


class Place:
    """A run that was started with two local models, its store, and what continuing it reaches."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch, store: Path | None = None) -> None:
        self.folder, self.url = folder, (store or folder / "store").as_uri()
        write_problems(world_problems(4), folder / "problems.jsonl")
        for name in ("policy", "completer"):
            model_folder(folder / "models" / name, name)
        self.file = self.configured()
        start_run(load(self.file), open_store(self.url), None)
        self.reached: list[RunConfig] = []
        patch.setattr(resuming, "continue_at", self._reach)

    def _reach(self, site: Any, run: Run, config: RunConfig) -> Run:
        self.reached.append(config)
        return run

    def configured(self, name: str = "build.yaml", **models: Mapping[str, Any]) -> Path:
        body = {
            "run": "r", "problems": "problems.jsonl", "store": self.url,
            "models": {role: {"model": f"./models/{role}"} for role in ("policy", "completer")}
            | models,
            "stages": {"road": ROAD, "consensus": {"sources": ["labels"]}},
        }  # fmt: skip
        (self.folder / name).write_text(json.dumps(body))
        return self.folder / name

    def altered(self, change: Change) -> None:
        """Rewrite launch.json, as somebody may who has the store."""
        file = self.folder / "store" / launch_key("r")
        body = json.loads(file.read_text())
        change(body)
        file.write_text(json.dumps(body))

    def resume(self, **given: Any) -> RunConfig:
        resume("r", self.url, **given)
        (config,) = self.reached
        return config


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    for name in ("RAY_ADDRESS", "STEPMILL_STORE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return Place(tmp_path, monkeypatch)


def engine(**values: Any) -> Change:
    return lambda body: body["models"]["policy"].update(values)


def part(name: str, **values: Any) -> Change:
    return lambda body: body[name].update(values)


SERVER = {"kind": "endpoint", "url": "http://stranger.invalid/v1", "model": "policy"}
OBEYED = {
    "a server": (engine(**SERVER), "models.policy asks a server (`url`)"),
    "a server and somebody's secret": (
        engine(**SERVER, api_key_env="AWS_SECRET_ACCESS_KEY"), "(`url`, `api_key_env`)",
    ),
    "a chat server": (engine(**SERVER | {"kind": "chat"}), "models.policy asks a server"),
    "code of the model's own": (
        engine(options={"trust_remote_code": True}), "`options` (trust_remote_code)",
    ),
    "a class to import": (
        engine(options={"worker_cls": "os.system", "distributed_executor_backend": "x.Y"}),
        "`options` (distributed_executor_backend, worker_cls)",
    ),
    "an option that is no word": (engine(options={"\x1b[2J": 1}), "`options` (?)"),
    "a function to call": (engine(kind="scripted", model="os:system"), "`kind: scripted`"),
    "a training elsewhere": (
        engine(model="s3://other/x?endpoint=http://stranger.invalid/trainings/t"),
        "models.policy is a training of another store",
    ),
    "another cluster": (
        part("cluster", ray_address="stranger.invalid:6379"), "cluster.ray_address",
    ),
    "another container engine": (
        part("sandbox", docker_host="tcp://stranger.invalid:2375"), "sandbox.docker_host",
    ),
    "a folder of state": (part("sandbox", state_dir="/tmp/stranger"), "sandbox.state_dir"),
    "the weaker sandbox": (part("sandbox", fallback=True), "sandbox.fallback"),
    "bubblewrap": (part("sandbox", backend="bubblewrap"), "sandbox.backend"),
    "another runtime": (part("sandbox", runtime="none"), "sandbox.runtime"),
}  # fmt: skip


@pytest.mark.parametrize("named", OBEYED)
def test_what_runs_code_or_sends_a_secret_is_not_taken_from_the_store(
    named: str, place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    change, said = OBEYED[named]
    place.altered(change)
    assert run_command(["resume", "r", "--store", place.url]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line and "--config FILE" in line
    assert "stranger" not in line and "SECRET" not in line and "\x1b" not in line
    assert not place.reached
    # The caller's own file is obeyed, whatever the store says.
    assert place.resume(own=own_settings(place.file)).engine("policy").kind == "vllm"


def test_a_run_of_local_models_goes_on_from_its_store_alone(place: Place) -> None:
    config = place.resume()
    assert config.engine("policy").model == str(place.folder / "models" / "policy")


def test_options_that_are_numbers_of_speed_are_taken_from_the_store(place: Place) -> None:
    place.altered(engine(options={"max_num_seqs": 8, "enforce_eager": True}))
    assert place.resume().engine("policy").options == {"max_num_seqs": 8, "enforce_eager": True}


def test_trackers_are_not_taken_from_the_store(place: Place) -> None:
    place.altered(lambda body: body.update(report_to=["wandb"]))
    assert place.resume().report_to == ()


BOUND: dict[str, tuple[Change, str]] = {
    "a stage's setting": (
        lambda body: body["stages"]["sample"].update(cap=3000),
        "configuration.stages.sample.cap: stored 2048, asked for 3000",
    ),
    "the precision": (engine(dtype="half"), "configuration.engines.policy.dtype"),
    "an option that decides texts": (
        lambda body: body["stages"]["estimate"].update(k_hard=17), "estimate.k_hard",
    ),
    "the limits of code": (
        lambda body: body["sandbox"]["limits"].update(memory_mb=100_000),
        "sandbox_limits.memory_mb",
    ),
    "a prompt": (
        lambda body: body.update(prompts={"solve": "{{ problem }}"}), "configuration.prompts",
    ),
    "the road": (
        lambda body: body["stages"].update(road=ROAD[:3]), "stages: stored",
    ),
}  # fmt: skip


@pytest.mark.parametrize("named", BOUND)
def test_what_the_spec_binds_is_checked_field_by_field(named: str, place: Place) -> None:
    change, said = BOUND[named]
    place.altered(change)
    with pytest.raises(SpecMismatch) as refused:
        place.resume()
    assert said in str(refused.value)
    assert not place.reached


@pytest.mark.parametrize("verb", ["resume", "build"])
def test_a_changed_model_folder_is_refused_by_resume_as_by_build(verb: str, place: Place) -> None:
    (place.folder / "models" / "policy" / "model.safetensors").write_text("others")
    with pytest.raises(SpecMismatch, match=r"models.policy: stored"):
        if verb == "resume":
            place.resume()
        else:
            start_run(load(place.file), open_store(place.url), None)


def test_models_that_lie_elsewhere_are_found_by_their_content(place: Place, tmp_path: Path) -> None:
    shutil.move(place.folder / "models", tmp_path / "moved")
    (tmp_path / "moved" / "policy").rename(tmp_path / "moved" / "renamed")
    model_folder(tmp_path / "moved" / "policy", "another one of that name")
    with pytest.raises(ConfigurationError, match=r"policy is policy@.*give `--models FOLDER`"):
        place.resume()
    with pytest.raises(ConfigurationError, match="there is no such folder"):
        place.resume(models=tmp_path / "nowhere")
    with pytest.raises(ConfigurationError, match=r"models.policy is policy@\w+, not in .*empty"):
        (tmp_path / "empty").mkdir()
        place.resume(models=tmp_path / "empty")
    config = place.resume(models=tmp_path / "moved")
    assert config.engine("policy").model == str(tmp_path / "moved" / "renamed")
    assert config.engine("completer").model == str(tmp_path / "moved" / "completer")


def test_no_path_of_a_jobs_unpacked_folder_is_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unpacked = tmp_path / "session/runtime_resources/working_dir_files/_ray_pkg_0a1b"
    unpacked.mkdir(parents=True)
    monkeypatch.chdir(unpacked)
    store = tmp_path / "store"
    job = Place(unpacked, monkeypatch, store)
    assert "_ray_pkg_" not in (store / launch_key("r")).read_text()
    # On the next cluster the job's folder has another name.
    there = tmp_path / "session2/runtime_resources/working_dir_files/_ray_pkg_9f"
    there.parent.mkdir(parents=True)
    unpacked.rename(there)
    monkeypatch.chdir(there)
    resume("r", store.as_uri())
    monkeypatch.chdir(tmp_path)
    resume("r", store.as_uri(), models=there / "models")
    assert [config.engine("policy").model for config in job.reached] == [
        str(there / "models" / "policy")
    ] * 2


def test_a_run_of_servers_goes_on_with_the_callers_file(place: Place) -> None:
    # Its identity is the name that the server knows.
    file = place.configured(
        "served.yaml", policy={"kind": "chat", "model": "m", "url": "http://h/v1"}
    )
    text = file.read_text().replace('"run": "r"', '"run": "served"')
    file.write_text(text)
    start_run(load(file), open_store(place.url), None)
    with pytest.raises(ConfigurationError, match=r"models.policy asks a server"):
        resume("served", place.url)
    resume("served", place.url, own=own_settings(file))
    assert place.reached[0].engine("policy").url == "http://h/v1"
    file.write_text(text.replace('"model": "m"', '"model": "n"'))
    with pytest.raises(SpecMismatch, match=r'models.policy: stored "m", asked for "n"'):
        resume("served", place.url, own=own_settings(file))


DAMAGED: dict[str, bytes] = {
    "empty": b"",
    "no JSON": b"{",
    "no object": b"[]",
    "deep": b'{"models":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep, within Python's bound": b'{"models":' + b"[" * 600 + b"]" * 600 + b"}",
    "newer": b'{"format": 2}',
    "of other types": b'{"models": 7, "stages": [], "run": {}}',
    "not UTF-8": b'{"a": "\xff"}',
    "long numbers": b'{"shard_size": ' + b"9" * 5000 + b"}",
}


@pytest.mark.parametrize("document", [launch_key("r"), "runs/r/spec.json", "runs/r/chain.json",
                                      "runs/r/origin.json", "runs/r/_SUCCESS.json",
                                      "runs/r/problems/commits/000000.json"])  # fmt: skip
@pytest.mark.parametrize("named", DAMAGED)
def test_a_damaged_document_is_one_line(
    named: str, document: str, place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    (place.folder / "store" / document).write_bytes(DAMAGED[named])
    for verb in (["status", "r"], ["audit", "r"], ["resume", "r"], ["runs"], ["sweep", "r"]):
        code = run_command([*verb, "--store", place.url])
        said = capsys.readouterr()
        assert code in (0, 2, 3), (verb, said)
        assert len(said.err.splitlines()) <= 1 + ("\n  " in said.err), (verb, said.err)
        assert len(said.err) < 1000
